"""keyclip store: one module a command."""

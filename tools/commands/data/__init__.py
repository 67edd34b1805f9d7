"""keyclip data: one module a command."""

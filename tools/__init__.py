"""The ``keyclip`` command: one module per command."""

"""``keyclip vectors import FORMAT`` and ``keyclip vectors export FORMAT``: one module a command."""

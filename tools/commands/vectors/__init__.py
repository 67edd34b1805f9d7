"""``keyclip vectors import FORMAT`` and ``keyclip vectors export FORMAT``: the settings of each format."""

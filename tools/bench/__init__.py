"""keyclip bench: measurements of the project next to its peers, in one run each."""

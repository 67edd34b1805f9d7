"""The commands of keyclip, one module each."""

"""keyclip bench: side-by-side measurements of the project and of its peers."""

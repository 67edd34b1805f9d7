"""Features, metrics and intervals of evaluations."""

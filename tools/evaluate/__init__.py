"""Evaluations of a model: sets and shards into the entries of a result file."""

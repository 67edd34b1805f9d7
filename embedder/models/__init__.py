"""Frozen models as encoders: loading, tokens, networks, pooling, batches."""

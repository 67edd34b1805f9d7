"""Batches: samples of shards joined with vectors of a store by sample key, in a fixed order."""

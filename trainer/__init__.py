"""Trains CLIP against stored caption vectors, joined with image shards by sample key."""

"""Runs and checkpoints on disk, loaded, exported and imported."""

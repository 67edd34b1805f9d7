"""Settings that all stages share, and recipes that hold the paper's."""

"""A training run: the loop, its log, resuming and preemption."""

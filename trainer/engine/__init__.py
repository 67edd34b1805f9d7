"""DeepSpeed: ranks, engine, and the optimiser's state in it."""

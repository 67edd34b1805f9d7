"""The losses, and the modules of both stages that put them together."""

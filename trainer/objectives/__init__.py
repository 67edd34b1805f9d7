"""The losses, and the module of stage 2 that puts them together."""

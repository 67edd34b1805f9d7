"""Stores of LMDB environments: for one machine, where many processes read through the memory map while one writes."""

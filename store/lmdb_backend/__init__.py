"""Stores in one LMDB environment: for one machine, read through the memory map by many processes beside a writer."""

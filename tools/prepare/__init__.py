"""Preparing data sets: joins on disk, key lists, and checks of shards.

Everything streams: what a command keeps in memory does not grow with the number of rows. What must be brought together
by key is written to partitions in a folder beside the output and read back partition by partition.
"""

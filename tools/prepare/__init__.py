"""Preparing data sets: joins on disk, key lists, and checks of shards, in memory that does not grow with the rows."""

"""Stores as Zarr v3 hierarchies: for many writer hosts and for object storage, readable by any Zarr v3 library."""

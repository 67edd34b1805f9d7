"""Formats that others write and read: one module a format."""

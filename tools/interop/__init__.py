"""Embeddings in the formats that others write: one module a format, read as columns of keyed vectors."""

"""An HTTP service around one encoder: embeddings for anyone, keyed captions into the store."""

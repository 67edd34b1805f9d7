"""Small seeded data for the tests of the store."""

import numpy as np

import store

DIM = 6


def make_spec(**changes):
    values = {
        "model": "tiny-llm",
        "revision": "main",
        "kind": "llm",
        "template": "",
        "pooling": "mean",
        "max_length": 77,
        "normalize": False,
        "caption_field": "captions.0",
        "dim": DIM,
        "dtype": "float16",
    }
    return store.FieldSpec(**{**values, **changes})


def make_block(name, count, dim=DIM, first=0):
    """Keys ``name/0`` ..., vectors that float16 holds exactly and that differ in every row, and caption hashes."""
    keys = [f"{name}/{i}" for i in range(first, first + count)]
    seed = store.caption_hash(name) % 2**32
    vectors = np.random.default_rng([seed, first]).integers(-1000, 1000, (count, dim)).astype(np.float16)
    return keys, vectors, store.caption_hashes(f"caption of {key}" for key in keys)

"""Small seeded data for the tests of the store."""

import multiprocessing

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


def fill(path, blocks=3, count=40, **changes):
    """A store at ``path`` with a field ``f`` of blocks b0, b1, ..."""
    spec = make_spec(**changes)
    writer = store.create(path).writer("f", spec)
    for i in range(blocks):
        writer.commit(f"b{i}", *make_block(f"b{i}", count, dim=spec.dim))
    return store.open(path, mode="a")


def assert_holds(field, blocks, count=40):
    """That a field holds what :func:`fill` wrote."""
    assert field.blocks() == [f"b{i}" for i in range(blocks)]
    for i in range(blocks):
        keys, vectors, hashes = make_block(f"b{i}", count, dim=field.spec.dim)
        np.testing.assert_array_equal(field.get(keys), vectors)
        np.testing.assert_array_equal(field.caption_hashes(keys), hashes)


def in_child(function, *arguments, method="spawn"):
    """Run a function in another process; its result, or the repr of its error."""
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=_call, args=(queue, function, arguments))
    process.start()
    result = queue.get(timeout=60)
    process.join(60)
    return result


def _call(queue, function, arguments):
    try:
        queue.put(function(*arguments))
    except Exception as error:  # noqa: BLE001 - sent to the parent
        queue.put(repr(error))

"""Small keyed vectors and tars, for the tests of the formats."""

import io
import json
import tarfile

import numpy as np

import store
from tools.__main__ import main

DIM = 6
FIELDS = ("shortSV_captions", "longSV_captions")


def keys_of(shard, count):
    """As img2dataset names them, with gaps where downloads failed, and not sorted."""
    return [f"{shard:05d}{i:04d}" for i in reversed(range(0, 3 * count, 3))]


def make_vectors(name, count, dim=DIM, dtype=np.float32):
    return np.random.default_rng(store.caption_hash(name)).standard_normal((count, dim)).astype(dtype)


def captions_of(key):
    return {field: f"{field} of {key}" for field in FIELDS}


def write_tar(path, members):
    """Members (name, bytes), or tarfile.TarInfo objects for odd ones."""
    with tarfile.open(path, "w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return str(path)


def image_members(key):
    return [(f"{key}.jpg", b"\xff\xd8" + key.encode()), (f"{key}.json", json.dumps(captions_of(key)).encode())]


def write_images(path, keys):
    """An image tar with captions in the json."""
    return write_tar(path, [member for key in keys for member in image_members(key)])


def vector_members(keys, columns):
    """Members KEY.CAPTION_FIELD, as LLM2CLIP's script writes them; ``columns`` as caption field -> vectors."""
    return [(f"{key}.{field}", rows[i].tobytes()) for i, key in enumerate(keys) for field, rows in columns.items()]


def run(*argv, **flags):
    """``keyclip ARGV --flag value``; its exit status."""
    argv = [*map(str, argv)]
    for name, value in flags.items():
        values = value if isinstance(value, list | tuple) else [value]
        argv += [f"--{name.replace('_', '-')}", *map(str, values)]
    return main(argv)


def contents(folder):
    """All files below a folder, by name and bytes."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def fill(path, keys, names=FIELDS, dtype="float32", block="b"):
    """A store with fields ``llm/NAME`` of these keys; returns the vectors by name."""
    opened = store.open(path, mode="a") if path.exists() else store.create(path)
    columns = {}
    for name in names:
        columns[name] = make_vectors(f"{name} {block}", len(keys)).astype(np.float16).astype(np.float32)
        spec = store.FieldSpec(
            model="org/llm",
            revision="main",
            kind="llm",
            template="",
            pooling="mean",
            max_length=512,
            normalize=False,
            caption_field=name,
            dim=DIM,
            dtype=dtype,
        )
        hashes = store.caption_hashes(f"{name} of {key}" for key in keys)
        opened.writer(f"llm/{name}", spec).commit(block, keys, columns[name], hashes)
    return columns


def changed(before, after):
    """Names of files that differ; LMDB's lock tables may."""
    return {name for name in before | after if not name.endswith("lock.mdb") and before.get(name) != after.get(name)}


def fails(capsys, status, *phrases):
    """That a command ended with status 1 and one sentence that has these phrases."""
    error = capsys.readouterr().err
    assert status == 1
    assert error.startswith("keyclip: error: ")
    assert error.count("\n") == 1
    for phrase in phrases:
        assert phrase in error

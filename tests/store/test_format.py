"""The bytes on disk are as FORMAT.md describes: built here by hand, and read from stores that were written once."""

import json
import shutil
import struct
import uuid
from pathlib import Path

import lmdb
import numpy as np
import pytest
import xxhash

import store
from store.common import errors
from store.zarr_backend import writer as zarr_writer
from tests.store.examples import make_spec

GOLDEN = Path(__file__).parent / "golden"
KEYS = ["k0", "schlüssel", "k2"]
JOINED = b"k0\x00schl\xc3\xbcssel\x00k2"
CAPTIONS = ["a dog", "", "zwei Hunde"]
VECTORS = np.array([[1, -2], [0.5, 0], [3, 127]], np.float32)
HALVES = bytes.fromhex("003c 00c0  0038 0000  0042 f057")  # 1, -2, 0.5, 0, 3, 127
SPEC = make_spec(dim=2, dtype="float16")
INT8_SPEC = make_spec(dim=2, dtype="int8")
# Rows by their scales 2/127, 0.5/127 and 1.
INT8_ROWS = bytes([64, 256 - 127, 127, 0, 3, 127])
INT8_SCALES = struct.pack("<3f", 2 / 127, 0.5 / 127, 1)


def write_example(path, backend):
    """Fields ``f/1`` (float16) with blocks ``b`` and ``none`` (no keys), and ``q`` (int8) with block ``b``."""
    made = store.create(path, backend=backend)
    writer = made.writer("f/1", SPEC)
    writer.commit("b", KEYS, VECTORS, store.caption_hashes(CAPTIONS))
    writer.commit("none", [], np.zeros((0, 2), np.float32), [])
    made.writer("q", INT8_SPEC).commit("b", KEYS, VECTORS, store.caption_hashes(CAPTIONS))
    return made


def sealed(body):
    return body + struct.pack("<Q", xxhash.xxh3_64_intdigest(body))


def caption_hash_bytes():
    return b"".join(struct.pack("<Q", xxhash.xxh3_64_intdigest(caption.encode())) for caption in CAPTIONS)


CONTENT_DIGEST = xxhash.xxh3_128_digest(JOINED + b"\0" + caption_hash_bytes())
NO_CONTENT_DIGEST = xxhash.xxh3_128_digest(b"\0")


def key_table():
    """Three rows need two bits and one more: a directory of nine numbers."""
    halves = [struct.unpack("<QQ", xxhash.xxh3_128_digest(key.encode())) for key in KEYS]
    rows = sorted((first, second, place) for place, (first, second) in enumerate(halves))
    table = b"".join(struct.pack("<Q", first) for first, _, _ in rows)
    table += b"".join(struct.pack("<QQ", second, place) for _, second, place in rows)
    below = [sum(first >> 61 < entry for first, _, _ in rows) for entry in range(9)]
    return table + struct.pack("<9I", *below)


# --- LMDB


def lmdb_records(folder):
    env = lmdb.open(str(folder), max_dbs=4, readonly=True, lock=False)
    records = {}
    with env.begin() as transaction:
        for name in (b"meta", b"blocks", b"values", b"index"):
            with transaction.cursor(db=env.open_db(name, txn=transaction, create=False)) as cursor:
                records[name.decode()] = dict(cursor)
        assert transaction.stat()["entries"] == 4
    page_bytes = env.stat()["psize"]
    env.close()
    return records, page_bytes


def large_value(page_bytes, number, part, count, payload):
    prefix = b"keyclip\x01" + struct.pack("<IIIIQ", number, part, count, 0, len(payload))
    header = prefix + struct.pack("<Q", xxhash.xxh3_64_intdigest(prefix + payload))
    return header + bytes(page_bytes - 16 - len(header)) + payload


def test_the_lmdb_layout_is_the_one_of_the_format_page(tmp_path):
    write_example(tmp_path / "s", "lmdb")
    assert json.loads((tmp_path / "s/store.json").read_text()) == {"format": "keyclip-lmdb", "version": 1}
    assert sorted(path.name for path in (tmp_path / "s/fields").iterdir()) == ["f%2F1", "q"]
    folder = tmp_path / "s/fields/f%2F1"
    records, page_bytes = lmdb_records(folder)
    assert records["values"] == {
        struct.pack(">II", 0, 0): large_value(page_bytes, 0, 0, 3, caption_hash_bytes() + JOINED),
        struct.pack(">II", 0, 1): large_value(page_bytes, 0, 1, 3, HALVES),
        struct.pack(">II", 1, 0): large_value(page_bytes, 1, 0, 0, b""),
    }
    assert records["index"] == {struct.pack(">I", 0): large_value(page_bytes, 0, 0, 3, key_table())}
    field = json.loads(records["meta"][b"field"][:-8])
    assert records["meta"] == {b"field": sealed(json.dumps(field, sort_keys=True).encode())}
    pages = [struct.unpack("<2Q", records["blocks"][struct.pack(">I", 0)][-24:-8])]
    pages.append(struct.unpack("<Q", records["blocks"][struct.pack(">I", 1)][-16:-8]))
    assert records["blocks"] == {
        struct.pack(">I", 0): sealed(
            struct.pack("<IQ16sHI", 3, 16, CONTENT_DIGEST, 1, 2) + b"b" + struct.pack("<2Q", *pages[0])
        ),
        struct.pack(">I", 1): sealed(
            struct.pack("<IQ16sHI", 0, 0, NO_CONTENT_DIGEST, 4, 1) + b"none" + struct.pack("<Q", *pages[1])
        ),
    }
    (segment,) = field.pop("segments")
    assert field == {
        "name": "f/1",
        "spec": SPEC.to_dict(),
        "rows_per_chunk": 65536,
        "num_vectors": 3,
        "num_blocks": 2,
        "next_block": 2,
        "next_segment": 1,
        "epoch": 0,
        "dropped": False,
    }
    file = (folder / "data.mdb").read_bytes()
    for page, payload in (
        (pages[0][0], caption_hash_bytes() + JOINED),
        (pages[0][1], HALVES),
        (segment["page"], key_table()),
    ):
        assert file[page * page_bytes :][:8] == struct.pack("<Q", page)
        assert file[page * page_bytes + 16 :][:8] == b"keyclip\x01"
        assert file[(page + 1) * page_bytes :].startswith(payload)
    assert (segment["number"], segment["count"]) == (0, 3)


def test_int8_chunks_end_with_their_scales(tmp_path):
    write_example(tmp_path / "s", "lmdb")
    records, page_bytes = lmdb_records(tmp_path / "s/fields/q")
    payload = INT8_ROWS + b"\0\0" + INT8_SCALES
    assert records["values"][struct.pack(">II", 0, 1)] == large_value(page_bytes, 0, 1, 3, payload)


# --- Zarr


def array(shape, chunk, data_type):
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [
            {"name": "bytes"}
            if data_type.endswith("int8")
            else {"name": "bytes", "configuration": {"endian": "little"}}
        ],
        "attributes": {},
    }


def group(**attributes):
    return {"zarr_format": 3, "node_type": "group", "attributes": {"keyclip": attributes} if attributes else {}}


def sealed_group(**values):
    body = json.dumps(values, sort_keys=True, indent=1).encode()
    return group(**values, checksum=xxhash.xxh3_64_hexdigest(body))


def chunk_sums(**chunks):
    return {name: [xxhash.xxh3_64_hexdigest(part) for part in parts] for name, parts in chunks.items()}


def test_the_zarr_layout_is_the_one_of_the_format_page(tmp_path, monkeypatch):
    monkeypatch.setattr(zarr_writer.time, "time", lambda: 1700000000.5)
    numbers = iter(range(3))
    monkeypatch.setattr(zarr_writer.uuid, "uuid4", lambda: uuid.UUID(int=next(numbers)))
    root = tmp_path / "s"
    write_example(root, "zarr")
    documents = {str(f.relative_to(root).parent): json.loads(f.read_text()) for f in root.rglob("zarr.json")}
    objects = {
        str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file() and f.name != "zarr.json"
    }
    ids = [f"1700000000-{number:032x}" for number in range(3)]
    common = {"name": "b", "count": 3, "joined_keys_bytes": 16, "rows_per_chunk": 3, "committed": 1700000000.5}
    sums = {"caption_hashes": [caption_hash_bytes()], "keys": [JOINED]}
    f, q = "fields/f%2F1", "fields/q"
    arrays = {"caption_hashes": array([3], [3], "uint64"), "keys": array([16], [16], "uint8")}
    assert documents == {
        ".": group(format="keyclip-zarr", version=1),
        "fields": group(),
        f: sealed_group(name="f/1", spec=SPEC.to_dict()),
        q: sealed_group(name="q", spec=INT8_SPEC.to_dict()),
        **{f"{field}/{part}": group() for field in (f, q) for part in ("blocks", "data")},
        **{f"{field}/data/{id_}": group() for field, id_ in zip((f, f, q), ids, strict=True)},
        f"{f}/blocks/b": sealed_group(
            **common, data=ids[0], content_digest=CONTENT_DIGEST.hex(), checksums=chunk_sums(vectors=[HALVES], **sums)
        ),
        f"{f}/blocks/none": sealed_group(
            **common | {"name": "none", "count": 0, "joined_keys_bytes": 0, "rows_per_chunk": 0},
            data=ids[1],
            content_digest=NO_CONTENT_DIGEST.hex(),
            checksums={"vectors": [], "caption_hashes": [], "keys": []},
        ),
        f"{q}/blocks/b": sealed_group(
            **common,
            data=ids[2],
            content_digest=CONTENT_DIGEST.hex(),
            checksums=chunk_sums(vectors=[INT8_ROWS], scales=[INT8_SCALES], **sums),
        ),
        **{f"{f}/data/{ids[0]}/{name}": document for name, document in arrays.items()},
        f"{f}/data/{ids[0]}/vectors": array([3, 2], [3, 2], "float16"),
        f"{f}/data/{ids[1]}/caption_hashes": array([0], [1], "uint64"),
        f"{f}/data/{ids[1]}/keys": array([0], [1], "uint8"),
        f"{f}/data/{ids[1]}/vectors": array([0, 2], [1, 2], "float16"),
        **{f"{q}/data/{ids[2]}/{name}": document for name, document in arrays.items()},
        f"{q}/data/{ids[2]}/vectors": array([3, 2], [3, 2], "int8"),
        f"{q}/data/{ids[2]}/scales": array([3], [3], "float32"),
    }
    assert objects == {
        f"{f}/data/{ids[0]}/vectors/c/0/0": HALVES,
        f"{q}/data/{ids[2]}/vectors/c/0/0": INT8_ROWS,
        f"{q}/data/{ids[2]}/scales/c/0": INT8_SCALES,
        **{f"{p}/caption_hashes/c/0": caption_hash_bytes() for p in (f"{f}/data/{ids[0]}", f"{q}/data/{ids[2]}")},
        **{f"{p}/keys/c/0": JOINED for p in (f"{f}/data/{ids[0]}", f"{q}/data/{ids[2]}")},
    }


# --- stores of every format version


@pytest.mark.parametrize("golden", ["lmdb-1", "zarr-1"])
def test_stores_written_in_the_past_are_read_verified_and_written_on(tmp_path, golden):
    path = tmp_path / golden
    shutil.copytree(GOLDEN / golden, path)
    opened = store.open(path, mode="a")
    assert {name: info.spec for name, info in opened.fields().items()} == {"f/1": SPEC, "q": INT8_SPEC}
    field = opened.field("f/1")
    assert field.blocks() == ["b", "none"]
    np.testing.assert_array_equal(field.get(KEYS), VECTORS.astype(np.float16))
    np.testing.assert_array_equal(field.caption_hashes(KEYS), store.caption_hashes(CAPTIONS))
    np.testing.assert_allclose(opened.field("q").get(KEYS), VECTORS, atol=0.01)
    assert opened.verify() == []
    writer = opened.writer("f/1", SPEC)
    assert writer.commit("b", KEYS, VECTORS, store.caption_hashes(CAPTIONS)) is False
    assert writer.commit("c", ["k3"], VECTORS[:1], store.caption_hashes(["c"])) is True
    assert field.get(["k3"]).tolist() == [[1, -2]]


@pytest.mark.parametrize(("golden", "file"), [("lmdb-1", "store.json"), ("zarr-1", "zarr.json")])
def test_a_newer_format_is_refused_in_a_clear_sentence(tmp_path, golden, file):
    shutil.copytree(GOLDEN / golden, tmp_path / "s")
    document = (tmp_path / "s" / file).read_text()
    (tmp_path / "s" / file).write_text(document.replace('"version": 1', '"version": 2'))
    with pytest.raises(errors.FormatVersionError, match="has format 2, this keyclip reads format 1; open it with"):
        store.open(tmp_path / "s")


# --- hashes and numbers


def test_caption_hashes_are_xxh3_of_utf8():
    assert store.caption_hash("") == 0x2D06800538D394C2
    assert store.caption_hash("a dog") == xxhash.xxh3_64_intdigest(b"a dog")
    assert store.caption_hashes(["", "zwei Hündchen"]).tolist() == [
        0x2D06800538D394C2,
        xxhash.xxh3_64_intdigest("zwei Hündchen".encode()),
    ]
    assert store.caption_hashes([]).dtype == np.uint64


@pytest.mark.parametrize(("dtype", "worst"), [("float32", 0), ("float16", 4e-8), ("bfloat16", 2.5e-6), ("int8", 8e-5)])
def test_the_error_of_every_dtype_is_what_the_format_page_says(tmp_path, dtype, worst):
    vectors = np.load(GOLDEN / "minilm-captions.npy")
    keys = [str(i) for i in range(len(vectors))]
    made = store.create(tmp_path / "s")
    made.writer("f", make_spec(dim=384, dtype=dtype)).commit("b", keys, vectors, store.caption_hashes(keys))
    got = made.field("f").get(keys, dtype="float32").astype(np.float64)
    cosines = (got * vectors).sum(1) / np.linalg.norm(got, axis=1) / np.linalg.norm(vectors.astype(np.float64), axis=1)
    assert 1 - cosines.min() <= worst + 1e-12
    if dtype == "float32":
        np.testing.assert_array_equal(got, vectors)

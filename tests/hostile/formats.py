"""Damages that know a format: sound where no reader looks twice, and impossible somewhere else."""

import io
import json
import struct
import tarfile
from collections import OrderedDict
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tests.hostile.values import CANARY, LISTS, YAML_TEXTS, json_value


def damaged(name: str, data: bytes, random: Random) -> bytes:
    """A hostile variant of the file ``name`` with this content."""
    suffix = name.rpartition(".")[2]
    by_format = _FORMATS.get(suffix)
    if suffix == "txt" or by_format is None:
        by_format = _list if suffix == "txt" else _bytes
    return (by_format if random.random() < 0.75 else _bytes)(data, random)


def _bytes(data: bytes, random: Random) -> bytes:
    kind = random.randrange(7)
    if kind == 0:
        return data[: random.randrange(len(data) + 1)]
    if kind == 1:
        changed = bytearray(data)
        for _ in range(random.randrange(1, 9)):
            if changed:
                changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
        return bytes(changed)
    if kind == 2:
        at = random.randrange(len(data) + 1)
        return data[:at] + bytes(min(512, len(data) - at)) + data[at + 512 :]
    if kind == 3:
        return b""
    if kind == 4:
        return random.randbytes(random.choice((1, 100, 5000)))
    if kind == 5:
        return data + random.randbytes(100)
    return data.replace(b"\n", b"\r\n") if random.random() < 0.5 else b"\xff\xfe" + data


def _list(data: bytes, random: Random) -> bytes:
    return random.choice(LISTS).encode("utf-8", "surrogateescape")


def _yaml(data: bytes, random: Random) -> bytes:
    return random.choice(YAML_TEXTS).encode()


def _json(data: bytes, random: Random) -> bytes:
    if random.random() < 0.15:
        depth = random.choice((500, 3000, 100_000))
        return random.choice((b"[" * depth, b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth))
    try:
        value = json.loads(data)
    except ValueError:
        return _bytes(data, random)
    return _dumped(_changed(value, random), random)


def _json_lines(data: bytes, random: Random) -> bytes:
    lines = data.splitlines()
    if not lines:
        return b"[]\n"
    at = random.randrange(len(lines))
    lines[at] = random.choice((_json, _json, _json, _bytes))(lines[at], random)
    return b"\n".join(lines) + b"\n"


def _dumped(value: Any, random: Random) -> bytes:
    text = json.dumps(value, ensure_ascii=random.random() < 0.7)
    return text.encode("utf-8", "surrogatepass")


def _changed(value: Any, random: Random) -> Any:
    """One place in a json value replaced, removed or added."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        act = random.random()
        if act < 0.15:
            return {k: v for k, v in value.items() if k != key}
        if act < 0.25:
            return value | {str(json_value(random, 3)): json_value(random)}
        return value | {key: _changed(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.85:
        at = random.randrange(len(value))
        return [*value[:at], _changed(value[at], random), *value[at + 1 :]]
    return json_value(random)


def _safetensors(data: bytes, random: Random) -> bytes:
    (length,) = struct.unpack("<Q", data[:8])
    if random.random() < 0.3:
        return struct.pack("<Q", random.choice((0, 1, 2**40, 2**63, length + 8))) + data[8:]
    header = _json(data[8 : 8 + length].rstrip(), random)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def _npy(data: bytes, random: Random) -> bytes:
    if random.random() < 0.2:
        stream = io.BytesIO()
        np.save(stream, np.array([_Touch()], dtype=object), allow_pickle=True)
        return stream.getvalue()
    header = repr(
        {
            "descr": random.choice(("<f4", "<f2", "|O", "<M8[ns]", ">f8", "<c8", "<U5", "V16", [("a", "<f4")], "x")),
            "fortran_order": random.choice((False, True, 3)),
            "shape": random.choice(
                ((8, 12), (0, 12), (8, 0), (-1, 12), (2**62, 12), (2**63,), (), (8,), "x", (1.5, 2))
            ),
        }
    ).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    version = random.choice((b"\x01\x00", b"\x01\x00", b"\x09\x00"))
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + data[128:]


class _Touch:
    """Pickled, it is a command that leaves the canary."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        import os

        return os.system, (f"touch ../{CANARY}",)


def _torch(data: bytes, random: Random) -> bytes:
    rows = torch.randn(8, 2, 12)
    values: list[Callable[[], Any]] = [
        lambda: _Rebuilt(rows),
        lambda: torch.empty(8, 2, 12, device="meta"),
        lambda: torch.nested.nested_tensor([torch.randn(2, 12), torch.randn(3, 12)]),
        lambda: torch.randn(8, 24).to_sparse(),
        lambda: torch.quantize_per_tensor(rows, 0.1, 0, torch.qint8),
        lambda: torch.zeros(1).expand(2**20, 2**20, 16),
        lambda: rows.long(),
        lambda: rows.to(torch.complex64),
        lambda: torch.zeros(8, 2, 12, dtype=torch.float8_e4m3fn),
        lambda: rows * float("nan"),
        lambda: torch.zeros(0, 2, 12),
        lambda: torch.tensor(1.0),
        lambda: {"a": rows},
        lambda: [rows, rows],
        lambda: None,
        _Touch,
        lambda: torch.nn.Parameter(rows),
    ]
    stream = io.BytesIO()
    torch.save(random.choice(values)(), stream, _use_new_zipfile_serialization=random.random() < 0.8)
    return stream.getvalue()


class _Rebuilt:
    """Pickled, it is a tensor whose strides reach beyond its storage."""

    def __init__(self, rows: torch.Tensor) -> None:
        self._storage = torch.storage.TypedStorage(
            wrap_storage=rows.untyped_storage(), dtype=rows.dtype, _internal=True
        )

    def __reduce__(self) -> Any:
        strides = (2**40, 2**20, 1)
        return torch._utils._rebuild_tensor_v2, (self._storage, 0, (8, 2, 12), strides, False, OrderedDict())


_PAX_NAMES = ("size", "path", "mtime", "GNU.sparse.size", "GNU.sparse.map", "hdrcharset", "GNU.sparse.major")
_PAX_VALUES = ("-1", "9" * 25, "x", "1.0", "nan", "BINARY", "\0", "1,2,3", "")


def _tar(data: bytes, random: Random) -> bytes:
    stream = io.BytesIO(data)
    with tarfile.open(fileobj=stream) as tar:
        starts = [info.offset for info in tar]
    changed = bytearray(data)
    at = random.choice(starts)
    sizes = (
        b"\x80" + b"\xff" * 11, b"\xff" * 12, b"-0000000001\0", b"77777777777\0",
        b"\x80" + bytes(7) + b"\x01" + bytes(3),
        b"99999999999\0", b"           \0", b"\x80\x00\x00\x00\x7f" + b"\xff" * 7, b"0x10       \0",
    )  # fmt: skip
    act = random.randrange(4)
    if act <= 1:
        changed[at + 124 : at + 136] = random.choice(sizes)
    elif act == 2:
        changed[at + 156] = random.choice(b"1234567LKxgSNVM\xff")
        if random.random() < 0.5:
            changed[at + 124 : at + 136] = random.choice(sizes)
    else:
        member = tarfile.TarInfo(
            random.choice(("../x.jpg", "/x.json", "a" * 300 + ".jpg", "\udcff.jpg", "a\nb.json", "."))
        )
        member.pax_headers = {random.choice(_PAX_NAMES): random.choice(_PAX_VALUES)}
        header = member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        return bytes(changed[:at]) + header + bytes(changed[at:])
    checksum = sum(changed[at : at + 512]) - sum(changed[at + 148 : at + 156]) + 8 * ord(" ")
    changed[at + 148 : at + 156] = b"%06o\0 " % checksum
    return bytes(changed)


def _csv(data: bytes, random: Random) -> bytes:
    lines = data.splitlines()
    at = random.randrange(len(lines))
    lines[at] = random.choice(
        (b'"', b'"a,b', b"a,b,c,d,e,f", b"", b"\0", b"a" * 200_000, lines[0], b"\xff\xfe", b'a""b,"c"d', b",,,", b"key")
    )
    return random.choice((b"\n", b"\r", b"\r\n")).join(lines)


def _parquet(data: bytes, random: Random) -> bytes:
    table = pq.read_table(io.BytesIO(data))
    count = table.num_rows
    odd: list[pa.Array] = [
        pa.array([2**62] * count, pa.timestamp("s")),
        pa.array([2**62] * count, pa.timestamp("us", "Europe/Nowhere")),
        pa.array([2**31 - 1] * count, pa.date32()),
        pa.array([2**62] * count, pa.duration("s")),
        pa.array([86_399_999_999] * count, pa.time64("us")),
        pa.array([b"\xff\xfe"] * count, pa.binary()),
        pa.array([None] * count, pa.string()),
        pa.nulls(count),
        pa.array([[1.0, None]] * count, pa.list_(pa.float32())),
        pa.array([[float("nan")] * 12] * count, pa.list_(pa.float32(), 12)),
        pa.array([[]] * count, pa.list_(pa.float32())),
        pa.array([{"a": {"b": [1]}}] * count),
        pa.array([[("k", 1)]] * count, pa.map_(pa.string(), pa.int64())),
        pa.array(["a"] * count).dictionary_encode(),
        pa.array([10**30] * count, pa.decimal128(38, 2)),
        pa.array([True] * count),
        pa.array([float("inf")] * count),
        pa.array(["\x1b[2J\0" * 3] * count),
        pa.array(["x"] * count),
        pa.array([""] * count),
        pa.array(range(count), pa.uint64()),
    ]
    at = random.randrange(table.num_columns)
    name = table.column_names[at]
    act = random.random()
    if act < 0.65:
        table = table.set_column(at, name, random.choice(odd))
    elif act < 0.75:
        table = table.append_column(random.choice((name, "", "\0", "a.b", "matched_by")), random.choice(odd))
    elif act < 0.85:
        table = table.remove_column(at)
    elif act < 0.9:
        table = table.slice(0, 0)
    else:
        record = _dumped(json_value(random), random)
        table = table.replace_schema_metadata({b"keyclip.fields": record, b"ARROW:schema": b"x", b"pandas": b"[" * 99})
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


_FORMATS: dict[str, Callable[[bytes, Random], bytes]] = {
    "json": _json,
    "jsonl": _json_lines,
    "yaml": _yaml,
    "safetensors": _safetensors,
    "npy": _npy,
    "dpt": _torch,
    "pt": _torch,
    "tar": _tar,
    "csv": _csv,
    "tsv": _csv,
    "parquet": _parquet,
}

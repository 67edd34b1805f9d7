"""``keyclip store get``: vectors of some keys."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import store
from store.common.errors import ConfigError, MissingKeysError
from store.common.outputs import Kind, Outputs
from store.common.settings import Positional
from store.sources.keylist import iter_key_list
from tools.commands.store.base import FieldConfig
from tools.query.printing import printable, progress_bar

SHOWN = 8
ROWS_AT_ONCE = 4096
NPY = Kind(name="an npy file", start=b"\x93NUMPY")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(FieldConfig):
    """Print vectors, or save them: row i belongs to key i.

    Exit status 1 if a key has no vector; then nothing is written.

    Example:
        keyclip store get cc3m.store 000000003 000000007 --field minilm/captions.0
        keyclip store get cc3m.store --keys keys.txt --npy vectors.npy
    """

    key: Positional[tuple[str, ...]] = ()
    """Sample keys."""
    keys: Path | None = None
    """Get the keys listed in this file, one per line, after the keys on the command line."""
    npy: Path | None = None
    """Save the vectors (keys, width) into this npy file, as float16 where that is stored, else float32."""
    overwrite: bool = False
    """Replace an existing npy file."""


def run(config: Config) -> None:
    """Print or save the vectors."""
    keys = [*config.key, *(iter_key_list(config.keys) if config.keys else [])]
    if not keys:
        raise ConfigError("no key is named; give sample keys, or a list of them with --keys")
    field = config.open_field()
    found = field.contains(keys)
    if not found.all():
        absent = [keys[row] for row in np.flatnonzero(~found)]
        named = ", ".join(repr(key)[:100] for key in absent[:5]) + (", ..." if len(absent) > 5 else "")
        raise MissingKeysError(f"{len(absent)} of {len(keys)} keys have no vector in field {field.name!r}: {named}")
    if config.npy is not None:
        with Outputs([config.store, config.keys], config.overwrite) as outputs:
            _save(field, keys, config.npy, outputs, config.json)
    elif config.json:
        vectors = field.get(keys, dtype="float32")
        print(json.dumps({"field": field.name, "keys": keys, "vectors": vectors.tolist()}))
    else:
        _show(field, keys)


def _save(field: store.Field, keys: list[str], file: Path, outputs: Outputs, quiet: bool) -> None:
    """Write the file piece by piece, so that any number of vectors fits; an older file stays until the end."""
    shape = (len(keys), field.spec.dim)
    dtype = field.get(keys[:1]).dtype
    progress = progress_bar(quiet)
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    part = outputs.claim(file, NPY, shape[0] * shape[1] * dtype.itemsize)
    with part.open("r+b") as stream:  # not memory-mapped: a full disk would end the process
        np.lib.format.write_array_header_1_0(stream, header)
        for start in range(0, len(keys), ROWS_AT_ONCE):
            stream.write(field.get(keys[start : start + ROWS_AT_ONCE]).data)
            progress(field.name, min(start + ROWS_AT_ONCE, len(keys)), len(keys))
        stream.truncate()
    if quiet:
        print(json.dumps({"field": field.name, "file": str(file), "shape": shape, "dtype": str(dtype)}))
    else:
        print(f"{shape[0]:,} vectors of {shape[1]} {dtype} saved to {printable(str(file))}")


def _show(field: store.Field, keys: list[str]) -> None:
    for key in keys:
        vector = field.get([key], dtype="float32")[0]
        numbers = " ".join(f"{number:.4g}" for number in vector[:SHOWN])
        rest = f" ... ({len(vector)} numbers)" if len(vector) > SHOWN else ""
        print(f"{printable(key)}  length {np.linalg.norm(vector):.4g}  {numbers}{rest}")

"""Values that are equal, by their digests."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import xxhash

DIGEST = pa.binary(16)
SHOWN = 5
"""Of samples that equal a row, as many are named."""


def digests_of(texts: Iterable[str]) -> np.ndarray:
    """XXH3-128 of texts: (n,) of 16 bytes; by the chances that :func:`store.hashing.key_hashes` gives, equal digests
    are equal texts.
    """
    joined = b"".join(map(xxhash.xxh3_128_digest, (text.encode("utf-8", "surrogatepass") for text in texts)))
    return np.frombuffer(joined, dtype="V16")


def equal_samples(rows: pa.Table, samples: pa.Table, exactness: int) -> pa.Table:
    """Rows whose digest one or several samples have, with the first of those samples.

    Args:
        rows: columns ``row``, ``said``, ``digest``.
        samples: columns ``key``, ``number``, ``digest``.
        exactness: number of the form that the digests are of.

    Returns:
        A table with the columns ``row``, ``said``, ``form`` (= ``exactness``), ``count`` of samples, ``key`` and
        ``number`` of the first of them, and ``candidates``: the first keys, where there are several.
    """
    samples = samples.sort_by("number")
    digests = pa.chunked_array([*samples["digest"].chunks, *rows["digest"].chunks], DIGEST)
    codes = digests.combine_chunks().dictionary_encode().indices.to_numpy()
    of_sample, of_row = codes[: samples.num_rows], codes[samples.num_rows :]
    count = np.bincount(of_sample, minlength=int(codes.max()) + 1)
    order = np.argsort(of_sample, kind="stable")  # samples of one digest together, in their own order
    start = np.cumsum(count) - count
    rows = rows.filter(pa.array(count[of_row] > 0))
    of_row = of_row[count[of_row] > 0]
    several, which = np.unique(of_row[count[of_row] > 1], return_inverse=True)
    keys = samples["key"].take(pa.array(order)).to_pylist() if len(several) else []
    shown = [" ".join(keys[start[code] : start[code] + min(count[code], SHOWN)]) for code in several.tolist()]
    candidates = np.full(len(of_row), None, object)
    candidates[count[of_row] > 1] = np.array([*shown, None], object)[which]
    chosen = samples.take(pa.array(order[start[of_row]]))
    return pa.table(
        {
            "row": rows["row"],
            "said": rows["said"],
            "form": pa.array(np.full(len(of_row), exactness, np.int8)),
            "count": pa.array(count[of_row]),
            "key": chosen["key"],
            "number": chosen["number"],
            "candidates": pa.array(candidates, pa.large_string()),
        }
    )


def digest_column(digests: np.ndarray) -> pa.Array:
    """Digests as a column of a table."""
    return pa.FixedSizeBinaryArray.from_buffers(DIGEST, len(digests), [None, pa.py_buffer(digests)])

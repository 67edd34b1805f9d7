"""Random draws of sample keys that depend on the keys and a seed alone, not on the order in which keys come."""

import contextlib
from collections.abc import Iterable
from hashlib import blake2b
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from store.errors import ConfigError
from store.outputs import KEY_LIST, Outputs
from tools.preparing.equality import digest_column
from tools.preparing.spill import NUM_PARTITIONS, Spill, working_folder

_BATCH = 2**15


def draw_keys(
    keys: Iterable[str],
    number: int,
    seed: int,
    output: Path,
    inputs: Iterable[Path | str | None] = (),
    overwrite: bool = False,
) -> tuple[int, int]:
    """Write ``number`` different keys, one a line: those with the least BLAKE2b digest of 16 bytes, salted by the seed.

    They stand in the order of their digests. So every set of ``number`` keys is as likely as any other; the same keys
    and seed give the same file, however they are ordered or repeated; and the first half of a draw is a draw of half as
    many.

    Args:
        inputs: what ``keys`` are read from, which the output must not replace.
        overwrite: whether a list that is there is replaced.

    Returns:
        How many keys came, and how many of them had come before.

    Raises:
        ConfigError: there are fewer than ``number`` different keys.
        OutputExistsError: as :meth:`store.outputs.Outputs.claim`.
    """
    rest, num_keys, num_different, written = iter(keys), 0, 0, 0
    with Outputs(inputs, overwrite) as outputs, contextlib.ExitStack() as stack:
        lines = outputs.lines(outputs.claim(output, KEY_LIST))
        spill = Spill(stack.enter_context(working_folder(output)) / "keys")
        while batch := list(islice(rest, _BATCH)):
            num_keys += len(batch)
            _lay_aside(batch, seed, spill)
        for table in spill:
            drawn = _in_order_of_digests(table)
            num_different += len(drawn)
            lines.write(drawn[: number - written])
            written += min(len(drawn), number - written)
        if written < number:
            raise ConfigError(f"{number:,} keys are asked for, there are {num_different:,} different ones")
    return num_keys, num_keys - num_different


def _lay_aside(keys: list[str], seed: int, spill: Spill) -> None:
    salt = seed.to_bytes(16, "little")
    try:
        digests = b"".join(blake2b(key.encode(), digest_size=16, salt=salt).digest() for key in keys)
    except UnicodeEncodeError as error:
        raise ConfigError(f"sample key {error.object!r:.100} is not UTF-8 text; rename the sample") from None
    first_bytes = np.frombuffer(digests, np.uint8)[::16].astype(np.int64)
    column = digest_column(np.frombuffer(digests, "V16"))
    table = pa.table({"digest": column, "key": pa.array(keys, pa.large_string())})
    spill.add(first_bytes * NUM_PARTITIONS // 256, table)


def _in_order_of_digests(table: pa.Table) -> list[str]:
    """The different keys of a table by their digests."""
    pairs = sorted(zip(table["digest"].to_pylist(), table["key"].to_pylist(), strict=True))
    return [key for place, (digest, key) in enumerate(pairs) if not place or digest != pairs[place - 1][0]]

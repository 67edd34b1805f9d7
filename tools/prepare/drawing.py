"""Random draws of sample keys that depend on the keys and a seed alone, not on the order in which keys come."""

from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

import pyarrow as pa

from store.common.errors import ConfigError
from store.common.outputs import KEY_LIST, Outputs
from tools.prepare.database import batched, temporary_database, texts


def draw_keys(
    keys: Iterable[str],
    number: int,
    seed: int,
    output: Path,
    inputs: Iterable[Path | str | None] = (),
    overwrite: bool = False,
) -> tuple[int, int]:
    """Write ``number`` different keys, one a line: those with the least BLAKE2b digest of 16 bytes, salted by the seed.

    The keys come in the order of their digests. So every set of ``number`` keys is as likely as any other; the same
    keys and seed give the same file, however they are ordered or repeated; and the first half of a draw is a draw of
    half as many. ``inputs`` are the sources of the keys, which the output must not replace.

    Returns:
        The number of keys, and how many of them had come before.

    Raises:
        ConfigError: there are fewer than ``number`` different keys.
    """
    num_keys = num_different = 0
    with Outputs(inputs, overwrite) as outputs, temporary_database(output) as database:
        lines = outputs.lines(outputs.claim(output, KEY_LIST))
        for batch in batched(keys):
            num_keys += len(batch)
            database.insert("keys", {"digest": pa.array(_digests(batch, seed), pa.binary()), "key": texts(batch)})
        if num_keys:
            num_different = database.value("SELECT count(DISTINCT digest) FROM keys")
        if num_different < number:
            raise ConfigError(f"{number:,} keys are asked for, there are {num_different:,} different ones")
        drawn = "SELECT digest, any_value(key) FROM keys GROUP BY digest ORDER BY digest LIMIT ?"
        lines.write(key for _, key in database.rows(drawn, number))
    return num_keys, num_keys - num_different


def _digests(keys: list[str], seed: int) -> list[bytes]:
    salt = seed.to_bytes(16, "little")
    try:
        return [blake2b(key.encode(), digest_size=16, salt=salt).digest() for key in keys]
    except UnicodeEncodeError as error:
        raise ConfigError(f"sample key {error.object!r:.100} is not UTF-8 text; rename the sample") from None

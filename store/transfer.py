"""Copying fields between stores: the one operation behind merge, convert and compact.

The destination is written block by block, so an interrupted copy goes on where it stopped; sources are only read.
"""

import dataclasses
from collections.abc import Sequence

from store.common.errors import BlockNotFoundError, ConfigError, FieldNotFoundError
from store.core.contract import Field, Progress, Store, Writer, named
from store.core.spec import StoredDtype


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Copied:
    """What a copy did."""

    num_blocks: int
    """Blocks written now."""
    num_vectors: int
    """Vectors in them."""
    num_blocks_before: int
    """Blocks that an earlier run had written."""


def copy(
    sources: Sequence[Store],
    destination: Store,
    *,
    fields: Sequence[str] | None = None,
    dtype: StoredDtype | None = None,
    progress: Progress | None = None,
) -> Copied:
    """Copy fields of one or several stores into another.

    Vectors of an unchanged dtype are copied bit by bit. Blocks of different sources that have the same name but other
    keys or captions are kept apart: the later one's name gets a suffix.

    Args:
        sources: where the fields are; a field in several of them becomes one, so its specs must be equal.
        destination: a store opened with mode ``a``.
        fields: names of fields; all of them by default.
        dtype: how to store the numbers; as in the source by default.
        progress: called after each block with (field, blocks done, blocks in all) of the source at hand.

    Raises:
        ConfigError: the destination is one of the sources.
        FieldNotFoundError: no source has a field that is named.
        SpecMismatchError: sources, or a source and the destination, disagree on how a field was made.
        DuplicateKeyError: two sources have a key in different blocks.
        DamagedBlockError: a field that is to be copied is damaged; repair or drop it first, or leave it out.
    """
    if destination.path in [source.path for source in sources]:
        raise ConfigError(f"{destination.path!r} cannot be copied into itself; name another output")
    infos = [source.survey() for source in sources]
    names = sorted({name for there in infos for name in there})
    if absent := [name for name in fields or () if name not in names]:
        raise FieldNotFoundError(f"no source has a field {absent[0]!r}; {named(names)}")
    total = Copied(num_blocks=0, num_vectors=0, num_blocks_before=0)
    for name in fields or names:
        for source, there in zip(sources, infos, strict=True):
            if name in there:
                spec = source.field(name).spec
                writer = destination.writer(name, dataclasses.replace(spec, dtype=dtype or spec.dtype))
                done = _copy_field(source.field(name), destination.field(name), writer, progress)
                total = Copied(**{n: getattr(total, n) + getattr(done, n) for n in Copied.__slots__})
    return total


def _copy_field(source: Field, there: Field, writer: Writer, progress: Progress | None) -> Copied:
    blocks = source.blocks()
    written = num_vectors = 0
    for done, block in enumerate(blocks, start=1):
        name = _free_name(block, source.block_digest(block), there)
        if name is not None:
            num_vectors += _copy_block(source, block, name, writer)
            written += 1
        if progress:
            progress(source.name, done, len(blocks))
    return Copied(num_blocks=written, num_vectors=num_vectors, num_blocks_before=len(blocks) - written)


def _free_name(block: str, digest: bytes, there: Field) -> str | None:
    """The name under which to write a block; None if it is there already. The same again after an interruption."""
    for name in (block, f"{block[:480]}~{digest.hex()[:16]}"):
        try:
            if there.block_digest(name) == digest:
                return None
        except BlockNotFoundError:
            return name
    raise ConfigError(f"blocks {block!r} and {name!r} of field {there.name!r} are both taken; rename one of them")


def _copy_block(source: Field, block: str, name: str, writer: Writer) -> int:
    if writer.spec.dtype == source.spec.dtype:
        batch = dataclasses.replace(source.read_batch(block), block=name)
        writer.commit_batch(batch)
        return len(batch)
    keys, vectors = source.read_block(block, dtype="float32")
    writer.commit(name, keys, vectors, source.caption_hashes(keys))
    return len(keys)

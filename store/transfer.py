"""Copying fields between stores: the one operation behind merge, convert and compact.

The destination is written block by block, so an interrupted copy continues where it stopped; sources are only read.
"""

import dataclasses
from collections.abc import Sequence

from store.common.errors import BlockNotFoundError, ConfigError, FieldNotFoundError
from store.core.contract import Field, Progress, Store, Writer, named
from store.core.spec import StoredDtype


@dataclasses.dataclass(kw_only=True, slots=True)
class Copied:
    """What a copy did."""

    num_blocks: int = 0
    """Blocks written now."""
    num_vectors: int = 0
    """Vectors in them."""
    num_blocks_before: int = 0
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

    Vectors of an unchanged dtype are copied bit by bit. Of blocks of different sources that have the same name but
    other keys or captions, the later one gets a name with a suffix.

    Args:
        sources: stores with the fields; a field in several of them becomes one, so its specs must be equal.
        destination: a store opened with mode ``a``.
        fields: names of fields; all of them by default.
        dtype: how to store the numbers; as in the source by default.
        progress: called after each block with (field, blocks done, blocks in all) of the present source.

    Raises:
        ConfigError: the destination is one of the sources.
        FieldNotFoundError: no source has a field that is named.
        SpecMismatchError: sources, or a source and the destination, disagree on how a field was made.
        DuplicateKeyError: two sources have a key in different blocks.
        DamagedBlockError: a field that is to be copied is damaged; repair or drop it first, or leave it out.
    """
    if destination.path in [source.path for source in sources]:
        raise ConfigError(f"{destination.path!r} cannot be copied into itself; name another output")
    surveys = [source.survey() for source in sources]
    names = sorted({name for survey in surveys for name in survey})
    if absent := [name for name in fields or () if name not in names]:
        raise FieldNotFoundError(f"no source has a field {absent[0]!r}; {named(names)}")
    copied = Copied()
    for name in fields or names:
        for source, survey in zip(sources, surveys, strict=True):
            if name in survey:
                field = source.field(name)
                writer = destination.writer(name, dataclasses.replace(field.spec, dtype=dtype or field.spec.dtype))
                _copy_field(field, destination.field(name), writer, copied, progress)
    return copied


def _copy_field(source: Field, target: Field, writer: Writer, copied: Copied, progress: Progress | None) -> None:
    blocks = source.blocks()
    for done, block in enumerate(blocks, start=1):
        name = _free_name(block, source.block_digest(block), target)
        if name is None:
            copied.num_blocks_before += 1
        else:
            copied.num_blocks += 1
            copied.num_vectors += _copy_block(source, block, name, writer)
        if progress:
            progress(source.name, done, len(blocks))


def _free_name(block: str, digest: bytes, target: Field) -> str | None:
    """The name under which to write a block, also after an interruption; None if the block is there already."""
    for name in (block, f"{block[:480]}~{digest.hex()[:16]}"):
        try:
            if target.block_digest(name) == digest:
                return None
        except BlockNotFoundError:
            return name
    raise ConfigError(f"blocks {block!r} and {name!r} of field {target.name!r} are both taken; rename one of them")


def _copy_block(source: Field, block: str, name: str, writer: Writer) -> int:
    if writer.spec.dtype == source.spec.dtype:
        batch = dataclasses.replace(source.read_batch(block), block=name)
        writer.commit_batch(batch)
        return len(batch)
    keys, vectors = source.read_block(block, dtype="float32")
    writer.commit(name, keys, vectors, source.caption_hashes(keys))
    return len(keys)

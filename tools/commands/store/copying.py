"""``keyclip store merge``, ``convert`` and ``compact``: copy fields of stores into another store."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import store
from store.common.settings import Positional
from store.core.contract import Backend
from store.core.spec import StoredDtype
from store.transfer import copy
from tools.commands import Command
from tools.query.printing import progress_bar


@dataclass(frozen=True, kw_only=True, slots=True)
class _Output:
    output: str
    """The store to write to; made if it is not there."""
    json: bool = False
    """Print the counts as json."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _ChosenFields(_Output):
    backend: Backend | None = None
    """Backend of a new output, lmdb by default; an output that exists must have it."""
    fields: tuple[str, ...] = ()
    """Fields to copy; all by default."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Merge(_ChosenFields):
    """Copy the fields of several stores into one, such as the stores that every node wrote on its own disk.

    Sources are only read. The same command again continues an interrupted copy.

    Example:
        keyclip store merge node0.store node1.store --output cc3m.store
    """

    sources: Positional[tuple[str, ...]]
    """Folders or URLs of the stores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Convert(_ChosenFields):
    """Copy a store into one of another backend or with numbers of another dtype.

    The source is only read. The same command again continues an interrupted copy.

    Example:
        keyclip store convert cc3m.store --output s3://bucket/cc3m.store --backend zarr
        keyclip store convert cc3m.store --output small.store --dtype int8
    """

    source: Positional[str]
    """Folder or URL of the store."""
    dtype: StoredDtype | None = None
    """How to store the numbers; as in the source by default."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compact(_Output):
    """Copy a store into a new one without the space that dropped blocks and rewritten indexes left free.

    The output gets the backend of the source. The source is only read; remove it yourself afterwards. The same command
    again continues an interrupted copy.

    Example:
        keyclip store compact cc3m.store --output cc3m-compact.store
    """

    source: Positional[str]
    """Folder or URL of the store."""


def _merge(config: Merge) -> None:
    _copy(config, config.sources, config.backend, config.fields)


def _convert(config: Convert) -> None:
    _copy(config, [config.source], config.backend, config.fields, config.dtype)


def _compact(config: Compact) -> None:
    _copy(config, [config.source], store.open(config.source).backend)


def _copy(
    config: _Output,
    paths: Sequence[str],
    backend: Backend | None,
    fields: Sequence[str] = (),
    dtype: StoredDtype | None = None,
) -> None:
    """Copy, and print what was copied."""
    sources = [store.open(path) for path in paths]
    output = store.open_or_create(config.output, backend)
    copied = copy(sources, output, fields=fields, dtype=dtype, progress=progress_bar(config.json))
    if config.json:
        print(json.dumps(asdict(copied)))
        return
    before = f"; {copied.num_blocks_before:,} blocks were there already" if copied.num_blocks_before else ""
    print(f"{copied.num_vectors:,} vectors copied in {copied.num_blocks:,} blocks{before}")


MERGE, CONVERT, COMPACT = Command(Merge, _merge), Command(Convert, _convert), Command(Compact, _compact)

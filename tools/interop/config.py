"""Settings that imports, and that exports, have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from store.common.errors import ConfigError
from store.common.settings import Count, Few, Positional
from store.core.contract import Backend
from store.core.spec import Kind, StoredDtype
from tools.interop.columns import Source
from tools.interop.report import ExportReport

Embeddings = Literal["text_emb", "img_emb"]
FileDtype = Literal["float16", "float32"] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportConfig:
    """Where vectors go, and how they were made, which most files of vectors do not say."""

    store: str
    """The store that receives the vectors; made where there is none."""
    model: str | None = None
    """The model that made the vectors: its folder, or its hub id. Its own files (of a hub id: in the hub's cache, where
    keyclip embed puts them) tell what is not given of the next five settings, so that keyclip embed can add to the same
    fields. Default: as the file says, if keyclip exported it."""
    revision: str | None = None
    """Revision or fingerprint of the model's weights. Training takes fields together only if it is the same. Default:
    as the file says, else as the model's files say, else "unknown"."""
    kind: Kind | None = None
    """What the model is. Default: as the file says, else as the model's files say, else llm."""
    template: str | None = None
    """Text around the caption, with {caption} in it. Default: as the file says, else as the model's files say, else
    none."""
    pooling: str | None = None
    """How token states became a vector: mean, mean-text, last, cls, max or eos. Default: as the file says, else as the
    model's files say, else "unknown"."""
    max_length: Few | None = None
    """Tokens a caption could have. Default: as the file says, else as the model's files say, else 512."""
    normalize: bool | None = None
    """Whether the vectors have length 1. Default: as the file says, else as the first vectors have."""
    field_prefix: str | None = None
    """First part of the field names PREFIX/CAPTION_FIELD. Default: the model's short name."""
    dtype: StoredDtype | None = None
    """How numbers are stored. Default: as in the file, bit by bit (float64 becomes float32)."""
    backend: Backend | None = None
    """Backend of a store that this command makes, lmdb by default; a store that exists must have it."""
    keys: Path | None = None
    """Import only the sample keys listed in this file, one a line."""
    block_size: Count = 10_000
    """Vectors per commit, at most; what is held in memory."""
    json: bool = False
    """Print the report as json."""

    def __post_init__(self) -> None:
        if self.model is not None and not self.model.strip("/"):
            raise ConfigError("--model names the model that made the vectors; it must not be empty")

    def sources(self) -> Sequence[Source]:
        """The files to import; each format's own."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionedImportConfig(ImportConfig):
    """Where the captions are, for formats that do not hold them."""

    shards: tuple[str, ...] = ()
    """Shards whose json holds the captions: their hashes are kept with the vectors, and compared in training."""
    captions: tuple[str, ...] = ()
    """Keyed files with the captions: .jsonl, .csv, .tsv or .parquet."""
    caption_key_column: str = "key"
    """The column of these files that holds the sample key."""

    def captioned(self) -> list[str]:
        """The caption fields whose captions are to be read."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportConfig:
    """Which vectors, and where to."""

    store: Positional[str]
    """Folder or URL of the store."""
    output: Path
    """Folder that receives the files; made where there is none."""
    keys: Path | None = None
    """Export only the sample keys listed in this file, one a line."""
    missing: Literal["error", "skip"] = "error"
    """What to do with a sample that has no vector in one of the fields: stop, or leave it out and count it."""
    overwrite: bool = False
    """Replace files that are there. Without it, files that the same command wrote are kept, others refused."""
    json: bool = False
    """Print the report as json."""

    def export(self) -> ExportReport:
        """Write the files; each format's own."""
        raise NotImplementedError

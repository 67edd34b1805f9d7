"""``keyclip vectors import FORMAT``: files of vectors into fields of a store."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from store.common.errors import ConfigError
from store.common.settings import Positional
from store.sources.shards import expand_shards
from tools.commands import Command
from tools.interop.columns import Source, column_names
from tools.interop.config import CaptionedImportConfig, Embeddings, ImportConfig

# formats are imported where they are used: they load torch, pyarrow and lance, which --help need not wait for


@dataclass(frozen=True, kw_only=True, slots=True)
class Sidecar(ImportConfig):
    """Import the sidecars X_text_embeddings.tar that LLM2CLIP and ProCLIP read in lock-step with X.tar.

    A sidecar's keys and their order are compared with its image tar, X.tar beside it or among --shards, and vectors
    keep every bit. The hashes of the captions in the image tar's json are stored with the vectors. A file is imported
    as a whole or not at all; the same command again imports what is missing.

    Example:
        keyclip vectors import sidecar 'cc3m/*_text_embeddings.tar' --store cc3m.store
            --model microsoft/LLM2CLIP-Llama-3-8B-Instruct-CC-Finetuned --field-prefix llama --dtype float16
    """

    sidecars: Positional[tuple[str, ...]]
    """Sidecars: paths, globs, brace ranges, or @FILE with one a line."""
    shards: tuple[str, ...] = ()
    """Image tars, where they are not beside their sidecars."""
    caption_fields: tuple[str, ...] = ()
    """CAPTION_FIELD or CAPTION_FIELD=EXTENSION: what to import. Default: every member of the first sample."""
    check: bool = True
    """Compare with the image tars. False: take the sidecars as they are, captions unknown."""

    def sources(self) -> Sequence[Source]:
        from tools.interop.formats.sidecar import sidecar_sources

        shards = expand_shards(self.shards) if self.shards else None
        return sidecar_sources(expand_shards(self.sidecars), shards, column_names(self.caption_fields), self.check)


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged(ImportConfig):
    """Import vectors that are members of the image tars themselves, KEY.CAPTION_FIELD beside KEY.jpg and KEY.json.

    Vectors keep every bit, and the hashes of the captions in the json are stored with them. The tars are only read. A
    file is imported as a whole or not at all; the same command again imports what is missing.

    Example:
        keyclip vectors import merged 'cc3m-merged/*.tar' --caption-fields shortSV_captions longSV_captions
            --store cc3m.store --model microsoft/LLM2CLIP-Llama-3-8B-Instruct-CC-Finetuned --field-prefix llama
    """

    shards: Positional[tuple[str, ...]]
    """Merged tars: paths, globs, brace ranges, or @FILE with one a line."""
    caption_fields: tuple[str, ...]
    """CAPTION_FIELD or CAPTION_FIELD=EXTENSION: the members that are vectors."""

    def __post_init__(self) -> None:
        ImportConfig.__post_init__(self)
        if not self.caption_fields:
            raise ConfigError("name the members that are vectors with --caption-fields")

    def sources(self) -> Sequence[Source]:
        from tools.interop.formats.sidecar import merged_sources

        return merged_sources(expand_shards(self.shards), column_names(self.caption_fields))


@dataclass(frozen=True, kw_only=True, slots=True)
class Dpt(ImportConfig):
    """Import evaluation features: a .dpt file, torch.save of a float tensor [images, captions of each, d] or [n, d].

    The keys of the rows come from --shards, in order, or from --row-keys, one a line (by default FILE.keys.txt beside
    FILE.dpt, which the export writes). The file is loaded without running any code in it.

    Example:
        keyclip vectors import dpt coco_test.dpt --shards 'coco-test/*.tar' --store coco.store --field-prefix llama
            --caption-fields captions.0 captions.1 captions.2 captions.3 captions.4
            --model microsoft/LLM2CLIP-Llama-3-8B-Instruct-CC-Finetuned
    """

    file: Positional[Path]
    """The .dpt file."""
    caption_fields: tuple[str, ...]
    """A caption field for each caption of an image, in the order of the tensor."""
    shards: tuple[str, ...] = ()
    """Image shards in the order of the rows; their captions' hashes are stored with the vectors."""
    row_keys: Path | None = None
    """Text file with the sample keys in the order of the rows, one a line."""

    def __post_init__(self) -> None:
        ImportConfig.__post_init__(self)
        if self.shards and self.row_keys:
            raise ConfigError("give either --shards or --row-keys, the keys of the rows")

    def sources(self) -> Sequence[Source]:
        from tools.interop.formats.dpt import dpt_source

        return [dpt_source(self.file, self.caption_fields, self.shards, self.row_keys)]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipRetrieval(CaptionedImportConfig):
    """Import a clip-retrieval folder: text_emb/text_emb_0.npy, ... with metadata/metadata_0.parquet, ... row by row.

    The metadata gives the sample keys, and the captions where --caption-column names them; these may also come from
    --shards or --captions. A matrix is imported as a whole or not at all; the same command again imports what is
    missing.

    Example:
        keyclip vectors import clip-retrieval laion-embeddings --key-column image_path --caption-column caption
            --caption-field caption --store laion.store --model openai/clip-vit-large-patch14 --kind clip-text
    """

    folder: Positional[Path]
    """The folder with text_emb/ and metadata/."""
    caption_field: str
    """Caption field of the captions that were embedded, as in the sample's json."""
    embeddings: Embeddings = "text_emb"
    """Which matrices to import."""
    key_column: str = "key"
    """Column of the metadata that holds the sample key; clip-retrieval calls it image_path."""
    caption_column: str | None = None
    """Column of the metadata that holds the captions that were embedded; their hashes are kept with the vectors."""

    def captioned(self) -> list[str]:
        return [self.caption_field]

    def sources(self) -> Sequence[Source]:
        from tools.interop.formats.clip_retrieval import clip_retrieval_sources

        columns = (self.caption_field, self.key_column, self.caption_column)
        return clip_retrieval_sources(self.folder, self.embeddings, *columns)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Table(CaptionedImportConfig):
    key_column: str = "key"
    """The column that holds the sample key."""
    caption_fields: tuple[str, ...] = ()
    """CAPTION_FIELD or CAPTION_FIELD=COLUMN: what to import. Default: every column of float lists."""

    def captioned(self) -> list[str]:
        return list(column_names(self.caption_fields))


@dataclass(frozen=True, kw_only=True, slots=True)
class Parquet(_Table):
    """Import Parquet files with a text column of sample keys and columns of float lists, all of one length.

    Files are decoded in pieces, however large their row groups are. A file is imported as a whole or not at all; the
    same command again imports what is missing. Hashes of captions come from --shards or --captions, or from the column
    NAME_caption_hash that the export writes; else they are unknown.

    Example:
        keyclip vectors import parquet 'vectors/*.parquet' --caption-fields captions.0=embedding --key-column id
            --store cc3m.store --model sentence-transformers/all-MiniLM-L6-v2 --kind sentence
    """

    files: Positional[tuple[str, ...]]
    """Parquet files: paths, globs, brace ranges, or @FILE with one a line."""

    def sources(self) -> Sequence[Source]:
        from tools.interop.formats.parquet import parquet_source

        names = column_names(self.caption_fields)
        return [parquet_source(file, self.key_column, names) for file in expand_shards(self.files)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lance(_Table):
    """Import a Lance dataset with a text column of sample keys and columns of float lists, all of one length.

    Needs the package pylance: pip install 'keyclip[lance]'. The dataset is imported as a whole or not at all; the same
    command again imports what is missing. Hashes of captions come from --shards or --captions, or from the column
    NAME_caption_hash that the export writes; else they are unknown.

    Example:
        keyclip vectors import lance cc3m.lance --caption-fields captions.0=vector --store cc3m.store
            --model sentence-transformers/all-MiniLM-L6-v2 --kind sentence
    """

    dataset: Positional[str]
    """Folder of the dataset."""

    def sources(self) -> Sequence[Source]:
        from tools.interop.formats.lance import lance_source

        return [lance_source(self.dataset, self.key_column, column_names(self.caption_fields))]


def run(config: ImportConfig) -> None:
    """Import and report."""
    from tools.interop.importing import import_vectors

    report = import_vectors(config, config.sources())
    print(json.dumps(asdict(report), indent=2) if config.json else report)


SIDECAR, MERGED, DPT = Command(Sidecar, run), Command(Merged, run), Command(Dpt, run)
CLIP_RETRIEVAL, PARQUET, LANCE = Command(ClipRetrieval, run), Command(Parquet, run), Command(Lance, run)

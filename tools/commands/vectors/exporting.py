"""``keyclip vectors export FORMAT``: fields of a store as files that other projects read."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from store.common.errors import ConfigError
from store.common.settings import Count
from tools.commands import Command
from tools.interop.config import Embeddings, ExportConfig, FileDtype
from tools.interop.report import ExportReport

# formats are imported where they are used: they load torch, pyarrow and lance, which --help need not wait for


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fields(ExportConfig):
    fields: tuple[str, ...]
    """FIELD or FIELD=NAME: the fields to export."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tars(_Fields):
    shards: tuple[str, ...]
    """Image tars: paths, globs, brace ranges, or @FILE with one a line."""

    def export(self) -> ExportReport:
        from tools.interop.formats.sidecar import export_tars

        return export_tars(self, self.fields, self.shards, merged=isinstance(self, Merged))


@dataclass(frozen=True, kw_only=True, slots=True)
class Sidecar(_Tars):
    """Export fields as sidecars X_text_embeddings.tar, one for each image tar X.tar, to be read in lock-step with it.

    A sidecar has the samples of its image tar, in the same order, with a member KEY.NAME per field: float32 numbers.
    NAME is the field's caption field unless given. Sidecars have no place for a sample without vectors: with
    --missing skip or --keys they only go with image tars of the same samples.

    Example:
        keyclip vectors export sidecar cc3m.store --fields llama/shortSV_captions llama/longSV_captions
            --shards 'cc3m/{00000..00331}.tar' --output cc3m-sidecars
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged(_Tars):
    """Export fields into copies of image tars: each sample's own members, byte by byte, then KEY.NAME per field.

    The image tars are only read. NAME is the field's caption field unless given; vectors are float32 numbers.

    Example:
        keyclip vectors export merged cc3m.store --fields llama/shortSV_captions llama/longSV_captions
            --shards 'cc3m/{00000..00331}.tar' --output cc3m-merged
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Dpt(_Fields):
    """Export fields as evaluation features: torch.save of a tensor [images, fields, d], or [n, d] for a single field.

    The keys of the rows are written beside it: FILE.keys.txt beside FILE.dpt, one a line.

    Example:
        keyclip vectors export dpt coco.store --output coco_test.dpt --shards 'coco-test/*.tar'
            --fields llama/captions.0 llama/captions.1 llama/captions.2 llama/captions.3 llama/captions.4
    """

    fields: tuple[str, ...]
    """The fields, in the order that the tensor is to have."""
    output: Path
    """File to write, with the ending .dpt."""
    shards: tuple[str, ...] = ()
    """Image shards that give the order of the rows. Default: the store's order."""
    row_keys: Path | None = None
    """Text file with the sample keys in the order of the rows, one a line."""
    dtype: FileDtype = None
    """Numbers of the tensor. Default: float16 where the store has them so, else float32."""

    def __post_init__(self) -> None:
        if self.shards and self.row_keys:
            raise ConfigError("give either --shards or --row-keys, the order of the rows")
        if self.output.suffix != ".dpt":
            raise ConfigError(f"--output {str(self.output)!r} must be a file with the ending .dpt")

    def export(self) -> ExportReport:
        from tools.interop.formats.dpt import export_dpt

        return export_dpt(self, self.fields, self.dtype, self.shards, self.row_keys)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipRetrieval(ExportConfig):
    """Export a field as text_emb/text_emb_0.npy, ... and, row by row, metadata/metadata_0.parquet, ... with the keys.

    Rows are in the store's order. This is what clip-retrieval writes and embedding-reader reads.

    Example:
        keyclip vectors export clip-retrieval cc3m.store --field clip/captions.0 --output cc3m-embeddings
    """

    field: str
    """The field to export."""
    dtype: FileDtype = None
    """Numbers of the matrices. Default: float16 where the store has them so, else float32."""
    rows_per_file: Count = 100_000
    """Rows in a matrix, at most."""
    embeddings: Embeddings = "text_emb"
    """What to call the matrices."""

    def export(self) -> ExportReport:
        from tools.interop.formats.clip_retrieval import export_clip_retrieval

        return export_clip_retrieval(self, self.field, self.dtype, self.rows_per_file, self.embeddings)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Table(_Fields):
    dtype: FileDtype = None
    """Numbers of the file. Default: float16 where the store has them so, else float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parquet(_Table):
    """Export fields as Parquet files 00000.parquet, ... with a column key, and per field NAME and NAME_caption_hash.

    Rows are in the store's order. NAME is the field's caption field unless given; vectors are lists of fixed length.

    Example:
        keyclip vectors export parquet cc3m.store --fields llama/shortSV_captions=short --output cc3m-vectors
    """

    rows_per_file: Count = 100_000
    """Rows in a file, at most."""

    def export(self) -> ExportReport:
        from tools.interop.formats.parquet import export_parquet

        return export_parquet(self, self.fields, self.dtype, self.rows_per_file)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lance(_Table):
    """Export fields as a Lance dataset with a column key, and per field NAME and NAME_caption_hash.

    Needs the package pylance: pip install 'keyclip[lance]'. Rows are in the store's order. NAME is the field's caption
    field unless given; Lance takes no dots in it.

    Example:
        keyclip vectors export lance cc3m.store --fields llama/shortSV_captions --output cc3m.lance
    """

    output: Path
    """Folder of the new dataset."""

    def export(self) -> ExportReport:
        from tools.interop.formats.lance import export_lance

        return export_lance(self, self.fields, self.dtype)


def run(config: ExportConfig) -> None:
    """Export and report."""
    report = config.export()
    print(json.dumps(asdict(report), indent=2) if config.json else report)


SIDECAR, MERGED, DPT = Command(Sidecar, run), Command(Merged, run), Command(Dpt, run)
CLIP_RETRIEVAL, PARQUET, LANCE = Command(ClipRetrieval, run), Command(Parquet, run), Command(Lance, run)

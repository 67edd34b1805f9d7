"""Settings of ``keyclip embed`` and ``--module embedder``."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from embedder.models.options import ModelOptions
from store.common.errors import ConfigError
from store.common.settings import Count
from store.core.contract import Backend
from store.core.spec import StoredDtype


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedConfig(ModelOptions):
    """Embed captions into fields of a store, keyed by sample key.

    Captions come from the json of webdataset shards (--shards) or from keyed files (--captions). Every caption field
    becomes a field of the store. The same command again embeds only what is missing, so an interrupted run is
    continued by starting it again.

    Example: keyclip embed --shards 'train-{00000..00287}.tar' --caption-fields shortSV_captions longSV_captions
    --model sentence-transformers/all-MiniLM-L6-v2 --store cc3m.store
    """

    store: str
    """The store that receives the vectors; made where there is none. {host} in it is this machine's name."""
    caption_fields: tuple[str, ...]
    """Paths into the sample's json (captions.0) or columns of the keyed files; .txt is the shard's txt member."""
    shards: tuple[str, ...] = ()
    """Webdataset shards: paths, globs, brace ranges, or @FILE with one shard a line."""
    captions: tuple[str, ...] = ()
    """Keyed caption files instead of shards: .jsonl, .json, .csv, .tsv or .parquet; globs and brace ranges too."""
    key_column: str = "key"
    """The column of the keyed files that holds the sample key."""
    keys: Path | None = None
    """Embed only the sample keys listed in this file, one a line."""
    field_prefix: str | None = None
    """First part of the field names PREFIX/CAPTION_FIELD. Default: the model's short name."""
    backend: Backend | None = None
    """Backend of a store that this command makes. Default: lmdb."""
    dtype: StoredDtype | None = None
    """How vectors are stored. Default: as the field stores them, float16 in a new one."""
    missing: Literal["error", "skip"] = "error"
    """What to do with a sample that lacks the caption field: stop, or count it and go on."""
    damaged: Literal["error", "skip"] = "error"
    """What to do with a shard or file that cannot be read to its end: stop, or report it and go on with the next."""
    block_size: Count = 1000
    """Vectors per commit, at most: what a killed run can lose per block."""
    log_dir: Path | None = None
    """Folder for rank-N.log and rank-N.json (run summary). Default: under a launcher STORE.logs, else none."""
    progress: bool = True
    """Show a progress bar."""
    json: bool = False
    """Print the report as json."""

    def __post_init__(self) -> None:
        if bool(self.shards) == bool(self.captions):
            raise ConfigError("give either --shards or --captions, the place where the captions are")
        if not self.caption_fields:
            raise ConfigError("name at least one caption field with --caption-fields")
        if len(set(self.caption_fields)) < len(self.caption_fields):
            raise ConfigError(f"a caption field is named twice: {', '.join(self.caption_fields)}")

    def store_path(self) -> str:
        """The store, with this machine's name in the place of ``{host}``."""
        return self.store.replace("{host}", socket.gethostname())

    def logs(self, world_size: int) -> Path | None:
        """The folder for logs and summaries; None: none are written."""
        if self.log_dir is not None or world_size == 1:
            return self.log_dir
        path = self.store_path()
        return Path("embed.logs" if "://" in path else f"{path}.logs")

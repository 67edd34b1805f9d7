"""Settings of ``keyclip embed`` and ``--module embedder``."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from embedder.options import ModelOptions
from store.errors import ConfigError
from store.settings import Count, Few


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedConfig:
    """Embed captions into fields of a store, keyed by sample key.

    Captions come from the json of webdataset shards (--shards) or from keyed files (--captions). Every caption field
    becomes a field of the store. The same command again embeds only what is missing, so an interrupted run is
    continued by starting it again.

    Example: keyclip embed --shards 'train-{00000..00287}.tar' --caption-fields shortSV_captions longSV_captions
    --model sentence-transformers/all-MiniLM-L6-v2 --store cc3m.store
    """

    model: str
    """Folder or hub id of the model: a sentence encoder, a decoder LLM, or a CLIP or SigLIP (its text tower)."""
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
    backend: Literal["lmdb", "zarr"] = "lmdb"
    """Backend of a store that this command makes."""
    dtype: Literal["float32", "float16", "bfloat16", "int8"] = "float16"
    """How vectors are stored."""
    missing: Literal["error", "skip"] = "error"
    """What to do with a sample that lacks the caption field: stop, or count it and go on."""
    damaged: Literal["error", "skip"] = "error"
    """What to do with a shard or file that cannot be read to its end: stop, or report it and go on with the next."""
    kind: Literal["auto", "sentence", "clip-text", "llm"] = "auto"
    """Kind of model; auto asks the model's own files."""
    revision: str | None = None
    """Commit, tag or branch of a hub id."""
    template: str | None = None
    """Text around the caption, with {caption} in it. Default: the model's own."""
    instruction: str | None = None
    """Text right before the caption, such as 'Query: '; not pooled over by mean-text."""
    pooling: Literal["mean", "mean-text", "last", "cls", "max"] | None = None
    """How token states become a vector. Default: the model's own."""
    normalize: bool | None = None
    """Scale vectors to length 1. Default: as the model's folder says, else no."""
    max_length: Few | None = None
    """Tokens a caption may have, template included. Default: the model's own limit."""
    batch_tokens: Count | None = None
    """Tokens of one forward pass, padding included. Default: 1024 on a CPU, 32768 on a GPU."""
    attention: Literal["auto", "bidirectional", "causal"] = "auto"
    """Which tokens a decoder LLM sees. auto: bidirectional, as in LLM2Vec."""
    adapters: tuple[str, ...] = ()
    """PEFT adapters of a decoder LLM, merged in this order: folders or hub ids."""
    block_size: Count = 1000
    """Vectors per commit, at most: what a killed run can lose per block."""
    device: str = "auto"
    """cuda, cuda:1, mps or cpu."""
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the model. auto: bfloat16 on CUDA, else float32."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Only for models whose code you have read."""
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
        for name in ("block_size", "batch_tokens", "max_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, not {value}")

    def store_path(self) -> str:
        """The store of this machine."""
        return self.store.replace("{host}", socket.gethostname())

    def logs(self, world_size: int) -> Path | None:
        """The folder for logs and summaries, if there shall be one."""
        if self.log_dir is not None or world_size == 1:
            return self.log_dir
        path = self.store_path()
        return Path("embed.logs" if "://" in path else f"{path}.logs")

    def model_options(self) -> ModelOptions:
        """The settings that concern the model."""
        return ModelOptions.of(self)

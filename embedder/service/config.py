"""Settings of ``keyclip serve``."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from embedder.options import ModelOptions
from embedder.service.guard import is_loopback
from store.errors import ConfigError
from store.settings import Count, Few, Milliseconds, Port, Seconds

TOKEN_VARIABLE = "KEYCLIP_TOKEN"


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeConfig:
    """Serve one model over HTTP.

    POST /v1/embeddings answers as OpenAI's API does; POST /v1/fields/FIELD/captions embeds keyed captions and answers
    when they are committed to the store. GET /healthz, /metrics (Prometheus), /docs (OpenAPI).

    Requests share batches of the model. SIGTERM finishes and commits what was accepted, then the service ends.

    Example: keyclip serve --model sentence-transformers/all-MiniLM-L6-v2 --store cc3m.store --port 8000
    """

    model: str
    """Folder or hub id of the model."""
    store: str | None = None
    """The store that keyed captions go to; made where there is none. Without it only /v1/embeddings works."""
    host: str = "127.0.0.1"
    """Address to listen at. Any but a loopback address needs a bearer token: $KEYCLIP_TOKEN or --token-file."""
    port: Port = 8000
    """Port to listen at; 0 takes a free one and prints it."""
    token_file: Path | None = None
    """File whose first line is the bearer token that every request (except /healthz) must bring."""
    max_request_bytes: Count = 16 * 2**20
    """Larger request bodies are refused."""
    max_captions: Count = 2048
    """Captions per request, at most."""
    max_pending_tokens: Count = 2_000_000
    """Tokens that may wait for the model; requests beyond that are told to come again (503)."""
    linger_ms: Milliseconds = 2.0
    """How long an idle model waits for more requests to share a batch, in milliseconds."""
    grace_seconds: Seconds = 600
    """How long SIGTERM waits for accepted requests."""
    backend: Literal["lmdb", "zarr"] = "lmdb"
    """Backend of a store that this command makes."""
    dtype: Literal["float32", "float16", "bfloat16", "int8"] = "float16"
    """How vectors of fields that this service makes are stored."""
    kind: Literal["auto", "sentence", "clip-text", "llm"] = "auto"
    """Kind of model; auto asks the model's own files."""
    revision: str | None = None
    """Commit, tag or branch of a hub id."""
    template: str | None = None
    """Text around the caption, with {caption} in it. Default: the model's own."""
    instruction: str | None = None
    """Text right before the caption."""
    pooling: Literal["mean", "mean-text", "last", "cls", "max"] | None = None
    """How token states become a vector. Default: the model's own."""
    normalize: bool | None = None
    """Scale vectors to length 1. Default: as the model's folder says, else no."""
    max_length: Few | None = None
    """Tokens a caption may have, template included. Default: the model's own limit."""
    batch_tokens: Count | None = None
    """Tokens of one forward pass, padding included. Default: 1024 on a CPU, 32768 on a GPU."""
    device: str = "auto"
    """cuda, cuda:1, mps or cpu."""
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the model. auto: bfloat16 on CUDA, else float32."""
    attention: Literal["auto", "bidirectional", "causal"] = "auto"
    """Which tokens a decoder LLM sees. auto: bidirectional, as in LLM2Vec."""
    adapters: tuple[str, ...] = ()
    """PEFT adapters of a decoder LLM, merged in this order: folders or hub ids."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Only for models whose code you have read."""

    def __post_init__(self) -> None:
        for name in ("max_request_bytes", "max_captions", "max_pending_tokens", "grace_seconds"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"--port must be 0 to 65535, not {self.port}")

    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        return is_loopback(self.host)

    def token(self) -> str | None:
        """The bearer token, from the file or the environment: a command line can be read by every user of a machine.

        Raises:
            ConfigError: none is set although others can reach the service, or the file is unreadable or empty.
        """
        token = os.environ.get(TOKEN_VARIABLE, "")
        if self.token_file is not None:
            try:
                token = (self.token_file.read_text(encoding="utf-8").splitlines() or [""])[0]
            except OSError as error:
                raise ConfigError(
                    f"the token file {str(self.token_file)!r} cannot be read: {error.strerror}"
                ) from error
            if not token.strip():
                raise ConfigError(f"the token file {str(self.token_file)!r} is empty; write a secret on its first line")
        if not token.strip() and not self.is_loopback():
            raise ConfigError(
                f"--host {self.host} lets other machines in, which needs a bearer token: "
                f"set ${TOKEN_VARIABLE} or --token-file, or listen at 127.0.0.1"
            )
        return token.strip() or None

    def model_options(self) -> ModelOptions:
        """The settings that concern the model."""
        return ModelOptions.of(self)

"""Settings of ``keyclip serve``."""

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from embedder.models.options import ModelOptions
from store.common.errors import ConfigError
from store.common.settings import Count, Milliseconds, Port, Seconds
from store.core.contract import Backend
from store.core.spec import StoredDtype

TOKEN_VARIABLE = "KEYCLIP_TOKEN"
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a service that listens at ``host``."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeConfig(ModelOptions):
    """Serve one model over HTTP.

    POST /v1/embeddings answers as OpenAI's API does; POST /v1/fields/FIELD/captions embeds keyed captions and answers
    when they are committed to the store. GET /healthz, /metrics (Prometheus), /docs and /openapi.json.

    Requests share batches of the model. SIGTERM finishes and commits what was accepted, then the service ends.

    Example: keyclip serve --model sentence-transformers/all-MiniLM-L6-v2 --store cc3m.store --port 8000
    """

    store: str | None = None
    """The store that keyed captions go to; made where there is none. Without it only /v1/embeddings works."""
    host: str = "127.0.0.1"
    """Address to listen at. Any but a loopback address needs a bearer token: $KEYCLIP_TOKEN or --token-file."""
    port: Port = 8000
    """Port to listen at; 0 takes a free one and prints it."""
    token_file: Path | None = None
    """File whose first line is the bearer token that requests must bring (not to /healthz, /docs, /openapi.json)."""
    max_request_bytes: Count = 16 * 2**20
    """Larger request bodies are refused."""
    max_captions: Count = 2048
    """Captions per request, at most."""
    max_pending_tokens: Count = 2_000_000
    """Tokens that may wait for the model; further requests are answered with 503 (come again)."""
    linger_ms: Milliseconds = 2.0
    """How long an idle model waits for more requests to share a batch, in milliseconds."""
    max_connections: Count = 1000
    """Connections at the same time, at most, and as file descriptors allow; further ones are closed at once."""
    request_seconds: Seconds = 60
    """How long a request may take to arrive, headers and body; later it is answered with 408 and closed."""
    grace_seconds: Seconds = 600
    """How long SIGTERM waits for accepted requests."""
    backend: Backend | None = None
    """Backend of a store that this command makes. Default: lmdb."""
    dtype: StoredDtype = "float16"
    """How vectors of fields that this service makes are stored."""

    def token(self) -> str | None:
        """The bearer token, from the file or the environment: a command line can be read by every user of a machine.

        Raises:
            ConfigError: none is set although others can reach the service, or the file is unreadable or empty.
        """
        token = os.environ.get(TOKEN_VARIABLE, "")
        if self.token_file is not None:
            named = f"the token file {str(self.token_file)!r}"
            try:
                token = (self.token_file.read_text(encoding="utf-8").splitlines() or [""])[0]
            except OSError as error:
                raise ConfigError(f"{named} cannot be read: {error.strerror}") from error
            if not token.strip():
                raise ConfigError(f"{named} is empty; write a secret on its first line")
        if not token.strip() and not is_loopback(self.host):
            raise ConfigError(
                f"--host {self.host} lets other machines in, which needs a bearer token: "
                f"set ${TOKEN_VARIABLE} or --token-file, or listen at 127.0.0.1"
            )
        return token.strip() or None

"""The routes of the service, and its start."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

import store
from embedder.models.encoder import Encoder, Vectors, distinct
from embedder.models.load import load_encoder
from embedder.service import schema
from embedder.service.batching import Batcher, ClosedError, OverloadedError
from embedder.service.config import LOOPBACK_NAMES, ServeConfig, is_loopback
from embedder.service.fields import FieldWriter
from embedder.service.listening import Limits, run_app
from embedder.service.metrics import Measure, Metrics
from embedder.service.middleware import GiveUp, Guard
from embedder.service.page import api_page
from store.common.errors import (
    ConfigError,
    InvalidKeysError,
    KeyclipError,
    SpecMismatchError,
    StaleCaptionError,
    StoreFullError,
)

_ONLY_STYLE = "default-src 'none'; style-src 'unsafe-inline'"


class UnknownModelError(KeyclipError, LookupError):
    """The service has another model."""


class BadRequestError(ConfigError):
    """The request cannot be answered as it is."""


_STATUS: dict[type[KeyclipError], int] = {
    OverloadedError: 503,
    ClosedError: 503,
    UnknownModelError: 404,
    StaleCaptionError: 409,
    SpecMismatchError: 409,
    StoreFullError: 507,
    InvalidKeysError: 400,
    ConfigError: 400,
}


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": schema.ErrorAnswer} for status in (400, 401, *statuses, 413, 503)}


def serve(config: ServeConfig, on_listening: Callable[[str], None]) -> None:
    """Load the model, listen, and return after SIGTERM or SIGINT, when what was accepted is answered and committed.

    ``on_listening`` gets the service's address once requests are taken.

    Raises:
        ConfigError: the address cannot be listened at, or a setting does not fit.
    """
    config.token()  # before the model is loaded
    app = create_app(config, load_encoder(config))
    limits = Limits(config.max_connections, config.request_seconds)
    run_app(app, config.host, config.port, config.grace_seconds, on_listening, limits)


def create_app(config: ServeConfig, encoder: Encoder) -> FastAPI:
    """The service as an ASGI application; its end waits for what was accepted.

    Raises:
        ConfigError: a token is needed and not set.
    """
    metrics = Metrics()
    batcher = Batcher(encoder, metrics, config.max_pending_tokens, config.linger_ms / 1000)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(batcher.close)

    app = FastAPI(
        title="keyclip",
        description="Caption embeddings, and keyed captions into a store.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages load scripts from elsewhere
        redoc_url=None,
        dependencies=[Security(HTTPBearer(auto_error=False))] if config.token() else [],  # for the description only
    )
    app.add_middleware(GiveUp)
    hosts = LOOPBACK_NAMES | {config.host} if is_loopback(config.host) else None
    app.add_middleware(Guard, token=config.token(), hosts=hosts, max_request_bytes=config.max_request_bytes)
    app.add_middleware(Measure, metrics=metrics)
    _add_errors(app)
    _add_status(app, config, encoder, batcher, metrics)
    _add_embeddings(app, config, encoder, batcher, metrics)
    if config.store is not None:
        opened = store.open_or_create(config.store, config.backend)
        _add_fields(app, config, FieldWriter(encoder, batcher, opened, config.dtype), metrics)
    return app


def _add_errors(app: FastAPI) -> None:
    def answer(status: int, message: str, kind: str = "invalid_request_error") -> JSONResponse:
        # escapes: the message may quote what the client sent, half surrogate pairs included
        safe = message.encode("utf-8", "backslashreplace").decode()
        headers = {"Retry-After": "1"} if status == 503 else None
        body = schema.ErrorAnswer(error=schema.ErrorBody(message=safe, type=kind))
        return JSONResponse(body.model_dump(), status, headers)

    @app.exception_handler(KeyclipError)
    async def known(request: Request, error: KeyclipError) -> JSONResponse:
        status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
        return answer(status, str(error), "invalid_request_error" if status < 500 else "server_error")

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(400, _sentence(error.errors()[0]))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, str(error.detail))


def _sentence(error: Mapping[str, Any]) -> str:
    """One of pydantic's errors; its "input" is left out: it can be huge, or not text at all."""
    if error["type"] == "json_invalid":
        return f"the body is not valid json: {error['ctx']['error']} at character {error['loc'][-1]}"
    place = ".".join(map(str, error["loc"][1:])) or "body"
    return f"{place}: {error['msg'].removeprefix('Value error, ')}"


def _add_status(app: FastAPI, config: ServeConfig, encoder: Encoder, batcher: Batcher, metrics: Metrics) -> None:
    made = encoder.provenance

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(api_page(app.openapi()), headers={"Content-Security-Policy": _ONLY_STYLE})

    @app.get("/healthz")
    async def health() -> schema.Health:
        """Whether the service answers, and with which model."""
        return schema.Health(
            model=made.model,
            revision=made.revision,
            dim=made.dim,
            device=str(encoder.device),
            store=config.store,
            pending_tokens=batcher.pending_tokens,
        )

    @app.get("/metrics", response_class=Response)
    async def prometheus() -> Response:
        """Counters in Prometheus' text format."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The one model, as OpenAI's API lists models."""
        return {"object": "list", "data": [{"id": made.model, "object": "model", "created": 0, "owned_by": "keyclip"}]}


def _add_embeddings(app: FastAPI, config: ServeConfig, encoder: Encoder, batcher: Batcher, metrics: Metrics) -> None:
    model = encoder.provenance.model

    @app.post("/v1/embeddings", responses=_errors())
    async def embeddings(request: schema.EmbeddingsRequest) -> schema.EmbeddingsAnswer:
        """Vectors of texts, in their order. Nothing is stored."""
        texts = request.input
        _check_texts(texts, config.max_captions)
        if request.model not in (model, encoder.short_name):
            raise UnknownModelError(f"no model {request.model!r} here; there is {model!r}")
        if request.dimensions not in (None, encoder.dim):
            raise BadRequestError(f"dimensions: the vectors of this model have {encoder.dim} numbers")
        different, rows = distinct(texts)
        tokens = await asyncio.to_thread(encoder.tokenize, different)
        vectors = await asyncio.wrap_future(batcher.submit(tokens))
        count = sum(len(tokens[row].ids) for row in rows)
        metrics.captions.labels("answered").inc(len(texts))
        return schema.EmbeddingsAnswer(
            data=[
                schema.Embedding(index=i, embedding=_encoded(vectors[row], request.encoding_format))
                for i, row in enumerate(rows)
            ],
            model=model,
            usage=schema.Usage(prompt_tokens=count, total_tokens=count),
        )


def _check_texts(texts: list[str], most: int) -> None:
    if not texts:
        raise BadRequestError("input: expected at least one text")
    if len(texts) > most:
        raise BadRequestError(f"input: {len(texts)} texts are more than the {most} of one request; split it")
    if any(not text.strip() for text in texts):
        raise BadRequestError("input: a text is empty or blank; leave it out, since it has no vector")


def _encoded(vector: Vectors, encoding_format: str) -> list[float] | str:
    if encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    values: list[float] = vector.tolist()
    return values


def _add_fields(app: FastAPI, config: ServeConfig, fields: FieldWriter, metrics: Metrics) -> None:
    @app.post("/v1/fields/{field:path}/captions", responses=_errors(409))
    async def captions(field: str, request: schema.CaptionsRequest) -> schema.CaptionsAnswer:
        """Embed and commit keyed captions; answered when they are durable. The same request again changes nothing."""
        if len(request.captions) > config.max_captions:
            raise BadRequestError(f"captions: more than the {config.max_captions} of one request; split it")
        wanted: dict[str, str] = {}
        empty = 0
        for item in request.captions:
            caption: str = item.caption or ""
            if not caption.strip():
                empty += 1
            elif wanted.setdefault(item.key, caption) != caption:
                raise BadRequestError(f"captions: key {item.key!r} comes with two different captions")
        report = await fields.add(field, wanted)
        outcomes = ("embedded", "reused", "deduplicated", "truncated")
        answer = schema.CaptionsAnswer(field=field, empty=empty, **{name: getattr(report, name) for name in outcomes})
        for outcome in ("embedded", "reused", "truncated", "empty"):
            metrics.captions.labels(outcome).inc(getattr(answer, outcome))
        return answer

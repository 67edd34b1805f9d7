"""The routes: pages of one library for a browser on this machine."""

from importlib import resources
from typing import Annotated
from urllib.parse import unquote_to_bytes

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embedder.service.config import LOOPBACK_NAMES
from embedder.service.middleware import Guard
from store.common.errors import FieldNotFoundError, KeyclipError, MissingKeysError
from tools.browse import pages
from tools.browse.figures import figures
from tools.browse.library import Library, NotFoundError

PER_PAGE = 24
MAX_NEIGHBOURS = 240
MAX_REQUEST_BYTES = 2**16
STATIC = {"style.css": "text/css", "browse.js": "text/javascript", "icon.svg": "image/svg+xml"}
_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"same-origin"),
)
_MAGIC = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n", "image/png"), (b"RIFF", "image/webp"))


class Headers:
    """ASGI middleware: nothing from elsewhere is loaded, and no page of another origin may show or read these."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def adding_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        await self._app(scope, receive, adding_send)


class StrictAddresses:
    """ASGI middleware: refuses an address whose percent-encoded bytes are no UTF-8.

    Such bytes would become replacement characters, so that different addresses meant the same field or key.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                for part in (scope.get("raw_path") or b"", scope["query_string"]):
                    unquote_to_bytes(part).decode()
            except UnicodeDecodeError:
                answer = _html(pages.error_page([], "The address is not UTF-8.", field=None, query=""), 400)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


def create_app(library: Library, host: str) -> FastAPI:
    """The pages as an ASGI application that answers under names of this machine only."""
    app = FastAPI(title="keyclip browse", docs_url=None, redoc_url=None, openapi_url=None)
    hosts = LOOPBACK_NAMES | {host}
    app.add_middleware(Guard, token=None, hosts=hosts, max_request_bytes=MAX_REQUEST_BYTES)
    app.add_middleware(StrictAddresses)
    app.add_middleware(Headers)
    _add_errors(app, library)
    _add_pages(app, library)
    _add_files(app, library)
    return app


def _add_errors(app: FastAPI, library: Library) -> None:
    def answer(request: Request, status: int, message: str) -> Response:
        query, field = request.query_params.get("q", ""), request.query_params.get("field")
        return _html(pages.error_page(_names(library), message, field=field, query=query), status)

    @app.exception_handler(KeyclipError)
    async def known(request: Request, error: KeyclipError) -> Response:
        absent = isinstance(error, NotFoundError | FieldNotFoundError | MissingKeysError)
        return answer(request, 404 if absent else 400, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return answer(request, 400, f"{first['loc'][-1]}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return answer(
            request, error.status_code, "There is no such page." if error.status_code == 404 else error.detail
        )


def _add_pages(app: FastAPI, library: Library) -> None:
    images = library.gallery is not None

    @app.get("/")
    def samples(page: Annotated[int, Query(ge=0, le=10**9)] = 0) -> Response:
        count = library.num_samples()
        num_pages = max(1, -(-count // PER_PAGE))
        number = min(page, num_pages - 1)
        cards = library.cards(number * PER_PAGE, PER_PAGE)
        return _html(pages.samples_page(library.fields(), cards, number, num_pages, count, images))

    @app.get("/search")
    def search(q: str = "", field: str = "", k: Annotated[int, Query(ge=1, le=MAX_NEIGHBOURS)] = PER_PAGE) -> Response:
        names = _names(library)
        if not q.strip():
            return samples()
        name = field or next(iter(names), "")
        key = q.strip() if library.holds(q.strip()) else None
        try:
            cards = library.near_text(name, q, k)
        except KeyclipError:
            if key is None:
                raise
            return _sample(key, name)  # without a model keys can still be looked up
        more = min(2 * k, MAX_NEIGHBOURS) if len(cards) == k < MAX_NEIGHBOURS else None
        return _html(pages.results_page(names, name, q, cards, key=key, more=more, images=images))

    @app.get("/sample")
    def sample(key: str, field: str = "") -> Response:
        return _sample(key, field)

    def _sample(key: str, field: str) -> Response:
        found = library.sample(key)
        with_vector = [state.field for state in found.fields if state.has_vector]
        name = field if field in with_vector else next(iter(with_vector), None)
        neighbours = library.near_key(name, key, PER_PAGE // 2) if name and library.is_ready(name) else None
        return _html(pages.sample_page(_names(library), name, found, neighbours, images))

    @app.get("/near")
    def near(request: Request, key: str, field: str) -> Response:
        cards = pages.grid(library.near_key(field, key, PER_PAGE // 2), field, images)
        if "part" in request.query_params:
            return _html(cards)
        return _html(pages.page(key, _names(library), pages.tag("h1", f"Nearest to {key}"), cards, field=field))

    @app.get("/fields")
    def fields() -> Response:
        infos = library.fields()
        return _html(pages.fields_page(infos, {name: library.coverage(name) for name in infos}))

    @app.get("/stats")
    def stats(request: Request, field: str) -> Response:
        part = figures(field, library.stats(field))
        if "part" in request.query_params:
            return _html(part)
        return _html(pages.page(field, _names(library), pages.tag("h1", field), part, field=field))


def _add_files(app: FastAPI, library: Library) -> None:
    folder = resources.files("tools.browse") / "static"
    files = {name: (folder / name).read_bytes() for name in STATIC}

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in files:
            raise HTTPException(404)
        return Response(files[name], media_type=STATIC[name], headers={"Cache-Control": "no-cache"})

    @app.get("/image")
    def image(key: str) -> Response:
        payload = library.image(key)
        kind = next((kind for magic, kind in _MAGIC if payload.startswith(magic)), None)
        if kind is None:
            raise NotFoundError(f"the image of key {key!r:.100} is neither JPEG, PNG nor WebP")
        return Response(payload, media_type=kind, headers={"Cache-Control": "private, max-age=600"})


def _names(library: Library) -> list[str]:
    return list(library.fields())


def _html(text: str, status: int = 200) -> Response:
    return HTMLResponse(text.encode("utf-8", "backslashreplace"), status, {"Cache-Control": "no-cache"})

"""The routes: pages of one library for a browser on this machine."""

from importlib import resources
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embedder.service.config import LOOPBACK_NAMES
from embedder.service.middleware import Guard
from store.common.errors import FieldNotFoundError, KeyclipError, MissingKeysError
from tools.browse.library import Library, NotFoundError
from tools.browse.pages import page, part

PER_PAGE = 24
NEIGHBOURS = 12
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


class Strict:
    """ASGI middleware: nothing from elsewhere is loaded, no page of another origin may show or read these pages.

    It refuses an address whose percent-encoded bytes are not UTF-8: they would become replacement characters, so that
    different addresses meant the same field or key.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def adding_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        app = self._app
        if scope["type"] == "http":
            try:
                for encoded in (scope.get("raw_path") or b"", scope["query_string"]):
                    unquote_to_bytes(encoded).decode()
            except UnicodeDecodeError:
                app = _html(page("error.html", fields=[], message="The address is not UTF-8."), 400)
        await app(scope, receive, adding_send)


def create_app(library: Library, host: str) -> FastAPI:
    """The pages as an ASGI application that answers under names of this machine only."""
    app = FastAPI(title="keyclip browse", docs_url=None, redoc_url=None, openapi_url=None)
    hosts = LOOPBACK_NAMES | {host}
    app.add_middleware(Guard, token=None, hosts=hosts, max_request_bytes=MAX_REQUEST_BYTES)
    app.add_middleware(Strict)
    _add_errors(app, library)
    _add_pages(app, library)
    _add_files(app, library)
    return app


def _add_errors(app: FastAPI, library: Library) -> None:
    def answer(request: Request, status: int, message: str) -> Response:
        asked = request.query_params
        names, field, query = list(library.fields()), asked.get("field"), asked.get("q", "")
        return _html(page("error.html", fields=names, field=field, query=query, message=message), status)

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
        message = "There is no such page." if error.status_code == 404 else error.detail
        return answer(request, error.status_code, message)


def _add_pages(app: FastAPI, library: Library) -> None:
    images = library.gallery is not None

    def show(template: str, **values: Any) -> Response:
        return _html(page(template, fields=list(library.fields()), images=images, **values))

    @app.get("/")
    def samples(page: Annotated[int, Query(ge=0, le=10**9)] = 0) -> Response:
        count = library.num_samples()
        num_pages = max(1, -(-count // PER_PAGE))
        number = min(page, num_pages - 1)
        cards = library.cards(number * PER_PAGE, PER_PAGE)
        field = next(iter(library.fields()), None)
        return show("samples.html", cards=cards, number=number, num_pages=num_pages, num_samples=count, field=field)

    @app.get("/search")
    def search(q: str = "", field: str = "", k: Annotated[int, Query(ge=1, le=MAX_NEIGHBOURS)] = PER_PAGE) -> Response:
        if not q.strip():
            return samples()
        field = field or next(iter(library.fields()), "")
        key = q.strip() if library.holds(q.strip()) else None
        try:
            cards = library.near_text(field, q, k)
        except KeyclipError:
            if key is None:
                raise
            return sample(key, field)  # without a model keys can still be looked up
        more = min(2 * k, MAX_NEIGHBOURS) if len(cards) == k < MAX_NEIGHBOURS else None
        return show("results.html", field=field, query=q, cards=cards, key=key, more=more)

    @app.get("/sample")
    def sample(key: str, field: str = "") -> Response:
        found = library.sample(key)
        with_vector = [state.field for state in found.fields if state.has_vector]
        name = field if field in with_vector else next(iter(with_vector), None)
        neighbours = library.near_key(name, key, NEIGHBOURS) if name and library.is_ready(name) else None
        return show("sample.html", field=name, sample=found, neighbours=neighbours)

    @app.get("/near")
    def near(request: Request, key: str, field: str) -> Response:
        cards = library.near_key(field, key, NEIGHBOURS)
        if "part" in request.query_params:
            return _html(part("grid", cards, field, images))
        return show("near.html", key=key, cards=cards, field=field)

    @app.get("/fields")
    def fields() -> Response:
        infos = library.fields()
        return show("fields.html", infos=infos, coverage={name: library.coverage(name) for name in infos})

    @app.get("/stats")
    def stats(request: Request, field: str) -> Response:
        found = library.stats(field)
        if "part" in request.query_params:
            return _html(part("figures", field, found))
        return show("stats.html", field=field, stats=found)


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


def _html(text: str, status: int = 200) -> Response:
    return HTMLResponse(text.encode("utf-8", "backslashreplace"), status, {"Cache-Control": "no-cache"})

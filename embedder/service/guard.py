"""What stands before the routes: who may ask, how much, and in which form."""

import hmac
import ipaddress
import json
import time

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embedder.service.metrics import Metrics

# these say that the service is there, and how any such service is asked; nothing of its data
_OPEN_PATHS = ("/healthz", "/docs", "/openapi.json")
_DRAIN_FACTOR = 4

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a service that listens at ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host(header: bytes) -> str:
    """The name in a Host header, without port: ``[::1]:8000`` -> ``::1``."""
    text = header.decode("latin-1")
    return text[1:].split("]")[0] if text.startswith("[") else text.rsplit(":", 1)[0]


class Guard:
    """ASGI middleware: host name, bearer token, content type, request size.

    A service for this machine alone is still within reach of the web pages that a browser on it shows. So it answers
    only under names of this machine (``hosts``; None: any), and takes only bodies that say they are json, which a
    page of another origin cannot send.
    """

    def __init__(self, app: ASGIApp, token: str | None, hosts: frozenset[str] | None, max_request_bytes: int) -> None:
        self._app = app
        self._token = token
        self._hosts = hosts
        self._max_bytes = max_request_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if self._hosts is not None and _host(headers.get(b"host", b"")) not in self._hosts:
            await _refuse(send, 400, "this service answers under names of its own machine only")
        elif self._token is not None and scope["path"] not in _OPEN_PATHS and not self._has_token(headers):
            await _refuse(send, 401, "a bearer token is needed: Authorization: Bearer TOKEN", "authentication_error")
        elif scope["method"] == "POST" and not headers.get(b"content-type", b"").startswith(b"application/json"):
            await _refuse(send, 415, "the body must be json, and Content-Type say so: application/json")
        elif int(headers.get(b"content-length", b"0")) > self._max_bytes:
            await self._too_large(receive, send)
        else:
            await self._limited(scope, receive, send)

    def _has_token(self, headers: dict[bytes, bytes]) -> bool:
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        assert self._token is not None
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token.encode())

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; a body that came without its length and turns out too large is answered with 413."""
        size = 0

        async def counted_receive() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            # what is too large is not passed on: the route sees a client that went away
            return message if size <= self._max_bytes else {"type": "http.disconnect"}

        async def checked_send(message: Message) -> None:
            if size <= self._max_bytes:
                await send(message)

        try:
            await self._app(scope, counted_receive, checked_send)
        except ClientDisconnect:
            if size <= self._max_bytes:
                raise
        if size > self._max_bytes:
            await self._too_large(receive, send)

    async def _too_large(self, receive: Receive, send: Send) -> None:
        """Answer 413, after a moderate rest of the body: a client that still sends would not see the answer."""
        size = 0
        message: Message = {"more_body": True}
        while message.get("more_body", False) and size <= _DRAIN_FACTOR * self._max_bytes:
            message = await receive()
            size += len(message.get("body", b""))
        await _refuse(send, 413, f"the body has more than {self._max_bytes} bytes; split the request")


class Measure:
    """ASGI middleware: counts and times what was answered, whoever answered it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def noting_send(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(route, status).inc()
            self._metrics.request_seconds.labels(route).observe(time.perf_counter() - started)


async def _refuse(send: Send, status: int, message: str, kind: str = "invalid_request_error") -> None:
    body = json.dumps({"error": {"message": message, "type": kind, "param": None, "code": None}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

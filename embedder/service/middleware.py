"""ASGI middleware in front of the routes: who may ask, how much, in which form, and requests whose client left."""

import asyncio
import contextlib
import hmac
import json

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# these say that the service is there, and how any such service is asked; nothing of its data
_OPEN_PATHS = ("/healthz", "/docs", "/openapi.json")
_DRAIN_FACTOR = 4


class Guard:
    """Host name, bearer token, content type, request size.

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
        elif self._token is not None and scope["path"] not in _OPEN_PATHS and not _has_token(headers, self._token):
            await _refuse(send, 401, "a bearer token is needed: Authorization: Bearer TOKEN", "authentication_error")
        elif scope["method"] == "POST" and not headers.get(b"content-type", b"").startswith(b"application/json"):
            await _refuse(send, 415, "the body must be json, and Content-Type say so: application/json")
        elif int(headers.get(b"content-length", b"0")) > self._max_bytes:
            await self._too_large(receive, send)
        else:
            await self._limited(scope, receive, send)

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


def _host(header: bytes) -> str:
    """The name in a Host header, without port: ``[::1]:8000`` -> ``::1``."""
    text = header.decode("latin-1")
    return text[1:].split("]")[0] if text.startswith("[") else text.rsplit(":", 1)[0]


def _has_token(headers: dict[bytes, bytes], token: str) -> bool:
    scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
    return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), token.encode())


async def _refuse(send: Send, status: int, message: str, kind: str = "invalid_request_error") -> None:
    body = json.dumps({"error": {"message": message, "type": kind, "param": None, "code": None}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class GiveUp:
    """Cancels the work on a POST whose client closes the connection before it is answered.

    Nobody waits for the answer, and the work would hold up the requests of others.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        arrived, answered = asyncio.Event(), asyncio.Event()

        async def noting_receive() -> Message:
            message = await receive()
            if not message.get("more_body", False):
                arrived.set()
            return message

        async def noting_send(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                answered.set()
            await send(message)

        async def leaving() -> None:
            await arrived.wait()
            while (await receive())["type"] != "http.disconnect":
                pass

        work = asyncio.ensure_future(self._app(scope, noting_receive, noting_send))
        watch = asyncio.ensure_future(leaving())
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watch.cancel()
            given_up = not work.done() and not answered.is_set()
            if given_up:
                work.cancel()
        with contextlib.suppress(*([asyncio.CancelledError] if given_up else [])):
            await work

"""Requests whose client left are given up: nobody waits for their answer, and they would hold up the others."""

import asyncio
import contextlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class GiveUp:
    """ASGI middleware: cancels the work on a POST whose client closes the connection before it is answered."""

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

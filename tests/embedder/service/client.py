"""A real service in a process of its own, and plain HTTP to it."""

import json
import os
import urllib.error
import urllib.request
from typing import Any

from tests.processes import Process


class Client:
    """Plain HTTP to the service at ``url``."""

    def __init__(self, url: str) -> None:
        self.url = url

    def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, Any]:
        """Status, parsed answer (text where it is not json) and headers; bytes and iterators are sent as they are."""
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        request = urllib.request.Request(self.url + path, data=data, method=method)
        if body is not None:
            request.add_header("Content-Type", "application/json")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, _parsed(answer.read()), answer.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _parsed(error.read()), error.headers

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        return self.send("POST", path, body, headers)[:2]

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        return self.send("GET", path, None, headers)[:2]


class Service(Client):
    """``keyclip serve`` on a free port."""

    def __init__(self, *arguments: str, descriptors: int | None = None, **environment: str) -> None:
        """``descriptors``: how many files the service may have open, sockets included."""
        words = ["-m", "tools", "serve", "--port", "0", "--device", "cpu", *arguments]
        self.process = Process(words, os.environ | environment, descriptors=descriptors)
        line = self.process.read_line()
        if not line.startswith("listening at "):
            raise AssertionError(self.process.communicate()[1])
        super().__init__(line.split()[2])

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def stop(self) -> tuple[int, str]:
        """SIGTERM; the exit status and what was written to stderr."""
        self.process.terminate()
        error = self.process.communicate(timeout=60)[1]
        return self.process.returncode, error


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()


def keyed(captions: dict[str, str | None]) -> dict[str, Any]:
    """The body of a request with captions by sample key."""
    return {"captions": [{"key": key, "caption": caption} for key, caption in captions.items()]}

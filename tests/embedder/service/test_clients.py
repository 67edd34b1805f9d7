"""Clients that are slow, too many, leave or cannot be accepted: real sockets against a real server."""

import asyncio
import contextlib
import http.client
import json
import logging
import socket
import threading
import time

import pytest

from embedder.models.load import load_encoder
from embedder.models.options import ModelOptions
from embedder.service.app import create_app
from embedder.service.config import ServeConfig
from embedder.service.listening import Limits, Server, _Complaints, _within_descriptors
from tests.embedder.service.client import Client, Service
from tests.embedder.service.test_batching import Gate

BODY = json.dumps({"model": "tiny-clip", "input": "a dog"}).encode()
HEAD = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.fixture
def own_encoder(clip_folder):
    return load_encoder(ModelOptions(model=str(clip_folder), device="cpu"))


@contextlib.contextmanager
def serving(clip_folder, encoder, limits, monkeypatch, token="s3cret"):
    monkeypatch.setenv("KEYCLIP_TOKEN", token)
    server = Server(create_app(ServeConfig(model=str(clip_folder)), encoder), "127.0.0.1", 0, limits=limits)
    started = threading.Event()
    server.on_listening = lambda address: started.set()
    thread = threading.Thread(target=server.run)
    thread.start()
    started.wait()
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join()


def connect(server):
    return socket.create_connection(("127.0.0.1", int(server.address.rsplit(":", 1)[1])), timeout=60)


def everything(sock):
    """What the server sends until it closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := sock.recv(65536):
            received += part
    return received


def test_answers_are_sent_without_waiting_for_acknowledgements(clip_folder, encoder, monkeypatch):
    with serving(clip_folder, encoder, Limits(), monkeypatch, token="") as server:
        client = http.client.HTTPConnection("127.0.0.1", int(server.address.rsplit(":", 1)[1]))
        for _ in range(3):  # one connection, kept alive
            client.request("POST", "/v1/embeddings", BODY, {"Content-Type": "application/json"})
            assert client.getresponse().read()
        [connection] = server.server_state.connections
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        client.close()


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /healthz HT", HEAD, HEAD + b"Authorization: Bearer s3cret\r\nContent-Length: 100\r\n\r\n{"],
    ids=["nothing", "half-a-line", "half-a-head", "half-a-body"],
)
def test_a_request_that_does_not_arrive_is_closed(clip_folder, encoder, monkeypatch, sent):
    with serving(clip_folder, encoder, Limits(request_seconds=0.2), monkeypatch) as server, connect(server) as sock:
        sock.sendall(sent)
        assert everything(sock).startswith(b"HTTP/1.1 408 Request Timeout\r\n")


def test_a_request_that_has_arrived_may_take_its_time(clip_folder, own_encoder, monkeypatch):
    gate = Gate(own_encoder)
    limits = Limits(request_seconds=0.2)
    with serving(clip_folder, own_encoder, limits, monkeypatch, token="") as server, connect(server) as sock:
        sock.sendall(WHOLE.replace(b"Host", b"Connection: close\r\nHost"))
        gate.entered.wait()
        time.sleep(0.5)  # longer than a request may take to arrive
        gate.opened.set()
        assert everything(sock).startswith(b"HTTP/1.1 200 OK\r\n")


def test_no_more_connections_are_kept_than_allowed(clip_folder, encoder, monkeypatch):
    with serving(clip_folder, encoder, Limits(max_connections=3), monkeypatch) as server:
        idle = [connect(server) for _ in range(3)]
        while len(server.server_state.connections) < 3:
            time.sleep(0.005)
        with connect(server) as crowded:
            assert everything(crowded) == b""
        idle.pop().close()
        while len(server.server_state.connections) > 2:
            time.sleep(0.005)
        assert Client(server.address).get("/healthz")[0] == 200
        for sock in idle:
            sock.close()


def test_a_request_whose_client_left_is_not_computed(clip_folder, own_encoder, monkeypatch):
    gate = Gate(own_encoder)
    with serving(clip_folder, own_encoder, Limits(), monkeypatch, token="") as server:
        first = connect(server)
        first.sendall(WHOLE)
        gate.entered.wait()
        left = [connect(server) for _ in range(5)]
        for sock in left:
            sock.sendall(WHOLE)
        while len(server.server_state.tasks) < 6:
            time.sleep(0.005)
        time.sleep(0.1)  # until they wait for the model
        for sock in left:
            sock.close()
        while len(server.server_state.tasks) > 1:  # given up, although the model is busy
            time.sleep(0.005)
        gate.opened.set()
        first.close()
    assert gate.sizes == [1]


def test_the_limit_leaves_descriptors_for_files():
    backlog, limits = _within_descriptors(Limits(max_connections=10**9))
    import resource

    assert backlog + limits.max_connections < resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert _within_descriptors(Limits(max_connections=7))[1].max_connections == 7


def test_running_out_of_descriptors_is_logged_once(caplog):
    loop, complaints = asyncio.new_event_loop(), _Complaints()
    with caplog.at_level(logging.ERROR):
        for _ in range(100):
            context = {"message": "socket.accept() out of system resource", "exception": OSError(24, "too many")}
            complaints(loop, context | {"socket": None})
        assert len(caplog.records) == 1
        complaints(loop, {"message": "something else", "exception": ValueError("else")})
    loop.close()
    assert [record.name for record in caplog.records] == ["uvicorn.error", "asyncio"]


def test_with_few_descriptors_the_service_goes_on_and_writes_little(clip_folder):
    service = Service("--model", str(clip_folder), descriptors=64)
    host, port = service.url.removeprefix("http://").split(":")
    crowd = [socket.create_connection((host, int(port)), timeout=60) for _ in range(200)]
    time.sleep(1.5)  # longer than the loop waits after an accept that failed
    for sock in crowd:
        sock.close()
    assert service.get("/healthz")[0] == 200
    status, error = service.stop()
    assert status == 0
    assert len(error) < 2000

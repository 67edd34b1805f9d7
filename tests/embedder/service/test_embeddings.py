"""``POST /v1/embeddings`` over real HTTP, with OpenAI's own client."""

import base64
import socket
import threading

import numpy as np
import openai
import pytest
import uvicorn
from prometheus_client.parser import text_string_to_metric_families

from embedder.service.app import create_app
from embedder.service.config import ServeConfig
from tests.embedder.service.client import Client

TEXTS = ["a red cube", "two dogs run along the beach", "a red cube"]


@pytest.fixture(scope="module")
def client(service):
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("encoding_format", ["float", "base64", None])
def test_the_openai_client_gets_the_encoders_vectors(client, encoder, encoding_format):
    chosen = {"encoding_format": encoding_format} if encoding_format else {}
    answer = client.embeddings.create(model="tiny-clip", input=TEXTS, **chosen)
    assert [item.index for item in answer.data] == [0, 1, 2]
    vectors = [item.embedding for item in answer.data]
    if encoding_format == "base64":  # asked for by name, the client does not decode it
        vectors = [np.frombuffer(base64.b64decode(text), "<f4") for text in vectors]
    np.testing.assert_allclose(np.array(vectors), encoder.encode(TEXTS), atol=1e-6)
    assert answer.model == "tiny-clip"
    assert answer.usage.total_tokens == sum(len(t.ids) for t in encoder.tokenize(TEXTS))


def test_a_single_text_needs_no_list(client, encoder):
    answer = client.embeddings.create(model="tiny-clip", input="a red cube", dimensions=16)
    np.testing.assert_allclose(answer.data[0].embedding, encoder.encode(["a red cube"])[0], atol=1e-6)


def test_the_model_is_listed(client):
    assert [model.id for model in client.models.list()] == ["tiny-clip"]


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        ({"model": "gpt-5", "input": "a"}, openai.NotFoundError, "no model 'gpt-5' here; there is 'tiny-clip'"),
        ({"model": "tiny-clip", "input": [" "]}, openai.BadRequestError, "a text is empty or blank"),
        ({"model": "tiny-clip", "input": []}, openai.BadRequestError, "expected at least one text"),
        ({"model": "tiny-clip", "input": ["a"] * 2049}, openai.BadRequestError, "2049 texts are more than the 2048"),
        ({"model": "tiny-clip", "input": "a", "dimensions": 8}, openai.BadRequestError, "have 16 numbers"),
        ({"model": "tiny-clip", "input": [1, 2]}, openai.BadRequestError, "token ids are not taken"),
    ],
)
def test_wrong_requests_get_openais_errors(client, request_, error, message):
    with pytest.raises(error, match=message):
        client.embeddings.create(**request_)


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"\xff\xfe", 400), (b"[" * 100_000, 400), (b'{"model": 1}', 400), (b"", 400)],
    ids=["cut", "not-utf8", "deep", "incomplete", "empty"],
)
def test_what_is_no_request_is_refused(service, body, status):
    assert service.post("/v1/embeddings", body)[0] == status


def test_hostile_texts_do_not_change_their_neighbours(service, encoder):
    # half a surrogate pair, template tokens, control characters, right-to-left override, a huge word
    hostile = b'"\\ud83d", "<|endoftext|><|startoftext|>", "\\u0000\\u0007\\u202e", "' + b"z" * 1_000_000 + b'"'
    body = b'{"model": "tiny-clip", "input": [' + hostile + b', "a red cube"]}'
    status, answer = service.post("/v1/embeddings", body)
    assert status == 200
    vectors = np.array([item["embedding"] for item in answer["data"]])
    assert vectors.shape == (5, 16)
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(vectors[-1], encoder.encode(["a red cube"])[0], atol=1e-5)
    assert service.get("/healthz")[1]["status"] == "ok"


def test_an_error_that_quotes_invalid_unicode_can_be_sent(service):
    status, answer = service.post("/v1/embeddings", b'{"model": "\\ud800", "input": "a"}')
    assert status in (400, 404)
    assert "error" in answer


def test_too_large_bodies_are_refused(service):
    body = b'{"model": "tiny-clip", "input": "' + b"a" * 3_000_000 + b'"}'
    assert service.post("/v1/embeddings", body)[0] == 413
    parts = (body[i : i + 100_000] for i in range(0, len(body), 100_000))  # chunked: the length is not announced
    assert service.post("/v1/embeddings", parts, {"Transfer-Encoding": "chunked"})[0] == 413
    assert service.get("/healthz")[0] == 200


def test_only_json_is_taken_and_only_under_a_name_of_this_machine(service):
    body = {"model": "tiny-clip", "input": "a"}
    assert service.post("/v1/embeddings", body, {"Content-Type": "text/plain"})[0] == 415
    for host in ("evil.example", "evil.example:80", "localhost.evil.example", ""):
        assert service.post("/v1/embeddings", body, {"Host": host})[0] == 400
    for host in ("localhost", "[::1]:8000", "127.0.0.1:1"):
        assert service.post("/v1/embeddings", body, {"Host": host})[0] == 200
    assert service.post("/v1/embeddings", body)[0] == 200


def test_metrics_can_be_read_by_prometheus(service):
    def value(name, **labels):
        families = text_string_to_metric_families(service.get("/metrics")[1])
        samples = [s for f in families for s in f.samples if s.name == name and labels.items() <= s.labels.items()]
        return sum(s.value for s in samples)

    before = value("keyclip_requests_total", route="/v1/embeddings", status="200")
    tokens = value("keyclip_tokens_total")
    service.post("/v1/embeddings", {"model": "tiny-clip", "input": "a red cube"})
    assert value("keyclip_requests_total", route="/v1/embeddings", status="200") == before + 1
    assert value("keyclip_tokens_total") > tokens
    assert value("keyclip_pending_tokens") == 0


def test_the_api_is_described(service):
    status, described = service.get("/openapi.json")
    assert status == 200
    assert {"/v1/embeddings", "/v1/fields/{field}/captions", "/healthz", "/metrics"} <= set(described["paths"])
    status, page = service.get("/docs")
    assert status == 200
    assert "POST /v1/fields/{field}/captions" in page
    assert "<script" not in page
    assert "://" not in page  # nothing is loaded from elsewhere


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"model": "tiny-clip", "input": }', "the body is not valid json: "),
        (b'{"model": "tiny-clip", "input": [1, 2]}', "input: token ids are not taken"),
        (b'{"model": "tiny-clip", "input": [[1, 2], [3]]}', "input: token ids are not taken"),
        (b'{"model": "tiny-clip", "input": {"a": 1}}', "input: expected a text, or a list of texts"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(service, body, message):
    status, answer = service.post("/v1/embeddings", body)
    assert status == 400
    assert answer["error"]["message"].startswith(message)


@pytest.fixture
def guarded(clip_folder, encoder, monkeypatch):
    """A service with a token, in a thread of this process."""
    monkeypatch.setenv("KEYCLIP_TOKEN", "s3cret")
    app = create_app(ServeConfig(model=str(clip_folder)), encoder)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    with socket.create_server(("127.0.0.1", 0)) as sock:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        yield Client(f"http://127.0.0.1:{sock.getsockname()[1]}")
        server.should_exit = True
        thread.join()


def test_a_token_is_asked_for_where_one_is_set(guarded):
    body = {"model": "tiny-clip", "input": "a"}
    assert guarded.get("/healthz")[0] == 200
    assert "Authorization: Bearer" in guarded.get("/docs")[1]
    assert "HTTPBearer" in guarded.get("/openapi.json")[1]["components"]["securitySchemes"]
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic s3cret"}):
        status, answer = guarded.post("/v1/embeddings", body, headers)
        assert (status, answer["error"]["type"]) == (401, "authentication_error")
    assert guarded.get("/metrics")[0] == 401
    with openai.OpenAI(base_url=f"{guarded.url}/v1", api_key="s3cret", max_retries=0) as client:
        assert len(client.embeddings.create(**body).data) == 1


def test_without_a_store_there_are_no_fields(guarded):
    token = {"Authorization": "Bearer s3cret"}
    assert guarded.post("/v1/fields/f/captions", {"captions": []}, token)[0] == 404

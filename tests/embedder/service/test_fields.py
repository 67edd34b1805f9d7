"""``POST /v1/fields/FIELD/captions``: idempotent, durable when answered, whoever else asks and whatever is killed."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import store
from embedder.run.targets import open_target
from tests.embedder.service.client import Service, keyed


def path_of(field):
    return f"/v1/fields/{field}/captions"


def test_captions_are_in_the_store_when_the_answer_comes(service, store_path, encoder):
    captions = {"k0": "a red cube", "k1": "a dog", "k2": "a red cube", "k3": None, "k4": "  ", "k5": "a dog and " * 50}
    status, answer = service.post(path_of("first/captions.0"), keyed(captions))
    assert status == 200
    counts = {"embedded": 4, "reused": 0, "deduplicated": 1, "empty": 2, "truncated": 1}
    assert answer == {"field": "first/captions.0"} | counts
    field = store.open(str(store_path)).field("first/captions.0")
    assert sorted(field.keys()) == ["k0", "k1", "k2", "k5"]
    stored = field.get(["k2", "k1"], dtype=np.float32)
    np.testing.assert_allclose(stored, encoder.encode(["a red cube", "a dog"]), rtol=1e-3, atol=1e-3)
    assert (field.spec.model, field.spec.caption_field) == ("tiny-clip", "captions.0")


def test_the_same_request_again_changes_nothing(service, store_path):
    body = keyed({"a": "one", "b": "two"})
    assert service.post(path_of("again/c"), body)[1]["embedded"] == 2
    answer = service.post(path_of("again/c"), body)[1]
    assert (answer["embedded"], answer["reused"]) == (0, 2)
    answer = service.post(path_of("again/c"), keyed({"b": "two", "c": "three"}))[1]
    assert (answer["embedded"], answer["reused"]) == (1, 1)
    assert sorted(store.open(str(store_path)).field("again/c").keys()) == ["a", "b", "c"]


def test_another_caption_for_a_key_is_a_conflict(service):
    service.post(path_of("stale/c"), keyed({"a": "one"}))
    status, answer = service.post(path_of("stale/c"), keyed({"a": "another", "b": "two"}))
    assert status == 409
    assert "such as 'a'" in answer["error"]["message"]
    twice = {"captions": [{"key": "x", "caption": "one"}, {"key": "x", "caption": "two"}]}
    assert service.post(path_of("stale/c"), twice)[0] == 400


def test_a_field_of_another_model_is_a_conflict(service, store_path, encoder):
    import dataclasses

    opened = store.open(str(store_path), mode="a")
    spec = open_target(opened, encoder, "mine/c", "c", "float16").spec
    opened.writer("other/c", dataclasses.replace(spec, revision="another"))
    status, answer = service.post(path_of("other/c"), keyed({"a": "one"}))
    assert status == 409
    assert "revision" in answer["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"captions": [{"key": "a"}]},
        {"captions": [{"key": 7, "caption": "a"}]},
        {"captions": [{"key": "a", "caption": "b", "vector": [1]}]},
        {"captions": [{"key": "", "caption": "b"}]},
        {"captions": [{"key": "half \ud800", "caption": "b"}]},
        {"captions": [{"key": f"{i}", "caption": "b"} for i in range(2049)]},
    ],
    ids=["no-caption", "number", "extra", "no-key", "half-pair", "many"],
)
def test_wrong_bodies_are_refused(service, body):
    status, answer = service.post(path_of("wrong/c"), body)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")


def test_requests_at_the_same_time_with_the_same_keys_write_each_key_once(service, store_path, encoder):
    captions = {f"k{i:03d}": f"picture {i} of a cube" for i in range(300)}
    keys = list(captions)
    parts = [keys[first : first + 60] for first in range(0, 260, 20)] * 3  # each key is in up to nine requests

    def ask(part):
        return service.post(path_of("busy/c"), keyed({key: captions[key] for key in part}))

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, parts))
    assert [status for status, _ in answers] == [200] * len(parts)
    assert sum(answer["embedded"] for _, answer in answers) == 300
    assert all(answer["embedded"] + answer["reused"] == 60 for _, answer in answers)
    field = store.open(str(store_path)).field("busy/c")
    assert sorted(field.keys()) == keys
    expected = encoder.encode(list(captions.values()))
    np.testing.assert_allclose(field.get(keys, dtype=np.float32), expected, rtol=2e-3, atol=2e-3)


class Clients:
    """Four clients that send captions one request after the other and note the keys that were answered."""

    def __init__(self, service, captions):
        self.service = service
        self.answered = []
        self._parts = [list(captions)[i::4] for i in range(4)]
        self._captions = captions
        self._threads = [threading.Thread(target=self._send, args=(part,)) for part in self._parts]
        for thread in self._threads:
            thread.start()

    def _send(self, keys):
        for first in range(0, len(keys), 10):
            part = keys[first : first + 10]
            try:
                status, _ = self.service.post(path_of("f/c"), keyed({key: self._captions[key] for key in part}))
            except OSError:  # the service is gone
                return
            if status == 200:
                self.answered.extend(part)

    def join(self):
        for thread in self._threads:
            thread.join()


def wait_for_answers(clients, count):
    while len(clients.answered) < count:
        time.sleep(0.002)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
def test_what_was_answered_is_in_the_store_after_the_service_is_stopped_in_the_middle(tmp_path, clip_folder, how):
    captions = {f"k{i:05d}": f"picture {i} " + "of a red cube " * (i % 5) for i in range(1600)}
    arguments = ("--model", str(clip_folder), "--store", str(tmp_path / "s.store"))
    service = Service(*arguments)
    clients = Clients(service, captions)
    wait_for_answers(clients, 100)
    service.process.send_signal(how)
    _, error = service.process.communicate()
    clients.join()
    assert (service.process.returncode, error) == ((0, "") if how == signal.SIGTERM else (-how, ""))
    field = store.open(str(tmp_path / "s.store")).field("f/c")
    assert len(clients.answered) < len(captions)
    assert field.contains(clients.answered).all()
    if how == signal.SIGTERM:  # every request that was accepted was answered
        assert sorted(field.keys()) == sorted(clients.answered)
    else:
        service = Service(*arguments)
        again = Clients(service, captions)
        again.join()
        assert service.stop() == (0, "")
        assert sorted(again.answered) == list(captions)
        assert sorted(field.keys()) == list(captions)

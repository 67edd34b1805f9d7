"""Requests that wait together go through the model together; one that fails takes no other with it."""

import threading

import numpy as np
import pytest

from embedder.models.load import load_encoder
from embedder.models.options import ModelOptions
from embedder.service.batching import Batcher, ClosedError, OverloadedError
from embedder.service.metrics import Metrics


class Gate:
    """Holds the model until it is opened, and notes the size of each batch."""

    def __init__(self, encoder):
        self.opened = threading.Event()
        self.entered = threading.Event()
        self.sizes = []
        encoder.network.register_forward_pre_hook(self._hold)

    def _hold(self, module, inputs):
        self.sizes.append(len(inputs[0]))
        self.entered.set()
        self.opened.wait()


@pytest.fixture
def encoder(clip_folder):
    return load_encoder(ModelOptions(model=str(clip_folder), device="cpu"))


def batcher(encoder, most=1_000_000):
    return Batcher(encoder, Metrics(), max_pending_tokens=most, linger_seconds=0)


def test_what_arrives_while_the_model_is_busy_shares_its_next_batch(encoder):
    captions = [f"a picture of {i} cubes" for i in range(10, 20)]
    expected = encoder.encode(captions)
    gate, running = Gate(encoder), batcher(encoder)
    first = running.submit(encoder.tokenize(["a dog"]))
    gate.entered.wait()
    results = [running.submit(encoder.tokenize([caption])) for caption in captions]
    gate.opened.set()
    np.testing.assert_allclose(np.concatenate([r.result() for r in results]), expected, atol=1e-6)
    assert first.result().shape == (1, 16)
    assert gate.sizes == [1, 10]
    running.close()


def test_too_much_waiting_is_refused_but_a_lone_request_never(encoder):
    gate, running = Gate(encoder), batcher(encoder, most=10)
    lone = running.submit(encoder.tokenize(["a dog and " * 60]))
    with pytest.raises(OverloadedError, match="77 tokens wait for the model already"):
        running.submit(encoder.tokenize(["a dog"]))
    gate.opened.set()
    assert lone.result().shape == (1, 16)
    running.close()


def test_closing_finishes_what_was_accepted_and_takes_nothing_more(encoder):
    running = batcher(encoder)
    results = [running.submit(encoder.tokenize([f"picture {i}"])) for i in range(50)]
    running.close()
    assert all(result.done() for result in results)
    with pytest.raises(ClosedError):
        running.submit(encoder.tokenize(["late"]))
    running.close()


def test_an_error_reaches_only_the_request_that_caused_it(encoder):
    gate, running = Gate(encoder), batcher(encoder)
    running.submit(encoder.tokenize(["a dog"]))
    gate.entered.wait()
    broken = encoder.tokenize(["a cat"])
    broken[0].ids[0] = 10**6  # beyond the vocabulary
    wrong, right = running.submit(broken), running.submit(encoder.tokenize(["a cat"]))
    gate.opened.set()
    np.testing.assert_allclose(right.result(), encoder.encode(["a cat"]), atol=1e-6)
    with pytest.raises(IndexError):
        wrong.result()
    running.close()


def test_a_request_that_was_given_up_is_not_computed(encoder):
    gate, running = Gate(encoder), batcher(encoder)
    running.submit(encoder.tokenize(["a dog"]))
    gate.entered.wait()
    given_up = running.submit(encoder.tokenize(["a cat"]))
    assert given_up.cancel()
    gate.opened.set()
    running.close()
    assert gate.sizes == [1]
    assert running.pending_tokens == 0

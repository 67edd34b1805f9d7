"""Encoding in batches: equal captions once, any batch size the same vectors, memory that runs out is not the end."""

from pathlib import Path

import numpy as np
import pytest

from embedder.models.load import load_encoder
from embedder.models.options import ModelOptions
from tests.processes import run


@pytest.fixture
def encoder(clip_folder):
    return load_encoder(ModelOptions(model=str(clip_folder), device="cpu"))


def test_vectors_come_in_the_order_of_the_captions(encoder):
    captions = [f"picture {'of a cube ' * (i % 9)}{i}" for i in range(50)]
    together = encoder.encode(captions)
    np.testing.assert_allclose(together, np.concatenate([encoder.encode([c]) for c in captions]), atol=1e-6)


def test_the_batch_size_does_not_matter(encoder):
    captions = [f"picture {'of a cube ' * (i % 9)}{i}" for i in range(50)]
    together = encoder.encode(captions)
    encoder.batch_tokens = 1
    np.testing.assert_allclose(encoder.encode(captions), together, atol=1e-6)


def test_equal_captions_are_computed_once(encoder):
    seen = []
    encoder.network.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    vectors = encoder.encode(["a dog", "a cat", "a dog", "a dog"])
    assert sum(seen) == 2
    np.testing.assert_array_equal(vectors[0], vectors[2])


def test_no_captions_give_no_vectors(encoder):
    assert encoder.encode([]).shape == (0, 16)


OUT_OF_MEMORY = """
import resource, sys
import numpy as np
from embedder.models.load import load_encoder
from embedder.models.options import ModelOptions
from store.common.errors import ConfigError

encoder = load_encoder(ModelOptions(model=sys.argv[1], device="cpu"))
captions = [f"{i} " + "a red cube and " * 30 for i in range(1500)]
tokens = encoder.tokenize(captions)
expected = encoder.embed(tokens)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 20_000_000,) * 2)
encoder.batch_tokens = 10_000_000
vectors = encoder.embed(tokens)
assert 0 < encoder.batch_tokens < 77 * 1500, encoder.batch_tokens
assert np.allclose(vectors, expected, atol=1e-5)
print("halved to", encoder.batch_tokens)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux to limit the memory of a process")
def test_memory_that_runs_out_halves_the_batches(clip_folder):
    result = run(["-c", OUT_OF_MEMORY, clip_folder])
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("halved to")

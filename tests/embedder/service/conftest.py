import pytest

from embedder.models.load import load_encoder
from embedder.models.options import ModelOptions
from tests.embedder.service.client import Service


@pytest.fixture(scope="package")
def store_path(tmp_path_factory):
    return tmp_path_factory.mktemp("service") / "s.store"


@pytest.fixture(scope="package")
def service(clip_folder, store_path):
    """One service for all tests that do not stop it; they use fields of their own."""
    running = Service("--model", str(clip_folder), "--store", str(store_path), "--max-request-bytes", "2000000")
    yield running
    status, error = running.stop()
    assert (status, error) == (0, "")


@pytest.fixture(scope="package")
def encoder(clip_folder):
    return load_encoder(ModelOptions(model=str(clip_folder), device="cpu"))

"""What the parts of the contract suite share: a backend's test class names its backend and inherits the parts."""

import pytest

import store
from tests.store.examples import make_block, make_spec


class Contract:
    """Fixtures of every part."""

    backend: str

    @pytest.fixture
    def path(self, tmp_path):
        """Where the store of a test is; a URL for remote storage."""
        return tmp_path / "some.store"

    @pytest.fixture
    def empty(self, path):
        """A new store."""
        return store.create(path, backend=self.backend)

    @pytest.fixture
    def filled(self, empty):
        """A store with a field ``f`` of blocks a (3 keys), b (500) and c (1)."""
        writer = empty.writer("f", make_spec())
        for name, count in (("a", 3), ("b", 500), ("c", 1)):
            writer.commit(name, *make_block(name, count))
        return empty

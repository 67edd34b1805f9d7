"""Object storage behind an fsspec URL, such as ``s3://bucket/cc3m.store``.

Credentials and endpoints come from the environment, as the storage's own tools take them (``AWS_ACCESS_KEY_ID``,
``AWS_ENDPOINT_URL``, ...); a store never holds any. The storage must answer a listing with everything written before
it, and must support writing on the condition that nothing is there, as S3, GCS and Azure do.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import fsspec
import numpy as np

from store.common.errors import ConfigError, KeyclipError, StorageError
from store.core.process import PerProcess
from store.zarr_backend.bucket import Bucket, Data, Listing

_VERSION_TAGS = ("ETag", "etag", "md5Hash", "mtime", "created")


class RemoteBucket(PerProcess[tuple[Any, str]], Bucket):
    """A prefix of a bucket; every process has a connection of its own."""

    is_local = False

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def _make(self) -> tuple[Any, str]:
        filesystem, root = fsspec.core.url_to_fs(self._url, use_listings_cache=False)
        return filesystem, root

    @contextlib.contextmanager
    def _filesystem(self) -> Iterator[tuple[Any, str]]:
        """This process's connection and the prefix; a failure becomes a StorageError."""
        try:
            yield self._here
        except (KeyclipError, FileExistsError):
            raise
        except (ImportError, ValueError) as error:
            raise ConfigError(f"{self._url!r} cannot be opened: {error}") from error
        except Exception as error:
            raise StorageError(
                f"the storage of {self._url!r} failed: {type(error).__name__}: {error}; check the address, the network "
                "and the credentials in the environment, then run the same command again"
            ) from error

    def read(self, keys: Sequence[str]) -> list[Data | None]:
        if not keys:
            return []
        with self._filesystem() as (filesystem, root):
            paths = [f"{root}/{key}" for key in keys]
            # To read an object in pieces, s3fs first asks how large it is, and lists what begins like an absent one.
            whole = {"max_concurrency": 1} if "s3" in filesystem.protocol else {}
            found = filesystem.cat(paths, on_error="return", recursive=False, **whole)
            if isinstance(found, bytes):  # fsspec unpacks an answer of one
                found = {filesystem._strip_protocol(paths[0]): found}
            return [_data(found[filesystem._strip_protocol(path)]) for path in paths]

    def write(self, folder: str, objects: Mapping[str, Data | bytes]) -> None:
        with self._filesystem() as (filesystem, root):
            filesystem.pipe({f"{root}/{folder}/{key}": bytes(data) for key, data in objects.items()})

    def write_new(self, key: str, data: bytes) -> bool:
        try:
            with self._filesystem() as (filesystem, root):
                filesystem.pipe_file(f"{root}/{key}", data, mode="create")
        except FileExistsError:
            # It is ours if the storage took it and only the answer was lost, so that fsspec sent it again.
            there = self.read([key])[0]
            return there is not None and there.tobytes() == data
        return True

    def children(self, folder: str, member: str, known: Listing | None = None) -> Listing:
        versions = {}
        with self._filesystem() as (filesystem, root), contextlib.suppress(FileNotFoundError):
            start = len(filesystem._strip_protocol(f"{root}/{folder}")) + 1
            for path, entry in filesystem.find(f"{root}/{folder}", detail=True).items():
                name, _, rest = path[start:].partition("/")
                if rest == member:
                    versions[name] = str(next((entry[tag] for tag in _VERSION_TAGS if entry.get(tag)), ""))
        return Listing(versions)

    def folders(self, folder: str) -> list[str]:
        found: list[Any] = []
        with self._filesystem() as (filesystem, root), contextlib.suppress(FileNotFoundError):
            found = filesystem.ls(f"{root}/{folder}", detail=True)
        return sorted(entry["name"].rstrip("/").rpartition("/")[2] for entry in found if entry["type"] == "directory")

    def remove(self, folder: str, first: str) -> None:
        with self._filesystem() as (filesystem, root):
            with contextlib.suppress(FileNotFoundError):
                filesystem.rm_file(f"{root}/{folder}/{first}")
            with contextlib.suppress(FileNotFoundError):
                filesystem.rm(f"{root}/{folder}", recursive=True)


def _data(answer: Any) -> Data | None:
    if isinstance(answer, FileNotFoundError):
        return None
    if isinstance(answer, BaseException):
        raise answer
    return np.frombuffer(answer, np.uint8)

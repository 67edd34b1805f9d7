"""Ways to keep vectors on disk and to gather them by key or row: keyclip's, others', and the limit."""

import importlib.util
import io
import itertools
import os
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import store
from store.core.contract import Backend
from store.core.spec import StoredDtype

BLOCK = 10_000
"""Rows per block, as an img2dataset shard has."""
IMAGE_BYTES = 10_000
"""Size of the images that are read together with a sidecar."""


def key_of(row: int) -> str:
    """The sample key of a row, as img2dataset makes them: five digits of the shard, four within it."""
    return f"{row // BLOCK:05d}{row % BLOCK:04d}"


def bench_spec(dim: int, dtype: StoredDtype) -> store.FieldSpec:
    """The spec of every field that is made for measuring."""
    return store.FieldSpec(
        model="none",
        revision="",
        kind="llm",
        template="",
        pooling="mean",
        max_length=1,
        normalize=False,
        caption_field="caption",
        dim=dim,
        dtype=dtype,
    )


class Contender(ABC):
    """One way to keep vectors. Rows are numbered in the order of writing; a way that looks up by key uses the keys."""

    name: ClassVar[str]
    needs: ClassVar[str] = ""
    """A package that must be installed."""
    by_position: ClassVar[bool] = False
    """Whether it can only be read from the start."""

    def __init__(self, folder: Path, dim: int) -> None:
        self.place = folder / self.name.replace(" ", "-")
        self.dim = dim

    @classmethod
    def is_installed(cls) -> bool:
        return not cls.needs or importlib.util.find_spec(cls.needs) is not None

    @abstractmethod
    def write(self, blocks: Iterator[np.ndarray]) -> None:
        """Write blocks of float16 vectors (n, dim)."""

    @abstractmethod
    def open(self) -> None:
        """Get ready to read."""

    @abstractmethod
    def read(self, rows: np.ndarray, keys: list[str], out: np.ndarray) -> None:
        """Fill ``out`` (n, dim) float16 with these rows; a way that reads by position reads the next n."""

    def num_bytes(self) -> int:
        files = self.place.rglob("*") if self.place.is_dir() else [self.place]
        return sum(file.stat().st_blocks * 512 for file in files if file.is_file())


class Memmap(Contender):
    """The limit: a flat file, rows known in advance."""

    name = "np.memmap take"

    def write(self, blocks: Iterator[np.ndarray]) -> None:
        with self.place.open("wb") as file:
            for block in blocks:
                file.write(block.data)
            file.flush()
            os.fsync(file.fileno())

    def open(self) -> None:
        self.rows = np.memmap(self.place, np.float16, "r").reshape(-1, self.dim)

    def read(self, rows: np.ndarray, keys: list[str], out: np.ndarray) -> None:
        np.take(self.rows, rows, axis=0, out=out, mode="clip")


class Keyclip(Contender):
    backend: ClassVar[Backend]
    check = True
    dtype: StoredDtype = "float16"

    def write(self, blocks: Iterator[np.ndarray]) -> None:
        writer = store.create(self.place, backend=self.backend).writer("f", bench_spec(self.dim, self.dtype))
        for number, block in enumerate(blocks):
            keys = [key_of(number * BLOCK + i) for i in range(len(block))]
            writer.commit(f"{number:05d}", keys, block, store.caption_hashes(keys))

    def open(self) -> None:
        self.field = store.open(self.place, check=self.check).field("f")

    def read(self, rows: np.ndarray, keys: list[str], out: np.ndarray) -> None:
        self.field.get(keys, out=out)


class KeyclipLmdb(Keyclip):
    name = "keyclip lmdb"
    backend = "lmdb"


class KeyclipZarr(Keyclip):
    name = "keyclip zarr"
    backend = "zarr"


class LmdbRows(Contender):
    """One vector per LMDB value, as most do it."""

    name = "lmdb, a row a value"
    needs = "lmdb"

    def write(self, blocks: Iterator[np.ndarray]) -> None:
        env = self._environment()
        for number, block in enumerate(blocks):
            with env.begin(write=True) as transaction:
                for i, row in enumerate(block):
                    transaction.put(key_of(number * BLOCK + i).encode(), row.tobytes())
        env.close()

    def _environment(self, **options: Any) -> Any:
        import lmdb

        return lmdb.open(str(self.place), map_size=2**38, **options)

    def open(self) -> None:
        self.env = self._environment(readonly=True, lock=False, readahead=False)

    def read(self, rows: np.ndarray, keys: list[str], out: np.ndarray) -> None:
        with self.env.begin(buffers=True) as transaction, transaction.cursor() as cursor:
            found = cursor.getmulti([key.encode() for key in keys])
            for i, (_, value) in enumerate(found):
                out[i] = np.frombuffer(value, np.float16)


class Lance(Contender):
    name = "lance take"
    needs = "lance"

    def write(self, blocks: Iterator[np.ndarray]) -> None:
        import lance
        import pyarrow as pa

        kind = pa.list_(pa.float16(), self.dim)
        for block in blocks:
            column = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), type=kind)
            lance.write_dataset(pa.table({"vector": column}), str(self.place), mode="append")

    def open(self) -> None:
        import lance

        self.dataset = lance.dataset(str(self.place))

    def read(self, rows: np.ndarray, keys: list[str], out: np.ndarray) -> None:
        column = self.dataset.take(rows.tolist())["vector"].combine_chunks()
        out[:] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, self.dim)


class Hdf5(Contender):
    name = "hdf5"
    needs = "h5py"

    def write(self, blocks: Iterator[np.ndarray]) -> None:
        import h5py

        with h5py.File(self.place, "w") as file:
            data = file.create_dataset(
                "vectors", (0, self.dim), np.float16, maxshape=(None, self.dim), chunks=(64, self.dim)
            )
            for block in blocks:
                data.resize(len(data) + len(block), axis=0)
                data[-len(block) :] = block

    def open(self) -> None:
        import h5py

        self.data = h5py.File(self.place, "r")["vectors"]

    def read(self, rows: np.ndarray, keys: list[str], out: np.ndarray) -> None:
        wanted, places = np.unique(rows, return_inverse=True)  # h5py takes ascending rows only
        out[:] = self.data[wanted][places]


class TarSidecar(Contender):
    """Embeddings in tars as LLM2CLIP writes them, read from start to end."""

    name = "tar sidecar alone"
    needs = "webdataset"
    by_position = True

    def write(self, blocks: Iterator[np.ndarray]) -> None:
        self.place.mkdir()
        for number, block in enumerate(blocks):
            with tarfile.open(self.place / f"{number:05d}_text_embeddings.tar", "w") as tar:
                for i, row in enumerate(block):
                    add_member(tar, f"{key_of(number * BLOCK + i)}.captions", row.astype(np.float32).tobytes())

    def open(self) -> None:
        self.samples = self.all_samples("*_text_embeddings.tar")

    def all_samples(self, pattern: str) -> Iterator[dict[str, Any]]:
        """Samples of the tars over and over, by webdataset's own reader."""
        from webdataset.tariterators import group_by_keys, tar_file_expander

        for tar in itertools.cycle(sorted(self.place.glob(pattern))):
            with tar.open("rb") as stream:
                yield from group_by_keys(tar_file_expander([{"url": str(tar), "stream": stream}]))

    def read(self, rows: np.ndarray, keys: list[str], out: np.ndarray) -> None:
        for i, sample in zip(range(len(out)), self.samples, strict=False):
            out[i] = np.frombuffer(sample["captions"], np.float32)

    def num_bytes(self) -> int:
        return sum(file.stat().st_blocks * 512 for file in self.place.glob("*_text_embeddings.tar"))


class TarLockStep(TarSidecar):
    """The published way to read the tars: together with the tar of the images, sample by sample, comparing keys."""

    name = "tar sidecar"

    def write(self, blocks: Iterator[np.ndarray]) -> None:
        super().write(blocks)
        image = np.random.default_rng(0).bytes(IMAGE_BYTES)
        for number, file in enumerate(sorted(self.place.glob("*_text_embeddings.tar"))):
            with tarfile.open(file) as sidecar, tarfile.open(self.place / f"{number:05d}.tar", "w") as tar:
                for member in sidecar:
                    key = member.name.removesuffix(".captions")
                    for name, data in (("jpg", image), ("json", bytes(500)), ("txt", bytes(60))):
                        add_member(tar, f"{key}.{name}", data)

    def open(self) -> None:
        super().open()
        self.images = self.all_samples("?????.tar")

    def read(self, rows: np.ndarray, keys: list[str], out: np.ndarray) -> None:
        for i, image, sample in zip(range(len(out)), self.images, self.samples, strict=False):
            assert image["__key__"] == sample["__key__"]
            out[i] = np.frombuffer(sample["captions"], np.float32)


def add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a file to a tar."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


class ZarrPython(Contender):
    """A plain array of 512-row chunks, read by zarr-python."""

    name = "zarr-python"
    needs = "zarr"

    def write(self, blocks: Iterator[np.ndarray]) -> None:
        import zarr

        self.place.mkdir()
        data: Any = zarr.create_array(
            str(self.place / "a"), shape=(0, self.dim), dtype="float16", chunks=(512, self.dim), compressors=None
        )
        for block in blocks:
            data.append(block)

    def open(self) -> None:
        import zarr

        self.data: Any = zarr.open_array(str(self.place / "a"), mode="r")

    def read(self, rows: np.ndarray, keys: list[str], out: np.ndarray) -> None:
        out[:] = self.data.oindex[rows]


CONTENDERS: tuple[type[Contender], ...] = (
    Memmap,
    KeyclipLmdb,
    KeyclipZarr,
    LmdbRows,
    Lance,
    Hdf5,
    ZarrPython,
    TarSidecar,
    TarLockStep,
)

"""Ways to embed the captions of shards: keyclip's, others', and the model alone."""

import io
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import store
from embedder.models.encoder import Encoder
from embedder.models.packing import pack
from embedder.run.config import EmbedConfig
from embedder.run.embed import embed
from store.sources.shards import caption_at, iter_samples, load_json, shard_name


@dataclass(slots=True)
class Contender:
    """One way to embed, its best time and its vectors (n, D) in the captions' order (the limit keeps none)."""

    name: str
    measure: Callable[[], tuple[float, np.ndarray | None]]
    seconds: float = float("inf")
    cpu_seconds: float = float("inf")
    vectors: np.ndarray | None = None

    def round(self) -> None:
        cpu = time.process_time()
        seconds, self.vectors = self.measure()
        self.cpu_seconds = min(self.cpu_seconds, time.process_time() - cpu)
        self.seconds = min(self.seconds, seconds)


@dataclass(slots=True)
class Bench:
    """What all contenders share."""

    model: str
    caption_field: str
    batch_size: int
    encoder: Encoder
    folder: Path
    shards: list[str]
    keys: list[str]
    captions: list[str]

    def keyclip(self) -> tuple[float, np.ndarray]:
        """Shards to committed store."""
        path = tempfile.mkdtemp(dir=self.folder) + "/s.store"
        config = EmbedConfig(
            model=self.model,
            shards=tuple(self.shards),
            caption_fields=(self.caption_field,),
            store=path,
            dtype="float32",
            progress=False,
        )
        report = embed(config, self.encoder)
        return report.seconds, store.open(path).field(report.fields[0].name).get(self.keys)

    def fixed_batches(self) -> tuple[float, np.ndarray]:
        """One shard at a time, fixed batches in the shard's order, a sidecar tar."""
        started = time.perf_counter()
        results = []
        for shard in self.shards:
            rows = list(read_captions(shard, self.caption_field))
            with tarfile.open(self.folder / f"{shard_name(shard)}_text_embeddings.tar", "w") as tar:
                for first in range(0, len(rows), self.batch_size):
                    batch = rows[first : first + self.batch_size]
                    vectors = self.encoder.forward(self.encoder.tokenize([caption for _, caption in batch]))
                    results.append(vectors)
                    for (key, _), vector in zip(batch, vectors, strict=True):
                        info = tarfile.TarInfo(f"{key}.{self.caption_field}")
                        info.size = vector.nbytes
                        tar.addfile(info, io.BytesIO(vector.tobytes()))
        return time.perf_counter() - started, np.concatenate(results)

    def limit(self) -> tuple[float, None]:
        """The forward passes alone, without padding."""
        by_length = defaultdict(list)
        for tokens in self.encoder.tokenize(self.captions):
            by_length[len(tokens.ids)].append(tokens)
        batches = [
            [alike[i] for i in part]
            for length, alike in sorted(by_length.items())
            for part in pack([length] * len(alike), self.encoder.batch_tokens)
        ]
        started = time.perf_counter()
        for batch in batches:
            self.encoder.forward(batch)
        return time.perf_counter() - started, None


def read_captions(shard: str, caption_field: str) -> list[tuple[str, str]]:
    """(key, caption) of the samples that have one."""
    samples = ((key, load_json(members["json"], key, shard)) for key, members in iter_samples(shard, ["json"]))
    captions = ((key, caption_at(sample, caption_field)) for key, sample in samples)
    return [(key, caption) for key, caption in captions if caption]


def sentence_transformers(bench: Bench) -> Contender | None:
    """sentence-transformers' encode on the same captions, where it is installed and can load the model."""
    if bench.encoder.provenance.kind != "sentence":
        return None
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        return None
    dtype = next(bench.encoder.network.parameters()).dtype
    model = SentenceTransformer(bench.model, device=str(bench.encoder.device), model_kwargs={"dtype": dtype})

    def measure() -> tuple[float, np.ndarray]:
        started = time.perf_counter()
        vectors = model.encode(bench.captions, batch_size=bench.batch_size, show_progress_bar=False)
        return time.perf_counter() - started, vectors

    return Contender("sentence-transformers", measure)

"""``keyclip bench embed``: the embedder compared with the usual ways to embed captions, on one machine in one run."""

import io
import json
import random
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from embedder.models.load import load_encoder
from embedder.models.options import ModelOptions
from store.common.settings import Count, Few, Seed
from store.sources.shards import expand_shards
from tools.bench.caption_encoders import Bench, Contender, read_captions, sentence_transformers

WORDS = (
    "the a of in on with and red blue green small large wooden bright old two three dog cat horse boat table window "
    "street field beach mountain child woman man people standing sitting running holding wearing looking behind "
    "beside under above colourful background foreground sunlight shadow texture atmosphere scene image shows features"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Measure caption embedding, end to end, against the usual ways and against the model alone.

    Contenders, all with the same model, precision and captions, the best of --repeats interleaved rounds:
    "keyclip": shards to committed store, as keyclip embed does it. "fixed batches": one shard after the other,
    captions in their order in batches of fixed size padded to the longest, vectors written to a tar next to the shard.
    "sentence-transformers": its encode() on captions in memory (where installed, for sentence encoders). "limit": the
    forward passes alone, on captions tokenised before, batched by equal length, so that nothing is padding. Next to the
    ratio of wall times the table has the ratio of the process's CPU times, which says more on a busy machine without
    a GPU.

    Without --shards, captions are made: half short (about 10 words), half long (about 75).

    Example: keyclip bench embed --model sentence-transformers/all-MiniLM-L6-v2
    """

    model: str
    """Folder or hub id of the model."""
    shards: tuple[str, ...] = ()
    """Shards with captions to use instead of made ones."""
    caption_field: str = "caption"
    """Path of the captions in the json of --shards."""
    num_captions: Count = 2000
    """How many captions to make, or to read at most from the shards (whole shards)."""
    batch_size: Few = 32
    """Captions per batch of the other ways."""
    repeats: Few = 3
    """Rounds; the best time of each contender counts."""
    seed: Seed = 0
    """Seed of the made captions."""
    kind: Literal["auto", "sentence", "clip-text", "llm"] = "auto"
    """Kind of model; auto asks the model's own files."""
    batch_tokens: Count | None = None
    """Token budget of keyclip and of the limit. Default: as keyclip embed."""
    device: str = "auto"
    """cuda, cuda:1, mps or cpu."""
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the model for all contenders."""
    json: bool = False
    """Print the result as json."""


def make_shards(folder: Path, num_captions: int, seed: int, caption_field: str) -> list[str]:
    """Four shards of captions, half of them short (5 to 15 words), half long (30 to 120)."""
    rng, vocabulary = random.Random(seed), WORDS.split()
    shards = []
    for number in range(4):
        path = folder / f"{number:05d}.tar"
        with tarfile.open(path, "w") as tar:
            for i in range(number * num_captions // 4, (number + 1) * num_captions // 4):
                words = rng.choices(vocabulary, k=rng.randint(5, 15) if rng.random() < 0.5 else rng.randint(30, 120))
                payload = json.dumps({caption_field: f"{' '.join(words)} {i}."}).encode()
                info = tarfile.TarInfo(f"{i:09d}.json")
                info.size = len(payload)
                tar.addfile(info, io.BytesIO(payload))
        shards.append(str(path))
    return shards


def least_cosine(a: np.ndarray, b: np.ndarray) -> float:
    """The smallest cosine between corresponding rows."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def measure(config: Config, folder: Path) -> dict[str, Any]:
    """Run all contenders in turn, ``repeats`` times; rates, ratios and the least cosine to keyclip's vectors."""
    shards = (
        expand_shards(config.shards)
        if config.shards
        else make_shards(folder, config.num_captions, config.seed, config.caption_field)
    )
    options = ModelOptions(
        model=config.model,
        kind=config.kind,
        batch_tokens=config.batch_tokens,
        device=config.device,
        compute_dtype=config.compute_dtype,
    )
    encoder = load_encoder(options)
    bench = Bench(config.model, config.caption_field, config.batch_size, encoder, folder, [], [], [])
    for shard in shards:
        if len(bench.keys) < config.num_captions:
            bench.shards.append(shard)
            rows = read_captions(shard, config.caption_field)
            bench.keys += [key for key, _ in rows]
            bench.captions += [caption for _, caption in rows]
    lengths = [len(tokens.ids) for tokens in encoder.tokenize(bench.captions)]
    contenders = [Contender("keyclip", bench.keyclip), Contender("fixed batches", bench.fixed_batches)]
    contenders += [c] if (c := sentence_transformers(bench)) else []
    contenders.append(Contender("limit", bench.limit))
    for _ in range(config.repeats):
        for contender in contenders:
            contender.round()
    ours = contenders[0]
    assert ours.vectors is not None
    return {
        "model": encoder.provenance.model,
        "device": str(encoder.device),
        "captions": len(lengths),
        "tokens": sum(lengths),
        "contenders": [
            {
                "name": c.name,
                "captions_per_second": len(lengths) / c.seconds,
                "tokens_per_second": sum(lengths) / c.seconds,
                "keyclip_is_faster_by": c.seconds / ours.seconds,
                "keyclip_takes_less_cpu_by": c.cpu_seconds / ours.cpu_seconds,
                "least_cosine": None if c.vectors is None else least_cosine(c.vectors, ours.vectors),
            }
            for c in contenders
        ],
    }


def table(result: dict[str, Any]) -> str:
    """The result for people."""
    lines = [f"{result['captions']} captions, {result['tokens']} tokens, {result['model']} on {result['device']}"]
    lines.append(f"{'':24}{'captions/s':>12}{'tokens/s':>12}{'keyclip faster':>16}{'less CPU':>10}{'least cosine':>14}")
    for c in result["contenders"]:
        cosine = "" if c["least_cosine"] is None else f"{c['least_cosine']:.6f}"
        ratios = f"{c['keyclip_is_faster_by']:15.2f}x{c['keyclip_takes_less_cpu_by']:9.2f}x"
        rates = f"{c['captions_per_second']:12.0f}{c['tokens_per_second']:12.0f}"
        lines.append(f"{c['name']:24}{rates}{ratios}{cosine:>14}")
    return "\n".join(lines)


def run(config: Config) -> None:
    with tempfile.TemporaryDirectory(prefix="keyclip-bench-") as folder:
        result = measure(config, Path(folder))
    print(json.dumps(result, indent=2) if config.json else table(result))

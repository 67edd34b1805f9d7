"""``keyclip mteb``: MTEB's image tasks (MIEB) for a checkpoint, its texts coming from a store."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from store.common.errors import ConfigError
from store.common.settings import Few
from tools.evaluate.benchmark_model import BenchmarkModel, ModelConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(ModelConfig):
    """Evaluate a checkpoint on tasks of MTEB's image part.

    The texts of the tasks come from a field of a store, whatever their keys: embedded once, used by every checkpoint.
    List those of new tasks with --write-texts, embed them, and run again. `pip install 'keyclip[mteb]'` first.

    Example:
        keyclip mteb --clip openai/clip-vit-large-patch14 --checkpoint runs/proclip --store eval.store
            --field llama/caption --tasks Flickr30kT2IRetrieval CIFAR10ZeroShot --write-texts mteb.jsonl
        keyclip embed --captions mteb.jsonl --caption-fields caption --model LLM --field-prefix llama --store eval.store
        keyclip mteb --clip openai/clip-vit-large-patch14 --checkpoint runs/proclip --store eval.store
            --field llama/caption --tasks Flickr30kT2IRetrieval CIFAR10ZeroShot --output results/mteb
    """

    tasks: tuple[str, ...] = ()
    """Names of tasks, such as Flickr30kT2IRetrieval."""
    benchmark: str | None = None
    """Name of a benchmark of MTEB, such as MIEB(eng), instead of tasks."""
    output: Path | None = None
    """Folder of the results in MTEB's own layout; tasks with a result there are not run again."""
    batch: Few = 64
    """Images encoded at a time."""
    json: bool = False
    """Print the main scores as json."""


def run(config: Config) -> None:
    """Run the tasks, print the main score of each, averaged over its splits and languages."""
    if bool(config.tasks) == bool(config.benchmark):
        raise ConfigError("give --tasks, names of MTEB's tasks, or --benchmark, the name of one of its benchmarks")
    try:
        import mteb
    except ImportError as error:
        raise ConfigError(f"mteb cannot be imported ({error}); pip install 'keyclip[mteb]'") from error
    try:
        tasks = mteb.get_benchmark(config.benchmark) if config.benchmark else mteb.get_tasks(tasks=list(config.tasks))
    except (KeyError, ValueError) as error:
        raise ConfigError(f"MTEB has no such task or benchmark: {error}") from error
    model = BenchmarkModel(config)
    cache = mteb.ResultCache(config.output) if config.output and not model.lists_texts else None
    settings: Any = {"cache": cache, "encode_kwargs": {"batch_size": config.batch}, "co2_tracker": False}
    results = mteb.evaluate(mteb_model(model), list(tasks), **settings).task_results
    scores = {result.task_name: float(result.get_score()) for result in results}
    if config.write_texts:
        model.write_texts()
    elif config.json:
        print(json.dumps({"name": model.name, "scores": scores}))
    else:
        width = max(map(len, scores))
        for task, score in scores.items():
            print(f"{task:{width}}  {score:.4f}")


def mteb_model(model: BenchmarkModel) -> Any:
    """A checkpoint as a model for ``mteb.evaluate``; an item with image and text is the sum of both features."""
    from mteb.models.abs_encoder import AbsEncoder
    from mteb.models.model_meta import ModelMeta, ScoringFunction

    known = {
        "name": f"keyclip/{model.name}",
        "revision": model.identity,
        "embed_dim": model.tower.dim,
        "framework": ["PyTorch"],
        "similarity_fn_name": ScoringFunction.COSINE,
        "use_instructions": False,
        "modalities": ["image", "text"],
    }

    class StoredModel(AbsEncoder):
        """Images through the tower, texts from the store."""

        mteb_model_meta = ModelMeta.create_empty(overwrites=known)

        def encode(self, inputs: Any, **settings: Any) -> torch.Tensor:
            """Features of the items of a data loader, (n, E) float32; mteb's settings change nothing."""
            return torch.cat([_batch_features(model, batch) for batch in inputs])

    return StoredModel()


def _batch_features(model: BenchmarkModel, batch: dict[str, Any]) -> torch.Tensor:
    parts = []
    if "image" in batch:
        parts.append(model.picture_features(batch["image"]))
    if "text" in batch:
        parts.append(model.text_features(batch["text"]))
    if not parts:
        raise ConfigError(f"a task has items of {', '.join(batch)}; keyclip reads images and texts")
    return torch.stack(parts).sum(dim=0)

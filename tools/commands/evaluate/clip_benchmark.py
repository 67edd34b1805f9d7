"""``keyclip clip-benchmark``: LAION's CLIP_benchmark for a checkpoint, its texts coming from a store."""

import importlib
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import nn

from store.common.errors import ConfigError
from tools.evaluate.benchmark_model import BenchmarkModel, ModelConfig

MODEL_TYPE = "keyclip"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(ModelConfig):
    """Run CLIP_benchmark's own command line with a checkpoint as its model.

    The prompts and captions of the sets come from a field of a store, whatever their keys: embedded once, used by every
    checkpoint. List those of new sets with --write-texts, embed them, and run again. CLIP_benchmark needs a torchvision
    made for the installed torch.

    Example:
        keyclip clip-benchmark --clip openai/clip-vit-large-patch14 --checkpoint runs/proclip --store eval.store
            --field llama/caption --arguments "eval --dataset wds/food101 --dataset_root wds_food101 --no_amp"
    """

    arguments: str
    """Arguments of clip_benchmark, as one text; --model_type, --model and --pretrained are added."""


def run(config: Config) -> None:
    """Run it; CLIP_benchmark writes its result file."""
    model = BenchmarkModel(config)
    cli = register(model)
    names = ["--model_type", MODEL_TYPE, "--model", model.name, "--pretrained", model.identity]
    own_arguments = sys.argv
    try:
        sys.argv = ["clip_benchmark", *shlex.split(config.arguments), *names]
        cli.main()
    finally:
        sys.argv = own_arguments
    model.write_texts()


def register(model: BenchmarkModel) -> Any:
    """Make a checkpoint CLIP_benchmark's model type ``keyclip``; returns its command line module.

    Raises:
        ConfigError: CLIP_benchmark, or a package that it needs, cannot be imported.
    """
    try:
        models = importlib.import_module("clip_benchmark.models")
        cli = importlib.import_module("clip_benchmark.cli")
    except (ImportError, RuntimeError) as error:
        raise ConfigError(
            f"CLIP_benchmark cannot be imported ({error}); pip install 'keyclip[clip-benchmark]', with a torchvision "
            "made for the installed torch"
        ) from error
    try:
        cli.zeroshot_classification.accuracy(torch.eye(2), torch.arange(2))
    except TypeError:  # version 1.6.2 makes a float of an array of one element, which NumPy refuses from 2.4 on
        cli.zeroshot_classification.accuracy = top_k_accuracy
    models.TYPE2FUNC[MODEL_TYPE] = lambda **_: open_clip_style(model)
    if MODEL_TYPE not in models.MODEL_TYPES:
        models.MODEL_TYPES.append(MODEL_TYPE)
    return cli


def top_k_accuracy(output: torch.Tensor, target: torch.Tensor, topk: Sequence[int] = (1,)) -> list[float]:
    """The share of rows of ``output`` (N, C) whose class ``target`` (N,) is among the first k, for each k."""
    best = output.topk(max(topk), dim=1).indices
    return [(best[:, :k] == target[:, None]).any(dim=1).double().mean().item() for k in topk]


def open_clip_style(model: BenchmarkModel) -> "tuple[StoredClip, Callable[[Image.Image], torch.Tensor], TextNumbers]":
    """A checkpoint as open_clip hands over a model: ``(model, transform, tokenizer)``."""
    numbers = TextNumbers()
    return StoredClip(model, numbers), model.pixels, numbers


class TextNumbers:
    """The tokenizer: gives every text a number, by which :class:`StoredClip` finds it."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._number: dict[str, int] = {}

    def __call__(self, texts: str | Sequence[str], context_length: int | None = None) -> torch.Tensor:
        """(n,) int64, one number for each text, however long it is."""
        texts = [texts] if isinstance(texts, str) else texts
        for text in texts:
            if text not in self._number:
                self._number[text] = len(self.texts)
                self.texts.append(text)
        return torch.tensor([self._number[text] for text in texts], dtype=torch.int64)


class StoredClip(nn.Module):
    """The model: images through the tower, texts by their numbers from the store. Features are L2-normalised."""

    def __init__(self, model: BenchmarkModel, numbers: TextNumbers) -> None:
        super().__init__()
        self.tower = model.tower.model
        self._model, self._numbers = model, numbers

    def encode_image(self, image: torch.Tensor, normalize: bool = True) -> torch.Tensor:
        """(B, C, H, W) uint8 -> (B, E) float32."""
        return self._model.image_features(image)

    def encode_text(self, text: torch.Tensor, normalize: bool = True) -> torch.Tensor:
        """(n,) numbers of texts -> (n, E) float32. Raises: MissingKeysError: texts have no vector."""
        return self._model.text_features([self._numbers.texts[i] for i in text.tolist()]).to(text.device)

"""A small CLIP from scratch: stands in for pretrained weights where none can be downloaded.

The result is an ordinary ``transformers`` folder (model, tokenizer, image processor settings), used afterwards like
``openai/clip-vit-large-patch14``.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from store.common.errors import ConfigError
from store.common.files import write_json
from store.common.settings import Count, Few, Layers, PixelSize
from store.sources.shards import caption_at, iter_samples, load_json
from trainer.data.order import Source, generator
from trainer.data.samples import ShardSamples
from trainer.engine.master_weights import clamp_master
from trainer.images.transform import BrokenImageError, ImageTransform
from trainer.model.processor import processor_settings
from trainer.objectives.losses import INITIAL_LOGIT_SCALE, MAX_LOGIT_SCALE, bounded_logit_scale, contrastive
from trainer.run.stage import Stage
from trainer.settings.config import RunConfig, require

CONTEXT_LENGTH = 77
START, END = "<|startoftext|>", "<|endoftext|>"


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainConfig:
    """Train a small CLIP from scratch on image-caption shards; ends with a transformers folder at OUTPUT/clip.

    Example:
        deepspeed --num_gpus 2 --module trainer pretrain --output runs/clip --shards 'data/pretrain/*.tar'
            --caption-fields raw_caption shortSV_captions --batch-size 256 --epochs 20 --learning-rate 1e-3
    """

    run: RunConfig
    shards: tuple[str, ...]
    """Image shards: paths, globs, brace ranges or @FILE lists."""
    caption_fields: tuple[str, ...]
    """Paths into the samples' json; one is drawn at random for each sample and step."""
    keys: Path | None = None
    """Key list, one sample key a line: train on these samples only."""
    image_size: PixelSize = 64
    """Pixels; a multiple of patch_size."""
    patch_size: PixelSize = 8
    """Pixels."""
    width: Few = 192
    """Width of both towers; a multiple of 64, the width of an attention head."""
    image_layers: Layers = 4
    """Transformer layers of the image tower."""
    text_layers: Layers = 3
    """Transformer layers of the text tower."""
    joint_dim: Few = 128
    """Width of the joint space."""
    vocabulary: Count = 4096
    """Most tokens of the byte-pair vocabulary that is learnt from the captions."""
    min_crop: float = 0.8
    """Least area share of a training crop, in (0, 1]."""

    def __post_init__(self) -> None:
        require(self.image_size % self.patch_size == 0, "image_size", self.image_size, "a multiple of patch_size")
        require(self.width % 64 == 0, "width", self.width, "a multiple of 64")
        require(self.vocabulary >= 300, "vocabulary", self.vocabulary, "at least 300 (256 bytes and special tokens)")
        require(0 < self.min_crop <= 1, "min_crop", self.min_crop, "above 0 and at most 1")
        require(bool(self.caption_fields), "caption_fields", self.caption_fields, "at least one path into the json")


class ClipObjective(nn.Module):
    """InfoNCE between images and tokenised captions."""

    def __init__(self, clip: nn.Module, transform: ImageTransform) -> None:
        super().__init__()
        self.clip, self.transform = clip, transform
        del clip.logit_scale  # DeepSpeed takes no 0-dimensional parameter in bfloat16; put back when saving
        self.logit_scale = nn.Parameter(torch.full((1,), INITIAL_LOGIT_SCALE))

    def forward(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        clip: Any = self.clip
        pixels = self.transform.normalize(batch["image"]).to(clip.visual_projection.weight.dtype)
        image = clip.visual_projection(clip.vision_model(pixel_values=pixels).pooler_output)
        text_output = clip.text_model(input_ids=batch["tokens"], attention_mask=batch["mask"])
        text = clip.text_projection(text_output.pooler_output)
        loss = contrastive(F.normalize(image.float(), dim=-1), F.normalize(text.float(), dim=-1), self.logit_scale)
        return loss, {"loss": loss, "temperature": 1 / bounded_logit_scale(self.logit_scale.detach())}


class CaptionedData:
    """Images with tokenised captions of indexed shards."""

    def __init__(self, config: PretrainConfig, samples: ShardSamples, tokenizer: Any) -> None:
        self.config, self.samples, self.tokenizer = config, samples, tokenizer
        self.transform = ImageTransform(size=config.image_size, min_scale=config.min_crop)

    @property
    def sources(self) -> Sequence[Source]:
        return [self.samples.source("captioned")]

    def load(self, samples: np.ndarray, epoch: int, places: np.ndarray) -> dict[str, Any]:
        """``image`` (B, C, H, W) uint8, ``tokens`` and ``mask`` (B, T) int64, T the longest caption of the batch."""
        images, captions = [], []
        for sample, place in zip(samples.tolist(), places.tolist(), strict=True):
            random = generator(self.config.run.seed, 1, epoch, place)
            captions.append(self._caption(sample, random))
            try:
                images.append(self.transform.train(self.samples.image(sample), random))
            except BrokenImageError as error:
                raise self.samples.broken(sample, error) from error
        tokens = self.tokenizer(captions, padding=True, truncation=True, max_length=CONTEXT_LENGTH, return_tensors="pt")
        return {
            "image": torch.from_numpy(np.stack(images)),
            "tokens": tokens["input_ids"],
            "mask": tokens["attention_mask"],
        }

    def _caption(self, sample: int, random: np.random.Generator) -> str:
        content = self.samples.json(sample)
        texts = [text for field in self.config.caption_fields if (text := caption_at(content, field)) is not None]
        if not texts:
            raise ConfigError(f"{self.samples.where(sample)} has no caption in {', '.join(self.config.caption_fields)}")
        return texts[int(random.integers(len(texts)))]


class Pretrain(Stage):
    """A small CLIP from scratch."""

    name = "pretrain"

    def __init__(self, config: PretrainConfig) -> None:
        from transformers import CLIPModel

        self.config, samples = config, ShardSamples(config.shards, config.keys)
        self.tokenizer = _tokenizer(config, samples)
        self.data: CaptionedData = CaptionedData(config, samples, self.tokenizer)
        self._new_clip = lambda: CLIPModel(_clip_config(config, self.tokenizer))
        self.module = self.objective = ClipObjective(self._new_clip(), self.data.transform)
        self.info = {"left_out": samples.counts}

    def after_step(self, engine: Any) -> None:
        clamp_master(engine, self.objective.logit_scale, 0.0, MAX_LOGIT_SCALE)

    def finish(self, weights: dict[str, torch.Tensor]) -> None:
        """Write the transformers folder."""
        clip: Any = self._new_clip()
        state = {name.removeprefix("clip."): value for name, value in weights.items() if name.startswith("clip.")}
        state["logit_scale"] = weights["logit_scale"].reshape(())
        missing, unexpected = clip.load_state_dict(state, strict=False)
        assert not [*unexpected, *(name for name in missing if not name.endswith("position_ids"))]

        def save(folder: Path) -> None:
            clip.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
            write_json(folder / "preprocessor_config.json", processor_settings(self.data.transform))

        _replace_folder(self.config.run.output / "clip", save)


def _replace_folder(folder: Path, save: Callable[[Path], object]) -> None:
    """Fill a folder by ``save`` and move it to its place, where it replaces an older one."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    save(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.replace(folder)


def _clip_config(config: PretrainConfig, tokenizer: Any) -> Any:
    from transformers import CLIPConfig

    tower = {
        "hidden_size": config.width,
        "intermediate_size": 4 * config.width,
        "num_attention_heads": config.width // 64,
        "projection_dim": config.joint_dim,
    }
    text = tower | {f"{token}_token_id": getattr(tokenizer, f"{token}_token_id") for token in ("bos", "eos", "pad")}
    text |= {"num_hidden_layers": config.text_layers, "vocab_size": len(tokenizer)}
    text |= {"max_position_embeddings": CONTEXT_LENGTH}
    vision = tower | {"num_hidden_layers": config.image_layers}
    vision |= {"image_size": config.image_size, "patch_size": config.patch_size}
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=config.joint_dim)


def _tokenizer(config: PretrainConfig, samples: ShardSamples) -> Any:
    """The run's tokenizer; rank 0 learns it from the captions, the others load it."""
    from transformers import AutoTokenizer

    folder = config.run.output / "tokenizer"
    if dist.get_rank() == 0 and not (folder / "tokenizer_config.json").exists():
        _replace_folder(folder, learn_tokenizer(_captions(config, samples), config.vocabulary).save_pretrained)
    dist.barrier()
    return AutoTokenizer.from_pretrained(folder)


def _captions(config: PretrainConfig, samples: ShardSamples) -> Iterator[str]:
    used = {key.decode() for key in samples.keys}
    for shard in samples.shards:
        for key, members in iter_samples(shard, ["json"]):
            if key in used and "json" in members:
                content = load_json(members["json"], key, shard)
                yield from (text for field in config.caption_fields if (text := caption_at(content, field)))


def learn_tokenizer(captions: Iterator[str], vocabulary: int) -> Any:
    """A byte-pair tokenizer of at most ``vocabulary`` tokens, as CLIP's: lower case, start and end tokens."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    ids = [(token, tokenizer.token_to_id(token)) for token in (START, END)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        unk_token=END,
        model_max_length=CONTEXT_LENGTH,
    )

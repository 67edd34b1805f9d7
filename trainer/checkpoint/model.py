"""CLIP with the weights of a checkpoint, for evaluation and export."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from store.common.errors import CheckpointError, ConfigError
from trainer.checkpoint.folder import entry, find_checkpoint, read_checkpoint_info, read_tensors
from trainer.data.join import Join
from trainer.model.adapter import Adapter, restored_adapter
from trainer.model.identity import require_own_features, require_teacher, require_tower
from trainer.model.lora import Lora, merge_lora
from trainer.model.tower_base import Tower
from trainer.model.towers import load_image_tower


@dataclass(frozen=True, slots=True)
class Model:
    """An image tower and its text side.

    Attributes:
        tower: image tower, in evaluation mode.
        adapter: maps caption vectors to the joint space; None for CLIP itself, whose text features are stored.
        checkpoint: the source of the weights; None for CLIP itself.
        embedder: the model of the vectors that the adapter was trained on; None for CLIP itself.
        clip: the CLIP whose text space is checked, a folder or hub id; empty where it is not.
    """

    tower: Tower
    adapter: Adapter | None
    checkpoint: Path | None
    embedder: dict[str, str] | None
    clip: str = ""

    def original(self) -> "Model":
        """The same image tower with CLIP's own text features, for the drift probe."""
        return Model(self.tower, None, None, None, self.clip)

    def require_fit(self, join: Join) -> None:
        """Raises: ConfigError: the join's vectors are of another model than the text side takes, or not as wide."""
        if self.embedder is not None:
            join.require_made_by(self.embedder, f"the adapter of {str(self.checkpoint)!r}")
        elif join.dim != self.tower.dim:
            raise ConfigError(
                f"field {join.fields[0]!r} of store {str(join.path)!r} is {join.dim} wide, the image features are "
                f"{self.tower.dim}; name a field of this CLIP's own text features"
            )
        else:
            require_own_features(self.clip, join.made_by, f"field {join.fields[0]!r} of store {str(join.path)!r}")


def load_model(clip: str, checkpoint: Path | None, check_clip: bool = True) -> Model:
    """CLIP itself, or CLIP with the weights of a stage 1 or stage 2 checkpoint, LoRA merged.

    ``check_clip`` says whether the text space of another CLIP is refused, here and by :meth:`Model.require_fit`.

    Raises:
        CheckpointError: no checkpoint there, of another stage, or made with a CLIP of another shape.
        ConfigError: made with a CLIP of other weights.
    """
    checked = clip if check_clip else ""
    if checkpoint is None:
        return Model(_frozen(load_image_tower(clip)), None, None, None, checked)
    folder = find_checkpoint(checkpoint)
    info, weights, what = read_checkpoint_info(folder), read_tensors(folder, "model"), f"checkpoint {str(folder)!r}"
    if (stage := entry(info, "stage", folder)) not in ("stage1", "stage2"):
        raise CheckpointError(f"{str(folder)!r} is a checkpoint of {stage}; expected stage1 or stage2")
    adapter = restored_adapter(entry(info, "adapter", folder), _part(weights, "adapter."), what)
    embedder = entry(info, "embedder", folder)
    require_teacher(checked, info.get("teacher"), f"the adapter of {str(folder)!r}")
    require_tower(clip, info.get("clip_revision"), f"the {what}")
    tower = _frozen(load_image_tower(clip))
    if adapter.projection.out_features != tower.dim:
        raise CheckpointError(
            f"the adapter of {str(folder)!r} ends in {adapter.projection.out_features} dimensions, CLIP {clip!r} in "
            f"{tower.dim}; give the CLIP that it was trained with"
        )
    lora: Any = info.get("lora")
    if image := _part(weights, "image."):
        try:
            if lora is None:
                tower.model.load_state_dict(image)
            else:
                merge_lora(tower.model, image, Lora.from_dict(lora))
        except (RuntimeError, CheckpointError) as error:
            reason = " ".join(str(error).split())[:300]  # torch names every weight, a line each
            raise CheckpointError(f"the image tower of {str(folder)!r} does not fit CLIP {clip!r}: {reason}") from error
    return Model(tower, adapter, folder, embedder, checked)


def _frozen(tower: Tower) -> Tower:
    tower.model.eval().requires_grad_(False)
    return tower


def _part(weights: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}

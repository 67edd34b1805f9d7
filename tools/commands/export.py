"""``keyclip export``: a checkpoint as a transformers folder, or its adapter under LLM2CLIP's names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from safetensors.torch import save

from store.common.outputs import Kind, Outputs
from trainer.checkpoint.export import export_folder
from trainer.checkpoint.llm2clip import to_llm2clip
from trainer.checkpoint.model import load_model


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Export a checkpoint of stage 1 or stage 2 for use elsewhere.

    huggingface: a folder with the image tower (LoRA merged) for from_pretrained of CLIPVisionModelWithProjection,
    SiglipVisionModel or Siglip2VisionModel, the image processor's settings, the adapter as safetensors, and its shape
    and embedder as json. llm2clip: one safetensors file with the adapter under the names that LLM2CLIP and ProCLIP give
    it (text.text_adaptor.*); keyclip import adapter is the way back.

    Example:
        keyclip export --clip openai/clip-vit-large-patch14 --checkpoint runs/proclip --output proclip-vitl14
    """

    clip: str
    """The CLIP or SigLIP that was tuned: a folder or hub id, or a name of open_clip's."""
    checkpoint: Path
    """Run or checkpoint of stage 1 or stage 2."""
    output: Path
    """Folder (huggingface) or file (llm2clip) to write; must not exist."""
    layout: Literal["huggingface", "llm2clip"] = "huggingface"
    """What to write."""
    check_clip: bool = True
    """Refuse a CLIP whose text space is not the one that the checkpoint was trained for."""


def run(config: Config) -> None:
    """Write the export."""
    if config.layout == "huggingface":
        export_folder(config.clip, config.checkpoint, config.output, config.check_clip)
    else:
        with Outputs([config.clip, config.checkpoint]) as outputs:
            part = outputs.claim(config.output, Kind(name="an adapter"))
            adapter = load_model(config.clip, config.checkpoint, config.check_clip).adapter
            assert adapter is not None
            part.write_bytes(save(to_llm2clip(adapter), metadata={"format": "pt"}))
    print(f"exported to {config.output}")

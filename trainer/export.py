"""A trained model as files that others read: a transformers folder with the adapter beside it, or LLM2CLIP's keys.

OUTPUT/config.json, model.safetensors     the image tower, for CLIPVisionModelWithProjection.from_pretrained
OUTPUT/preprocessor_config.json           the image processor's settings
OUTPUT/adapter.safetensors                the MLP's weights
OUTPUT/keyclip.json                       the MLP's shape, and the embedder whose vectors it takes
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from store.errors import CheckpointError, ConfigError
from trainer.adapter import Adapter
from trainer.evaluate import load_model
from trainer.processor import processor_settings
from trainer.run_folder import write_json

FORMAT = "keyclip-export/1"
PREFIX = "text.text_adaptor."


def export_folder(clip: str, checkpoint: Path, output: Path) -> None:
    """Write the folder described above, whole or not at all.

    Raises:
        ConfigError: the output exists, or ``clip`` cannot be loaded.
        CheckpointError: ``checkpoint`` is none, or does not fit ``clip``.
    """
    if output.exists():
        raise ConfigError(f"{str(output)!r} exists; an export never overwrites, give another --output")
    model = load_model(clip, checkpoint)
    assert model.adapter is not None
    temporary = output.with_name(f".{output.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.tower.model.save(temporary)
    write_json(temporary / "preprocessor_config.json", processor_settings(model.tower.transform))
    save_file(model.adapter.state_dict(), temporary / "adapter.safetensors", metadata={"format": "pt"})
    about = {"format": FORMAT, "adapter": shape_of(model.adapter), "embedder": model.embedder, "clip": clip}
    write_json(temporary / "keyclip.json", about)
    temporary.replace(output)


def load_adapter(folder: Path | str) -> Adapter:
    """The adapter of an exported folder, ready to map caption vectors (n, D) to joint features (n, E).

    Raises:
        CheckpointError: no export there, or of a format that this version does not read.
    """
    try:
        about = json.loads((Path(folder) / "keyclip.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{str(folder)!r} is no export: {error}; make one with `keyclip export`") from error
    if about.get("format") != FORMAT:
        raise CheckpointError(f"{str(folder)!r} is of format {about.get('format')!r}; this version reads {FORMAT!r}")
    adapter = Adapter(**about["adapter"])
    adapter.load_state_dict(load_file(Path(folder) / "adapter.safetensors"))
    return adapter.eval().requires_grad_(False)


def shape_of(adapter: Adapter) -> dict[str, int]:
    """The arguments that make an adapter of this shape."""
    expansion = 1
    for block in adapter.blocks:
        expansion = int(block.up.out_features) // int(block.up.in_features)  # type: ignore[union-attr, arg-type]
    linear = adapter.projection
    return {
        "dim_in": linear.in_features,
        "dim_out": linear.out_features,
        "num_blocks": len(adapter.blocks),
        "expansion": expansion,
    }


def to_llm2clip(adapter: Adapter) -> dict[str, torch.Tensor]:
    """The adapter's weights under the names that LLM2CLIP and ProCLIP give them, ``text.text_adaptor.*``.

    There the MLP is one sequence: blocks of ``ln`` and ``fn`` (Linear, GELU, Dropout, Linear), LayerNorm, Linear.
    """
    return {_theirs(name, len(adapter.blocks)): value for name, value in adapter.state_dict().items()}


def from_llm2clip(weights: dict[str, torch.Tensor]) -> Adapter:
    """The adapter in a state dict with LLM2CLIP's or ProCLIP's names; other weights in it are left alone.

    Raises:
        CheckpointError: there is no such adapter in it.
    """
    theirs = {name.removeprefix("module."): value for name, value in weights.items()}
    theirs = {name: value for name, value in theirs.items() if name.startswith(PREFIX)}
    blocks = {int(name.removeprefix(PREFIX).split(".")[0]) for name in theirs if ".fn.0.weight" in name}
    last = theirs.get(f"{PREFIX}{len(blocks) + 1}.weight")
    if last is None or blocks != set(range(len(blocks))):
        raise CheckpointError(f"no adapter of the form {PREFIX}* is among the {len(weights)} weights")
    dim_out, dim_in = last.shape
    expansion = theirs[f"{PREFIX}0.fn.0.weight"].shape[0] // dim_in if blocks else 1
    adapter = Adapter(dim_in, dim_out, len(blocks), expansion)
    try:
        ours = {name: theirs[_theirs(name, len(blocks))].float() for name in adapter.state_dict()}
        adapter.load_state_dict(ours)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"the adapter {PREFIX}* is not complete: {error}") from error
    return adapter


def _theirs(name: str, num_blocks: int) -> str:
    first, _, rest = name.partition(".")
    if first == "blocks":
        number, layer, kind = rest.split(".")
        return f"{PREFIX}{number}.{ {'norm': 'ln', 'up': 'fn.0', 'down': 'fn.3'}[layer] }.{kind}"
    return f"{PREFIX}{num_blocks + (first == 'projection')}.{rest}"

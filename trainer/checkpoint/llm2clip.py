"""Adapters under the names of LLM2CLIP and ProCLIP, ``text.text_adaptor.*``: export and import.

There the MLP is one sequence: blocks of ``ln`` and ``fn`` (Linear, GELU, Dropout, Linear), LayerNorm, Linear.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from store.common.errors import CheckpointError, ConfigError
from trainer.checkpoint.export import make_output
from trainer.checkpoint.folder import save_checkpoint
from trainer.model.adapter import Adapter, AdapterShape

MARK = "text_adaptor."
PREFIX = f"text.{MARK}"
_LAYERS = {"norm": "ln", "up": "fn.0", "down": "fn.3"}


def to_llm2clip(adapter: Adapter) -> dict[str, torch.Tensor]:
    """The adapter's weights under the names that LLM2CLIP and ProCLIP give them."""
    return {_theirs(name, len(adapter.blocks)): value for name, value in adapter.state_dict().items()}


def from_llm2clip(weights: dict[str, torch.Tensor]) -> Adapter:
    """The adapter in a state dict with LLM2CLIP's or ProCLIP's names, also after a wrapper's prefix.

    Other weights in it are ignored.

    Raises: CheckpointError: there is no such adapter in it.
    """
    theirs = {
        PREFIX + rest: value for name, value in weights.items() for _, mark, rest in [name.partition(MARK)] if mark
    }
    blocks = {int(name.removeprefix(PREFIX).split(".")[0]) for name in theirs if ".fn.0.weight" in name}
    last = theirs.get(f"{PREFIX}{len(blocks) + 1}.weight")
    if last is None or blocks != set(range(len(blocks))):
        raise CheckpointError(f"no adapter of the form {PREFIX}* is among the {len(weights)} weights")
    dim_out, dim_in = last.shape
    expansion = theirs[f"{PREFIX}0.fn.0.weight"].shape[0] // dim_in if blocks else 1
    adapter = Adapter(dim_in, dim_out, len(blocks), expansion)
    try:
        adapter.load_state_dict({name: theirs[_theirs(name, len(blocks))].float() for name in adapter.state_dict()})
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"the adapter {PREFIX}* is not complete: {error}") from error
    return adapter


def _theirs(name: str, num_blocks: int) -> str:
    first, _, rest = name.partition(".")
    if first == "blocks":
        number, layer, kind = rest.split(".")
        return f"{PREFIX}{number}.{_LAYERS[layer]}.{kind}"
    return f"{PREFIX}{num_blocks + (first == 'projection')}.{rest}"


def import_adapter(file: Path, embedder: dict[str, str], output: Path, dim_in: int) -> AdapterShape:
    """Write a released adapter as a run of stage 1, for ``--stage1`` and ``--checkpoint``; returns its shape.

    ``embedder`` describes the model of the vectors that it takes, as ``Join.made_by``; they are ``dim_in`` wide.

    Raises:
        ConfigError: the output exists, or the adapter takes vectors of another width.
        CheckpointError: the file cannot be read safely, or holds no such adapter.
        StoreFullError: no space left on the disk.
    """
    adapter = None

    def fill(folder: Path) -> None:
        nonlocal adapter
        adapter = from_llm2clip(read_weights(file))
        if adapter.shape["dim_in"] != dim_in:
            raise ConfigError(
                f"the adapter of {str(file)!r} takes vectors of {adapter.shape['dim_in']} dimensions, the vectors of "
                f"{embedder['model']!r} have {dim_in}; name a field of the embedder that it was trained with"
            )
        weights = {f"adapter.{name}": value for name, value in adapter.state_dict().items()}
        info = {"stage": "stage1", "step": 0, "finished": True, "adapter": adapter.shape, "embedder": embedder}
        info |= {"teacher": None, "imported_from": file.name}
        save_checkpoint(folder, {"model": weights}, info, keep=1)

    make_output(output, fill, "an import")
    assert adapter is not None
    return adapter.shape


def read_weights(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, or of a PyTorch file that needs no code to load.

    PyTorch files may hold them under ``state_dict``, ``model`` or ``module``, as training scripts write them.

    Raises: CheckpointError: the file cannot be read, or would run code.
    """
    if not file.is_file():
        raise CheckpointError(f"{str(file)!r} cannot be read as weights: it is not a file")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        loaded: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # errors of files, and what torch raises for a file that would run code
        reason = str(error).split("\n")[0]
        raise CheckpointError(
            f"{str(file)!r} cannot be read as weights: {reason}; only tensors are taken, as safetensors or .pt"
        ) from error
    for name in ("state_dict", "model", "module"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(name), Mapping):
            loaded = loaded[name]
    tensors = loaded.items() if isinstance(loaded, Mapping) else ()
    return {name: value for name, value in tensors if isinstance(value, torch.Tensor)}

"""A trained model as a folder that others read: the image tower for its library, and the adapter.

OUTPUT/config.json, model.safetensors     the image tower, LoRA merged, for ``from_pretrained`` of its class
OUTPUT/preprocessor_config.json           the image processor's settings
OUTPUT/adapter.safetensors                the MLP's weights
OUTPUT/keyclip.json                       the MLP's shape, the embedder whose vectors it takes, the tower's class

The folder can be given as ``--clip`` too.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from store.common.checked import InvalidDataError, read_json
from store.common.errors import CheckpointError, ConfigError
from store.common.files import make_folder, write_json
from trainer.checkpoint.model import load_model
from trainer.model.adapter import Adapter, restored_adapter

FORMAT = "keyclip-export/1"


def export_folder(clip: str, checkpoint: Path, output: Path, check_clip: bool = True) -> None:
    """Write the folder described above, whole or not at all; for ``check_clip`` see :func:`load_model`.

    Raises:
        ConfigError: the output exists, or ``clip`` cannot be loaded.
        CheckpointError: ``checkpoint`` is none, or does not fit ``clip``.
        StoreFullError: no space left on the disk.
    """
    make_output(output, lambda folder: _fill(folder, clip, checkpoint, check_clip), "an export")


def make_output(output: Path, fill: Callable[[Path], object], what: str) -> None:
    """Make a new folder, whole or not at all. Raises: ConfigError: it exists; StoreFullError: no space left."""
    if not os.path.lexists(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        if make_folder(output, fill):
            return
    raise ConfigError(f"{str(output)!r} exists; {what} never overwrites, give another --output")


def _fill(folder: Path, clip: str, checkpoint: Path, check_clip: bool) -> None:
    model = load_model(clip, checkpoint, check_clip)
    assert model.adapter is not None
    model.tower.save(folder)
    save_file(model.adapter.state_dict(), folder / "adapter.safetensors", metadata={"format": "pt"})
    about = {
        "format": FORMAT,
        "adapter": model.adapter.shape,
        "embedder": model.embedder,
        "clip": clip,
        "tower": type(model.tower.model.vision).__name__,
    }
    write_json(folder / "keyclip.json", about)


def load_adapter(folder: Path | str) -> Adapter:
    """The adapter of an exported folder, ready to map caption vectors (n, D) to joint features (n, E).

    Raises: CheckpointError: no export there, or of a format that this version does not read.
    """
    what = f"export {str(folder)!r}"
    try:
        about = read_json(Path(folder) / "keyclip.json", dict[str, Any], "the export", "make one with `keyclip export`")
        weights = load_file(Path(folder) / "adapter.safetensors")
    except InvalidDataError as error:
        raise CheckpointError(str(error)) from error
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"adapter.safetensors of {what} cannot be read: {error}; export again") from error
    if about.get("format") != FORMAT:
        raise CheckpointError(f"{str(folder)!r} is of format {about.get('format')!r}; this version reads {FORMAT!r}")
    return restored_adapter(about.get("adapter"), weights, what)

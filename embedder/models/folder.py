"""A model's folder: where it is, which kind of model it holds, and what its settings files say."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from store.common.checked import read_json
from store.common.errors import ConfigError, KeyclipError, first_line
from store.common.fingerprint import fingerprint
from store.core.spec import Kind

T = TypeVar("T")

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
CLIP_TYPES = ("clip", "clip_text_model")
SIGLIP_TYPES = ("siglip", "siglip_text_model", "siglip2", "siglip2_text_model")
_NEEDED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model", "*.jinja"]
_NOT_NEEDED = ["onnx/*", "openvino/*", "original/*", "consolidated*"]


@dataclass(frozen=True)
class ModelFolder:
    """A local folder with a model that transformers loads."""

    path: Path
    model: str
    """Hub id, or the folder's name: the model's name in a field's spec."""
    commit: str | None
    """The hub's commit of this snapshot; None for a folder of the user's own."""

    @property
    def short_name(self) -> str:
        """The name without its owner: the default prefix of field names."""
        return self.model.rsplit("/", 1)[-1]

    @cached_property
    def revision(self) -> str:
        """The hub's commit, else a fingerprint of weights and tokenizer."""
        return self.commit or fingerprint(self.path)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The folder's ``config.json``. Raises: ConfigError: there is none."""
        config = self.settings("config.json", dict[str, Any])
        if config is None or not isinstance(config.get("model_type"), str):
            raise ConfigError(
                f"{str(self.path)!r} holds no config.json with a model_type; give a folder that transformers can load"
            )
        return config

    def settings(self, name: str, expected: type[T]) -> T | None:
        """A json file of the folder, or None where it is absent. Raises: InvalidDataError: it is not ``expected``."""
        file = self.path / name
        remedy = "fetch or save the model again"
        return read_json(file, expected, "the model's file", remedy) if file.is_file() else None

    def check_weights(self) -> None:
        """Read the headers of the folder's safetensors. Raises: ConfigError: a file is damaged or was cut short."""
        from safetensors import safe_open

        for file in sorted(self.path.glob("*.safetensors")):
            with self.loading(file.name), safe_open(file, "pt"):
                pass

    @contextmanager
    def loading(self, files: str) -> Iterator[None]:
        """Whatever the libraries raise about damaged files becomes one sentence that names ``files``.

        Raises:
            ConfigError: in the place of any other exception; errors of keyclip pass.
        """
        try:
            yield
        except (KeyclipError, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:
            raise ConfigError(
                f"model {self.model!r} in {str(self.path)!r} cannot be loaded from its {files}: {first_line(error)}; "
                "fetch or save the model again"
            ) from error

    def kind(self) -> Kind:
        """What its own files say: CLIP, SigLIP, a sentence-transformers folder, an encoder or a decoder LLM."""
        model_type = self.config["model_type"]
        if model_type in CLIP_TYPES + SIGLIP_TYPES:
            return "clip-text"
        if (self.path / "modules.json").is_file():
            return "sentence"
        from transformers.models.auto import modeling_auto

        is_decoder = model_type in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        is_encoder = model_type in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
        return "llm" if is_decoder and not is_encoder else "sentence"

    def is_siglip(self) -> bool:
        """Whether it holds a SigLIP or SigLIP2, or the text tower of one."""
        return self.config["model_type"] in SIGLIP_TYPES


def find_model(model: str, revision: str | None = None, with_code: bool = False, at_hand: bool = False) -> ModelFolder:
    """The folder of ``model``: a local path, else a hub id, downloaded (without code files) into the hub's cache.

    ``at_hand``: take what the cache has, and download nothing.

    Raises:
        ConfigError: neither a folder nor a model that the hub (or its cache, offline) has.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return ModelFolder(path, _folder_name(path.resolve()), None)
    if not _HUB_ID.fullmatch(model):
        raise ConfigError(f"no such model folder: {model!r}; give a folder or a hub id such as 'owner/name'")
    import huggingface_hub

    try:
        snapshot = huggingface_hub.snapshot_download(
            model,
            revision=revision,
            allow_patterns=[*_NEEDED, "*.py"] if with_code else _NEEDED,
            ignore_patterns=_NOT_NEEDED,
            local_files_only=at_hand,
        )
    except Exception as error:  # the hub's client raises errors of several libraries
        raise ConfigError(
            f"model {model!r} is neither a folder nor available from the hub: {first_line(error)}"
        ) from error
    return ModelFolder(Path(snapshot), model, Path(snapshot).name)


def _folder_name(path: Path) -> str:
    """The telling name: ``models--openai--clip/snapshots/1a2b...`` -> ``clip``, ``minilm/model`` -> ``minilm``."""
    for name in (path.name, *(p.name for p in path.parents)):
        if name.startswith("models--"):
            return name.rsplit("--", 1)[-1]
        if name not in ("model", "snapshots", "") and not re.fullmatch("[0-9a-f]{40}", name):
            return name
    return "model"

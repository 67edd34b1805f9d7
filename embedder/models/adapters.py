"""PEFT adapters (LoRA and its kin), merged into the weights so that they cost nothing at run time."""

import warnings
from typing import Any

from embedder.models.folder import ModelFolder
from store.common.errors import ConfigError


def merge_adapter(model: Any, adapter: ModelFolder) -> Any:
    """The model with the adapter's weights added to its own.

    Adapters trained on a model with a language-model head name their weights one level deeper; both fit.

    Raises:
        ConfigError: peft is not installed, the folder holds no safetensors adapter, or weights of it find no place.
    """
    try:
        import peft
    except ImportError as error:
        raise ConfigError("--adapters needs the package peft; install keyclip[llm]") from error
    from safetensors.torch import load_file

    file = adapter.path / "adapter_model.safetensors"
    if not file.is_file() or adapter.settings("adapter_config.json", dict[str, Any]) is None:
        raise ConfigError(
            f"{str(adapter.path)!r} is not a PEFT adapter: expected adapter_config.json and adapter_model.safetensors"
        )
    with adapter.loading("adapter_config.json and adapter_model.safetensors"):
        config = peft.PeftConfig.from_pretrained(str(adapter.path))
        config.inference_mode = True
        with warnings.catch_warnings():  # peft asks for attributes that transformers is renaming
            warnings.simplefilter("ignore", FutureWarning)
            wrapped = peft.get_peft_model(model, config)
        weights = load_file(file)
    deeper = "base_model.model.model."
    if all(name.startswith(deeper) for name in weights):
        weights = {"base_model.model." + name.removeprefix(deeper): value for name, value in weights.items()}
    outcome: Any = peft.set_peft_model_state_dict(wrapped, weights)
    absent = [name for name in outcome.missing_keys if "lora_" in name or "modules_to_save" in name]
    if outcome.unexpected_keys or absent:
        wrong = (outcome.unexpected_keys or absent)[0]
        raise ConfigError(f"adapter {adapter.model!r} does not fit the model: no match for {wrong!r}")
    return wrapped.merge_and_unload()

"""Which model makes the vectors, and what may be changed of what its own files say."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from embedder.text import CAPTION
from store.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Which model, and what to change of what its own files say (None: nothing)."""

    model: str
    """Folder or hub id."""
    kind: Literal["auto", "sentence", "clip-text", "llm"] = "auto"
    revision: str | None = None
    template: str | None = None
    """Text around the caption, holding ``{caption}`` once."""
    instruction: str | None = None
    """Text right before the caption, such as ``"Instruct: retrieve the image\\nQuery: "``."""
    pooling: str | None = None
    normalize: bool | None = None
    max_length: int | None = None
    """Tokens, template included."""
    batch_tokens: int | None = None
    device: str = "auto"
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    attention: Literal["auto", "bidirectional", "causal"] = "auto"
    """Which tokens a decoder LLM sees; ``auto`` is bidirectional, as in LLM2Vec."""
    adapters: tuple[str, ...] = ()
    """Folders or hub ids of PEFT adapters, merged into the weights one after another."""
    trust_remote_code: bool = False

    @classmethod
    def of(cls, config: Any) -> "ModelOptions":
        """The options that a command's config holds under the same names."""
        return cls(**{field.name: getattr(config, field.name) for field in dataclasses.fields(cls)})

    def length(self, limit: int, default: int | None = None) -> int:
        """The tokens a caption may have, for a model that takes ``limit``.

        Raises:
            ConfigError: ``max_length`` is more than that.
        """
        if self.max_length is not None and not 1 <= self.max_length <= limit:
            raise ConfigError(f"--max-length {self.max_length} does not fit the model, which takes 1 to {limit} tokens")
        return self.max_length or min(default or limit, limit)

    def frame(self, default: str = CAPTION) -> str:
        """The template around the caption, instruction included."""
        template = default if self.template is None else self.template
        return template if self.instruction is None else template.replace(CAPTION, self.instruction + CAPTION)

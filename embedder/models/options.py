"""Which model makes the vectors, and what to change of what its own files say."""

from dataclasses import dataclass
from typing import Literal

from store.common.errors import ConfigError
from store.common.settings import Count, Few

CAPTION = "{caption}"
"""Place of the caption in a template; alone, the template that adds nothing."""

Pooling = Literal["mean", "mean-text", "last", "cls", "max"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Which model, and what to change of what its own files say (None: nothing)."""

    model: str
    """Folder or hub id of the model: a sentence encoder, a decoder LLM, or a CLIP or SigLIP (its text tower)."""
    kind: Literal["auto", "sentence", "clip-text", "llm"] = "auto"
    """Kind of model; auto asks the model's own files."""
    revision: str | None = None
    """Commit, tag or branch of a hub id."""
    template: str | None = None
    """Text around the caption, with {caption} in it. Default: the model's own."""
    instruction: str | None = None
    """Text right before the caption, such as 'Query: '; not pooled over by mean-text."""
    pooling: Pooling | None = None
    """How token states become a vector. Default: the model's own."""
    normalize: bool | None = None
    """Scale vectors to length 1. Default: as the model's folder says, else no."""
    max_length: Few | None = None
    """Tokens a caption may have, template included. Default: the model's own limit."""
    batch_tokens: Count | None = None
    """Tokens of one forward pass, padding included. Default: 1024 on a CPU, 32768 on a GPU."""
    attention: Literal["auto", "bidirectional", "causal"] = "auto"
    """Which tokens a decoder LLM sees. auto: bidirectional, as in LLM2Vec."""
    adapters: tuple[str, ...] = ()
    """PEFT adapters of a decoder LLM, merged in this order: folders or hub ids."""
    device: str = "auto"
    """cuda, cuda:1, mps or cpu."""
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the model. auto: bfloat16 on CUDA, else float32."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Only for models whose code you have read."""

    def length(self, limit: int, default: int | None = None) -> int:
        """The tokens a caption may have, for a model that takes ``limit``. Raises: ConfigError: more were asked for."""
        if self.max_length is not None and self.max_length > limit:
            raise ConfigError(f"--max-length {self.max_length} does not fit the model, which takes 1 to {limit} tokens")
        return self.max_length or min(default or limit, limit)

    def frame(self, default: str = CAPTION) -> str:
        """The template around the caption, instruction included."""
        template = default if self.template is None else self.template
        return template if self.instruction is None else template.replace(CAPTION, self.instruction + CAPTION)

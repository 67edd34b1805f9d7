"""The tokenizers of SigLIP and SigLIP2.

Their text towers were trained on lower-cased captions padded to the tower's whole length (64 tokens), without an
attention mask: the pooled output is that of the last position, padding or not.
"""

import re
import string
from typing import Any

from tokenizers import Regex, normalizers

from embedder.models.folder import ModelFolder
from store.common.errors import ConfigError


def load_siglip_tokenizer(folder: ModelFolder) -> Any:
    """The tokenizer of ``tokenizer.json``; transformers' own for SigLIP is a slow one, in need of SentencePiece.

    SigLIP (not SigLIP2, whose tokenizer is Gemma's) takes captions without punctuation.

    Raises:
        ConfigError: the folder has no ``tokenizer.json``.
    """
    import transformers

    if not (folder.path / "tokenizer.json").is_file():
        raise ConfigError(f"model {folder.model!r} has no tokenizer.json; save it with a fast tokenizer")
    settings = folder.settings("tokenizer_config.json", dict[str, Any]) or {}
    if settings.get("tokenizer_class") != "SiglipTokenizer":
        return transformers.AutoTokenizer.from_pretrained(folder.path)
    names = ("unk_token", "eos_token", "pad_token")
    tokens = {name: token for name in names if (token := _text(settings.get(name)))}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder.path / "tokenizer.json"),
        padding_side=settings.get("padding_side", "right"),
        **{"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"} | tokens,
    )
    backend = tokenizer.backend_tokenizer
    steps = [
        normalizers.Replace(Regex(f"[{re.escape(string.punctuation)}]"), ""),
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Strip(),
    ]
    backend.normalizer = normalizers.Sequence([*steps, *([backend.normalizer] if backend.normalizer else [])])
    return tokenizer


def _text(token: Any) -> str | None:
    """A special token as the settings file writes it: text, or a mapping with its content."""
    return token.get("content") if isinstance(token, dict) else token

"""What a caption may look like before it reaches a tokenizer, and the template that is laid around it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from store.common.errors import ConfigError

CAPTION = "{caption}"

_LONE_SURROGATES = re.compile("[\ud800-\udfff]")


def clean(caption: str, keep_leading: bool = False) -> str:
    """The caption as a tokenizer can take it: no surrounding blanks, no half surrogate pairs (U+FFFD instead).

    Half pairs come from json such as ``"\\ud83d"``; they have no UTF-8 form and tokenizers raise on them.
    ``keep_leading`` keeps blanks at the start.
    """
    whole = _LONE_SURROGATES.sub("\ufffd", caption)
    return whole.rstrip() if keep_leading else whole.strip()


@dataclass(frozen=True, slots=True)
class Template:
    """The text around a caption, cut at the special tokens.

    Special tokens are read as such in the template but never in the caption, so the template is tokenised in
    three parts: ``head`` (up to its last special token), the plain text ``before`` + caption + ``after``, which
    must be tokenised together because tokenizers merge across the borders, and ``tail`` (from the first special
    token after the caption).
    """

    head: str
    before: str
    after: str
    tail: str

    @classmethod
    def parse(cls, template: str, special_tokens: Sequence[str]) -> "Template":
        """Cut a template such as ``"<|user|>{caption}<|end|>"``.

        Raises:
            ConfigError: the template does not hold ``{caption}`` exactly once.
        """
        if template.count(CAPTION) != 1:
            raise ConfigError(f"template {template!r} must hold {CAPTION} exactly once")
        left, right = template.split(CAPTION)
        head_end = max((m.end() for m in _find(special_tokens, left)), default=0)
        tail_start = min((m.start() for m in _find(special_tokens, right)), default=len(right))
        return cls(left[:head_end], left[head_end:], right[:tail_start], right[tail_start:])


def _find(special_tokens: Sequence[str], text: str) -> list[re.Match[str]]:
    if not special_tokens:
        return []
    longest_first = sorted(special_tokens, key=len, reverse=True)
    return list(re.finditer("|".join(map(re.escape, longest_first)), text))

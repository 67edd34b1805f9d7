"""Captions to token ids: special tokens only from the template, never from a caption; truncation counted."""

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from embedder.models.options import CAPTION
from store.common.errors import ConfigError

# No vocabulary in use has longer tokens, so a caption cut to this many characters per token was too long anyway.
_MAX_CHARACTERS_PER_TOKEN = 256
_AMPLE_ROOM = 1 << 20
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Tokens:
    """One caption, ready for the model."""

    ids: NDArray[np.int64]
    """(L,) token ids, template and special tokens included."""
    start: int
    """Position of the first token that ``mean-text`` pools: the caption's first; the template before it is left out."""
    truncated: bool
    """Whether the caption was cut to fit the model."""


@dataclass(frozen=True, slots=True)
class Template:
    """The text around a caption, cut at the special tokens.

    Special tokens are read as such in the template but never in the caption, so the template is tokenised in three
    parts: ``head`` (up to its last special token), the plain text ``before`` + caption + ``after``, which must be
    tokenised together because tokenizers merge across the borders, and ``tail`` (from the first special token after
    the caption).
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
        special = re.compile("|".join(map(re.escape, sorted(special_tokens, key=len, reverse=True))) or "(?!)")
        head_end = max((m.end() for m in special.finditer(left)), default=0)
        tail_start = min((m.start() for m in special.finditer(right)), default=len(right))
        return cls(left[:head_end], left[head_end:], right[:tail_start], right[tail_start:])


def clean(caption: str, keep_leading: bool = False) -> str:
    """The caption as a tokenizer can take it: no surrounding blanks, no half surrogate pairs (U+FFFD instead).

    Half pairs come from json such as ``"\\ud83d"``; they have no UTF-8 form and tokenizers raise on them.
    ``keep_leading`` keeps blanks at the start.
    """
    whole = _LONE_SURROGATES.sub("\ufffd", caption)
    return whole.rstrip() if keep_leading else whole.strip()


class CaptionTokenizer:
    """Tokenises captions for one model. Threads may share it.

    ``tokenizer`` is a fast tokenizer of transformers; ``template`` holds ``{caption}`` once; ``max_length`` counts
    all tokens, template included. A caption that does not fit loses its last tokens; the template stays whole.

    ``like_llm2vec`` repeats what LLM2Vec (``llm2vec.LLM2Vec.encode`` with ``doc_max_length`` = ``max_length``) makes of
    unusual captions, since published vectors were made so:

    - Blanks at a caption's start are kept.
    - A text that does not fit is cut at its right end, which takes the template's closing tokens first.
    - The pooled tokens are counted on caption and closing tokens alone, then taken from the right, so that in a text
      that was cut they reach into the template.

    One difference stays: special tokens that a caption spells out are plain text here; LLM2Vec reads them as special.

    Raises:
        ConfigError: a slow tokenizer, a template that this tokenizer does not keep apart from the caption, or a
            template that leaves no room for a caption.
    """

    def __init__(
        self,
        tokenizer: Any,
        template: str,
        max_length: int,
        lower_case: bool = False,
        like_llm2vec: bool = False,
    ) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise ConfigError(
                f"the model's tokenizer ({type(tokenizer).__name__}) is not a fast one; save it with a tokenizer.json"
            )
        self.max_length = max_length
        self._lower_case = lower_case
        self._like_llm2vec = like_llm2vec
        self._lock = threading.Lock()
        self._plain = _copy(backend, encode_special_tokens=True)
        parsing = _copy(backend, encode_special_tokens=False)
        special = [token.content for token in backend.get_added_tokens_decoder().values() if token.special]
        self._template = Template.parse(template, special)
        self._first, self._last = first, last = _frame(parsing)
        self._head = _encode(parsing, self._template.head)
        self._tail = _encode(parsing, self._template.tail)
        overhead = len(self("a", room=_AMPLE_ROOM).ids)
        if overhead > max_length:
            raise ConfigError(
                f"the template {template!r} alone takes {overhead - 1} tokens of at most {max_length}; "
                "shorten it or raise --max-length"
            )
        whole = first + _encode(parsing, template.replace(CAPTION, "a caption")) + last
        if whole != self("a caption", room=max_length + overhead).ids.tolist():
            raise ConfigError(
                f"this tokenizer does not keep the template {template!r} apart from the caption; "
                "end the template's special tokens with a line break or a blank"
            )

    def __call__(self, caption: str, room: int | None = None) -> Tokens:
        return self.batch([caption], room)[0]

    def batch(self, captions: Sequence[str], room: int | None = None) -> list[Tokens]:
        """Tokenise captions; in their order."""
        max_length = room or self.max_length
        most = max_length * _MAX_CHARACTERS_PER_TOKEN
        cleaned = [clean(c, keep_leading=self._like_llm2vec) for c in captions]
        if self._lower_case:
            cleaned = [c.lower() for c in cleaned]
        before, after = self._template.before, self._template.after
        encodings = self._encode_plain([before + c[:most] + after for c in cleaned])
        if self._like_llm2vec:
            alone = self._encode_plain([c[:most] + after for c in cleaned])
            return [self._cut_at_right(e.ids, len(a.ids), max_length) for e, a in zip(encodings, alone, strict=True)]
        return [
            self._assemble(e, len(before), len(before) + len(c[:most]), max_length, cut=len(c) > most)
            for e, c in zip(encodings, cleaned, strict=True)
        ]

    def _encode_plain(self, texts: Sequence[str]) -> list[Any]:
        with self._lock:  # the backend is not re-entrant; it spreads a batch over threads by itself
            return list(self._plain.encode_batch(texts, add_special_tokens=False))

    def _cut_at_right(self, ids: list[int], num_alone: int, max_length: int) -> Tokens:
        """Template and caption as LLM2Vec cuts them; ``num_alone``: tokens of the caption, tokenised without header."""
        text = self._head + ids + self._tail
        kept = text[: max(max_length - len(self._first) - len(self._last), 0)]
        whole = self._first + kept + self._last or [0]
        num_pooled = min(num_alone + len(self._tail), max_length)
        start = len(whole) - num_pooled if 0 < num_pooled < len(whole) else 0
        return Tokens(np.array(whole, np.int64), start, len(kept) < len(text))

    def _assemble(self, encoding: Any, begin: int, end: int, max_length: int, cut: bool) -> Tokens:
        """Lay the template's ids around a caption that is at characters ``begin:end`` of the encoded text."""
        ids: list[int] = encoding.ids
        offsets: list[tuple[int, int]] = encoding.offsets
        first, after = 0, len(ids)
        if begin:
            first = next((i for i, (_, stop) in enumerate(offsets) if stop > begin), len(ids))
        if self._template.after:
            after = next((i for i, (start, _) in enumerate(offsets) if start >= end), len(ids))
        prefix, suffix = self._first + self._head, self._tail + self._last
        room = max_length - len(prefix) - len(suffix) - first - (len(ids) - after)
        kept = ids[: first + min(after - first, max(room, 0))] + ids[after:]
        # a text that a tokenizer makes nothing of still needs a state to pool; every vocabulary has a token 0
        whole = prefix + kept + suffix or [0]
        return Tokens(np.array(whole, np.int64), len(prefix) + first, cut or len(kept) < len(ids))


def _copy(backend: Tokenizer, encode_special_tokens: bool) -> Tokenizer:
    copy = Tokenizer.from_str(backend.to_str())
    copy.no_padding()
    copy.no_truncation()
    copy.encode_special_tokens = encode_special_tokens
    return copy


def _encode(backend: Tokenizer, text: str) -> list[int]:
    return list(backend.encode(text, add_special_tokens=False).ids) if text else []


def _frame(backend: Tokenizer) -> tuple[list[int], list[int]]:
    """The ids that the tokenizer itself puts before and after every text (BOS, CLS, SEP, EOS ...)."""
    plain, framed = _encode(backend, "a"), list(backend.encode("a").ids)
    for i in range(len(framed) - len(plain) + 1):
        if framed[i : i + len(plain)] == plain:
            return framed[:i], framed[i + len(plain) :]
    raise ConfigError("the model's tokenizer changes a text when it adds its special tokens; it cannot be used")

"""Captions to token ids: special tokens only from the template, never from a caption; truncation counted."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from embedder.models.text import CAPTION, Template, clean
from store.common.errors import ConfigError

# No vocabulary in use has longer tokens, so a caption cut to this many characters per token was too long anyway.
_MAX_CHARACTERS_PER_TOKEN = 256
_AMPLE_ROOM = 1 << 20


@dataclass(frozen=True, slots=True)
class Tokens:
    """One caption, ready for the model."""

    ids: np.ndarray
    """(L,) int64 token ids, template and special tokens included."""
    start: int
    """Position of the first token that ``mean-text`` pools: the caption's first; the template before it is left out."""
    truncated: bool
    """Whether the caption was cut to fit the model."""


class CaptionTokenizer:
    """Tokenises captions for one model. Threads may share it.

    ``tokenizer`` is a fast tokenizer of transformers; ``template`` holds ``{caption}`` once; ``max_length`` counts
    all tokens, template included. A caption that does not fit loses its last tokens; the template stays whole.

    ``like_llm2vec`` repeats what LLM2Vec (``llm2vec.LLM2Vec.encode`` with ``doc_max_length`` = ``max_length``) makes of
    captions that are not ordinary, since published vectors were made so. Blanks at a caption's start are kept. A text
    that does not fit is cut at its right end, which takes the template's closing tokens first. And the pooled tokens
    are counted on caption and closing tokens alone, then taken from the right, so that in a text that was cut they
    reach into the template. One difference stays: special tokens that a caption spells out are plain text here, where
    LLM2Vec reads them as such.

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
        self._template = Template.parse(template, [t.content for t in _special_tokens(backend)])
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
        """Lay the template's ids around a caption that stands at characters ``begin:end`` of the encoded text."""
        ids: list[int] = encoding.ids
        offsets: list[tuple[int, int]] = encoding.offsets
        first = next((i for i, (_, stop) in enumerate(offsets) if stop > begin), len(ids)) if begin else 0
        after = (
            next((i for i, (start, _) in enumerate(offsets) if start >= end), len(ids))
            if self._template.after
            else len(ids)
        )
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


def _special_tokens(backend: Tokenizer) -> list[Any]:
    return [token for token in backend.get_added_tokens_decoder().values() if token.special]


def _encode(backend: Tokenizer, text: str) -> list[int]:
    return list(backend.encode(text, add_special_tokens=False).ids) if text else []


def _frame(backend: Tokenizer) -> tuple[list[int], list[int]]:
    """The ids that the tokenizer itself puts before and after every text (BOS, CLS, SEP, EOS ...)."""
    plain, framed = _encode(backend, "a"), list(backend.encode("a").ids)
    for i in range(len(framed) - len(plain) + 1):
        if framed[i : i + len(plain)] == plain:
            return framed[:i], framed[i + len(plain) :]
    raise ConfigError("the model's tokenizer changes a text when it adds its special tokens; it cannot be used")

"""An encoder: captions in, vectors out, whatever kind of model makes them.

Shapes: n captions, D width of the vectors.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from embedder.models.folder import ModelFolder
from embedder.models.options import CAPTION
from embedder.models.packing import pack
from embedder.models.tokens import CaptionTokenizer, Tokens
from store.common.errors import ConfigError
from store.core.spec import FieldSpec, Kind, StoredDtype

log = logging.getLogger("keyclip.embedder")

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """How an encoder makes its vectors: the model's part of a field's spec."""

    model: str
    revision: str
    kind: Kind
    template: str
    pooling: str
    max_length: int
    normalize: bool
    dim: int

    def spec(self, caption_field: str, dtype: StoredDtype) -> FieldSpec:
        """The spec of a field that holds such vectors."""
        made = asdict(self) | {"template": "" if self.template == CAPTION else self.template}
        return FieldSpec(**made, caption_field=caption_field, dtype=dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A model's folder, what transformers reads of its small files, and how the model makes vectors."""

    folder: ModelFolder
    config: Any
    tokenizer: Any
    provenance: Provenance


class Encoder:
    """A frozen model with its tokenizer. Not for several threads at once, except :meth:`tokenize`."""

    def __init__(
        self,
        network: nn.Module,
        tokenizer: CaptionTokenizer,
        provenance: Provenance,
        *,
        short_name: str,
        device: torch.device,
        pad_id: int,
        batch_tokens: int,
        pad_left: bool = False,
        pad_to: int | None = None,
    ) -> None:
        """``pad_to``: tokens of every caption with its padding; None: of the longest of its batch."""
        self.network = network.to(device)
        self.tokenizer = tokenizer
        self.provenance = provenance
        self.short_name = short_name
        self.device = device
        self.batch_tokens = batch_tokens
        """Budget of one forward pass, in tokens with padding."""
        self._pad_id = pad_id
        self._left = pad_left
        self._pad_to = pad_to

    @property
    def dim(self) -> int:
        return self.provenance.dim

    def tokenize(self, captions: Sequence[str]) -> list[Tokens]:
        """Token ids of captions, in their order, cut to the model's length."""
        return self.tokenizer.batch(captions)

    def encode(self, captions: Sequence[str]) -> Vectors:
        """(n, D) float32 vectors of captions, in their order; equal captions are computed once."""
        different, rows = distinct(captions)
        return self.embed(self.tokenize(different))[rows]

    def embed(self, tokens: Sequence[Tokens], on_tokens: Callable[[int], None] | None = None) -> Vectors:
        """(n, D) float32 vectors of tokenised captions, in their order.

        A batch that does not fit the memory halves the token budget, for this and all later batches.
        ``on_tokens`` gets the number of tokens of each batch after it.

        Raises:
            ConfigError: not even one caption fits the memory.
        """
        vectors = np.empty((len(tokens), self.dim), np.float32)
        lengths = np.array([self._pad_to or len(t.ids) for t in tokens], np.int64)
        batches = pack(lengths, self.batch_tokens)[::-1]
        while batches:
            batch = batches.pop()
            found = self._try_forward([tokens[i] for i in batch])
            if found is None:
                self._halve(len(batch), int(lengths[batch].max()))
                rest = np.concatenate([batch, *batches[::-1]])
                batches = [rest[part] for part in pack(lengths[rest], self.batch_tokens)[::-1]]
                continue
            vectors[batch] = found
            if on_tokens:
                on_tokens(int(lengths[batch].sum()))
        return vectors

    def _try_forward(self, batch: Sequence[Tokens]) -> Vectors | None:
        """:meth:`forward`, or None where the memory was too small; what it had taken is free again."""
        try:
            return self.forward(batch)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
                return None
            raise

    def _halve(self, num_captions: int, longest: int) -> None:
        if num_captions == 1:
            raise ConfigError(
                f"a single caption of {longest} tokens does not fit the memory of {self.device}; "
                "shorten captions with --max-length, or compute in bfloat16 (--compute-dtype)"
            )
        self.batch_tokens = max(num_captions * longest // 2, longest)
        log.warning("out of memory: going on with batches of %d tokens", self.batch_tokens)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def forward(self, batch: Sequence[Tokens]) -> Vectors:
        """(n, D) float32 vectors of one batch, in one pass of the model."""
        lengths = [len(t.ids) for t in batch]
        width = self._pad_to or max(lengths)
        ids = np.full((len(batch), width), self._pad_id, np.int64)
        mask = np.zeros((len(batch), width), bool)
        text = np.zeros((len(batch), width), bool)
        for row, (tokens, length) in enumerate(zip(batch, lengths, strict=True)):
            begin = width - length if self._left else 0
            ids[row, begin : begin + length] = tokens.ids
            mask[row, begin : begin + length] = True
            text[row, begin + tokens.start : begin + length] = True
        tensors = [torch.from_numpy(array).to(self.device, non_blocking=True) for array in (ids, mask, text)]
        vectors: Vectors = self.network(*tensors).cpu().numpy()
        return vectors


def distinct(captions: Sequence[str]) -> tuple[list[str], list[int]]:
    """The different captions, and for each caption its position among them."""
    row_of: dict[str, int] = {}
    rows = [row_of.setdefault(caption, len(row_of)) for caption in captions]
    return list(row_of), rows

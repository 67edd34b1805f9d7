"""The fields that a run or a service fills."""

from collections.abc import Sequence
from dataclasses import dataclass

import store
from embedder.encoder import Encoder
from embedder.report import FieldReport
from embedder.text import CAPTION
from store.spec import StoredDtype


@dataclass(frozen=True, slots=True)
class Target:
    """A field of the store that is being filled, and what was done to it."""

    caption_field: str
    name: str
    reader: store.Field
    writer: store.Writer
    report: FieldReport


def field_name(encoder: Encoder, prefix: str | None, caption_field: str) -> str:
    """``PREFIX/CAPTION_FIELD``; the prefix is the model's short name unless given."""
    return f"{prefix or encoder.short_name}/{caption_field.removeprefix('.')}"


def open_target(opened: store.Store, encoder: Encoder, name: str, caption_field: str, dtype: StoredDtype) -> Target:
    """The field ``name``, made or reopened, with a spec that says how ``encoder`` makes vectors.

    Raises:
        SpecMismatchError: the field was made by another model or in another way.
    """
    made = encoder.provenance
    spec = store.FieldSpec(
        model=made.model,
        revision=made.revision,
        kind=made.kind,
        template="" if made.template == CAPTION else made.template,
        pooling=made.pooling,
        max_length=made.max_length,
        normalize=made.normalize,
        caption_field=caption_field,
        dim=made.dim,
        dtype=dtype,
    )
    writer = opened.writer(name, spec)
    return Target(caption_field, name, opened.field(name), writer, FieldReport(name))


def open_targets(
    opened: store.Store, encoder: Encoder, prefix: str | None, caption_fields: Sequence[str], dtype: StoredDtype
) -> list[Target]:
    """One target per caption field; see :func:`open_target`."""
    return [open_target(opened, encoder, field_name(encoder, prefix, f), f, dtype) for f in caption_fields]

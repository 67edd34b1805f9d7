"""The fields of vectors that runs were trained on, and the models that made them."""

from collections.abc import Sequence
from pathlib import Path

import store
from store.common.errors import KeyclipError
from tools.report.material.inputs import Run

FIELD_COLUMNS = ("field", "model", "revision", "text", "vectors", "stored as", "store")


def field_rows(runs: Sequence[Run]) -> list[list[str]]:
    """A row of ``FIELD_COLUMNS`` for each field that a run was trained on, as its store describes it now."""
    used = dict.fromkeys(
        (str(run.config["store"]), field)
        for run in runs
        if run.config.get("store")
        for name in ("fields", "teacher_fields")
        for field in run.config.get(name) or []
    )
    return [_field(path, field) for path, field in used]


def _field(path: str, name: str) -> list[str]:
    try:
        info = store.open(Path(path)).fields()[name]
    except (KeyclipError, KeyError, OSError) as error:
        reason = "the store is not there any more" if not Path(path).exists() else f"cannot be read: {error}"
        return [name, reason, "", "", "", "", path]
    spec = info.spec
    parts = [spec.caption_field, f"template {spec.template!r}" if spec.template else "", f"pooling {spec.pooling}"]
    parts += [f"{spec.max_length} tokens", "normalised" if spec.normalize else ""]
    made_by = [f"{spec.model} ({spec.kind})", spec.revision, ", ".join(filter(None, parts))]
    return [name, *made_by, f"{info.num_vectors:,}", f"{spec.dim} {spec.dtype}", path]

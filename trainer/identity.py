"""Whether two parts of a run speak of the same CLIP, told by its weights and not by its name."""

import re
from pathlib import Path
from typing import Any

from store.errors import ConfigError
from store.fingerprint import fingerprint

_COMMIT = re.compile("[0-9a-f]{40}")


def require_teacher(clip: str, teacher: dict[str, Any] | None, what: str) -> None:
    """Refuse a CLIP that is not the one whose text space ``what`` was trained for.

    ``teacher`` is how the teacher field was made. A folder is compared by the fingerprint of its weights and tokenizer,
    a hub id by its commit; a folder against a commit, or a teacher that is not known, cannot be told apart and passes.

    Raises:
        ConfigError: they differ.
    """
    if teacher is None:
        return
    made_of = teacher["revision"]
    found = _revision(clip, made_of)
    if found is not None and found != made_of:
        raise ConfigError(
            f"{what} learned the text space of {teacher['model']!r} ({made_of}); --clip {clip!r} is another model "
            f"({found}): give that one, or --check-clip False if they share their text space"
        )


def made_by(clip: str) -> dict[str, str]:
    """How a teacher field of this CLIP would tell what it was made by, computed from its own files."""
    revision = _revision(clip, "xxh3:") or _revision(clip, "0" * 40) or ""
    return {"model": clip, "revision": revision, "template": "", "pooling": "eos"}


def _revision(clip: str, like: str) -> str | None:
    """The CLIP's revision, of the kind that ``like`` is; None where it has none of that kind."""
    folder = Path(clip).expanduser()
    if like.startswith("xxh3:"):
        return fingerprint(folder) if folder.is_dir() else None
    if _COMMIT.fullmatch(like):
        name = folder.resolve().name if folder.is_dir() else _commit(clip)
        return name if name is not None and _COMMIT.fullmatch(name) else None
    return None


def _commit(clip: str) -> str | None:
    """The hub's commit that a hub id stands for here; None for a name of open_clip's."""
    if ":" in clip:
        return None
    from transformers.utils import cached_file

    found = cached_file(clip, "config.json", _raise_exceptions_for_missing_entries=False)
    return Path(found).parent.name if found else None

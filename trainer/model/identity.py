"""Whether two parts of a run belong to the same CLIP, decided by its weights and not by its name.

A folder is compared by the fingerprint of its weights and tokenizer, a hub id by its commit. What cannot be compared (a
folder with a commit, an unknown revision) passes.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from store.common.errors import ConfigError
from store.common.fingerprint import fingerprint

STAGE2_REMEDY = "give that one, or --check-clip False if they share their text space"
_COMMIT = re.compile("[0-9a-f]{40}")


def require_teacher(clip: str, teacher: Mapping[str, Any] | None, what: str, remedy: str = STAGE2_REMEDY) -> None:
    """Raises: ConfigError: ``clip`` is not the CLIP whose text space ``what`` was trained for; ``teacher`` is that."""
    if (found := _other(clip, teacher)) is not None and teacher is not None:
        raise ConfigError(
            f"{what} learned the text space of {teacher['model']!r} ({teacher['revision']}); --clip {clip!r} is "
            f"another model ({found}): {remedy}"
        )


def require_own_features(clip: str, field: Mapping[str, Any], what: str) -> None:
    """Raises: ConfigError: the text features that ``field`` describes are not of ``clip``, which encodes the images."""
    if (found := _other(clip, field)) is not None:
        raise ConfigError(
            f"{what} holds text features of {field['model']!r} ({field['revision']}); --clip {clip!r} is another model "
            f"({found}): name the field of that CLIP's own text features, as `keyclip embed --model` makes it"
        )


def require_tower(clip: str, revision: str | None, what: str) -> None:
    """Raises: ConfigError: the weights of ``clip`` are not of the revision that ``what`` was trained with."""
    if (found := _other(clip, {"revision": revision or ""})) is not None:
        raise ConfigError(
            f"{what} was trained with a CLIP of the weights {revision}; --clip {clip!r} has others ({found}): give the "
            "CLIP that it was trained with"
        )


def _other(clip: str, known: Mapping[str, Any] | None) -> str | None:
    """The revision of the CLIP where it certainly differs from the known one."""
    found = _revision(clip, known["revision"]) if known is not None and clip else None
    return found if known is not None and found != known["revision"] else None


def revision_of(clip: str) -> str | None:
    """What :func:`require_tower` compares later; None where the CLIP has no revision, as open_clip's."""
    try:
        return made_by(clip)["revision"] or None
    except ConfigError:  # a folder without safetensors
        return None


def made_by(clip: str) -> dict[str, str]:
    """What a teacher field of this CLIP says of its model, computed from the CLIP's own files."""
    revision = _revision(clip, "xxh3:") or _revision(clip, "0" * 40) or ""
    return {"model": clip, "revision": revision, "template": "", "pooling": "eos"}


def _revision(clip: str, like: str) -> str | None:
    """The CLIP's revision of the same kind (fingerprint or commit) as ``like``; None where it has none."""
    folder = Path(clip).expanduser()
    if like.startswith("xxh3:"):
        return fingerprint(folder) if folder.is_dir() else None
    if not _COMMIT.fullmatch(like):
        return None
    name = folder.resolve().name if folder.is_dir() else _commit(clip)
    return name if name is not None and _COMMIT.fullmatch(name) else None


def _commit(clip: str) -> str | None:
    """The hub's commit of a hub id in the local cache; None for a name of open_clip's."""
    if ":" in clip:
        return None
    from transformers.utils import cached_file

    found = cached_file(clip, "config.json", _raise_exceptions_for_missing_entries=False)
    return Path(found).parent.name if found else None

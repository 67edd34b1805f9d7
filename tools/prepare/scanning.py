"""Everything that stands in a shard, and everything that is wrong with it, without stopping at the first fault."""

import dataclasses
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from store.common.errors import CaptionFieldError, DamagedShardError, ShardNotFoundError
from store.sources.keylist import is_listable
from store.sources.shards import caption_at, load_json, open_tar, read_member, split_member
from trainer.data.shard_index import IMAGE_EXTENSIONS
from trainer.images.decoding import BrokenImageError, decode_pixels


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    shard: str
    key: str | None
    """The sample; None where the shard itself is meant."""
    kind: str
    """One of :data:`KINDS`."""
    what: str
    """The same in words, with details."""


KINDS = {
    "damaged shard": "cannot be read to its end; what stands before the damage was looked at",
    "unsafe member": "a link or device, or a name that leads out of the folder",
    "bad key": "cannot stand in a key list",
    "repeated key": "comes twice in its shard, or its members do not stand together",
    "key in several shards": "stands in more than one shard",
    "no image": "has no image member",
    "broken image": "cannot be decoded",
    "no json": "has no json member",
    "broken json": "is no UTF-8 json object",
    "missing caption": "has no such caption field, or something that is not text in it",
    "empty caption": "has an empty caption",
}


@dataclass(slots=True)
class Scanned:
    """A sample and its faults."""

    key: str
    num_image_bytes: int = 0
    num_json_bytes: int = 0
    image_extension: str | None = None
    sample: dict[str, Any] = field(default_factory=dict)
    """Its json."""
    findings: list[Finding] = field(default_factory=list)


def scan(
    shard: str, caption_fields: Sequence[str], needs_image: bool = True, decode_images: bool = True
) -> Iterator[Scanned | Finding]:
    """Every sample of a shard in its order, and findings about the shard itself.

    A caption field that begins with a dot names a text member (``.txt``). Of a key that comes twice only the first
    sample is yielded.
    """
    seen: set[str] = set()
    find = lambda key, kind, what: Finding(shard, key, kind, what)  # noqa: E731
    try:
        for key, members in _members(shard, find, _wanted(caption_fields, decode_images)):
            if isinstance(members, Finding):
                yield members
            elif key in seen:
                yield find(key, "repeated key", "its members do not stand together, or the key names two samples")
            elif not is_listable(key):
                yield find(key, "bad key", f"{key!r:.100} is no line of UTF-8 text; rename the sample")
            else:
                seen.add(key)
                yield _look_at(key, members, find, caption_fields, needs_image, decode_images)
    except (tarfile.TarError, EOFError, DamagedShardError, ShardNotFoundError, OSError) as error:
        yield find(None, "damaged shard", f"{error}; download it again")


@dataclass(slots=True)
class _Member:
    num_bytes: int
    payload: bytes | None


Find = Callable[[str | None, str, str], Finding]


def _wanted(caption_fields: Sequence[str], decode_images: bool) -> frozenset[str]:
    texts = {name[1:].lower() for name in caption_fields if name.startswith(".")}
    return frozenset({"json", *texts, *(IMAGE_EXTENSIONS if decode_images else ())})


def _members(
    shard: str, find: Find, wanted: frozenset[str]
) -> Iterator[tuple[str, dict[str, _Member]] | tuple[str, Finding]]:
    """Samples as they stand together: key and members; and findings about members."""
    current: str | None = None
    members: dict[str, _Member] = {}
    with open_tar(shard) as tar:
        for info in tar:
            if info.isdir():
                continue
            if fault := _unsafe(info):
                yield "", find(None, "unsafe member", fault)
                continue
            if (parts := split_member(info.name)) is None:
                continue
            if parts[0] != current:
                if current is not None:
                    yield current, members
                current, members = parts[0], {}
            # the tar is read member by member, so that a shard that is cut short is noticed in the member that is
            payload = read_member(tar, info) if parts[1] in wanted else None
            members[parts[1]] = _Member(info.size, payload)
        if current is not None:
            yield current, members


def _unsafe(info: tarfile.TarInfo) -> str | None:
    if not info.isfile():
        return f"{info.name!r} is a link or device, not a file"
    path = PurePosixPath(info.name)
    if path.is_absolute() or ".." in path.parts:
        return f"{info.name!r} leads out of the folder that it would be unpacked to"
    return None


def _look_at(
    key: str,
    members: dict[str, _Member],
    find: Find,
    caption_fields: Sequence[str],
    needs_image: bool,
    decode_images: bool,
) -> Scanned:
    found = Scanned(key)
    image = next((e for e in IMAGE_EXTENSIONS if e in members), None)
    if image is not None:
        found.image_extension, found.num_image_bytes = image, members[image].num_bytes
        if decode_images:
            try:
                decode_pixels(members[image].payload or b"")
            except BrokenImageError as error:
                found.findings.append(find(key, "broken image", str(error)))
    elif needs_image:
        there = ", ".join(members) or "nothing"
        found.findings.append(find(key, "no image", f"there is {there}, none of {', '.join(IMAGE_EXTENSIONS)}"))
    _look_at_captions(found, members, find, caption_fields)
    return found


def _look_at_captions(found: Scanned, members: dict[str, _Member], find: Find, caption_fields: Sequence[str]) -> None:
    if "json" in members:
        found.num_json_bytes = members["json"].num_bytes
        try:
            found.sample = load_json(members["json"].payload or b"", found.key, "")
        except (DamagedShardError, RecursionError) as error:
            found.findings.append(find(found.key, "broken json", str(error.__cause__ or "is not an object")))
            return
    elif any(not name.startswith(".") for name in caption_fields):
        found.findings.append(find(found.key, "no json", "its captions would be there"))
    for name in caption_fields:
        try:
            if not (_text_member(members, name) if name.startswith(".") else caption_at(found.sample, name)):
                found.findings.append(find(found.key, "empty caption", f"{name} is empty"))
        except CaptionFieldError as error:
            if "json" in members or name.startswith("."):
                found.findings.append(find(found.key, "missing caption", str(error)))


def _text_member(members: dict[str, _Member], name: str) -> str:
    if (member := members.get(name[1:].lower())) is None:
        raise CaptionFieldError(f"there is no {name} member")
    return (member.payload or b"").decode("utf-8", errors="replace").strip()


def as_json(finding: Finding) -> str:
    """One line of json."""
    return json.dumps(dataclasses.asdict(finding))

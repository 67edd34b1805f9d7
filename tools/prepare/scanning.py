"""The samples of a shard, and everything that is wrong with them, without stopping at the first fault."""

import tarfile
from collections.abc import Iterator, Sequence
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
    """A fault, of a kind of :data:`KINDS` and in words: of a sample, or of the shard itself, which has no key."""

    shard: str
    key: str | None
    kind: str
    what: str


KINDS = {
    "damaged shard": "cannot be read to its end; the samples before the damage were checked",
    "unsafe member": "a link or device, or a name that leads out of the folder",
    "bad key": "cannot be a line of a key list",
    "repeated key": "comes twice in its shard, or its members are not next to each other",
    "key in several shards": "is in more than one shard",
    "no image": "has no image member",
    "broken image": "cannot be decoded",
    "no json": "has no json member",
    "broken json": "is no UTF-8 json object",
    "missing caption": "has no such caption field, or something that is not text in it",
    "empty caption": "has an empty caption",
}


@dataclass(slots=True)
class Scanned:
    """A sample with the content of its json, and its faults."""

    key: str
    num_image_bytes: int = 0
    num_json_bytes: int = 0
    image_extension: str | None = None
    sample: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


Members = dict[str, tuple[int, bytes]]
"""Extension -> size in bytes, and content if it is wanted."""


def scan(
    shard: str, caption_fields: Sequence[str], needs_image: bool = True, decode_images: bool = True
) -> Iterator[Scanned | Finding]:
    """Every sample of a shard in its order, and findings about the shard itself.

    A caption field that begins with a dot names a text member (``.txt``). Of a key that comes twice only the first
    sample is yielded.
    """
    wanted = {"json", *(name[1:].lower() for name in caption_fields if name.startswith("."))}
    seen: set[str] = set()
    try:
        for item in _members(shard, wanted | set(IMAGE_EXTENSIONS if decode_images else ())):
            if isinstance(item, str):
                yield Finding(shard, None, "unsafe member", item)
                continue
            key, members = item
            if key in seen:
                what = "its members are not next to each other, or the key names two samples"
                yield Finding(shard, key, "repeated key", what)
            elif not is_listable(key):
                yield Finding(shard, key, "bad key", f"{key!r:.100} is no line of UTF-8 text; rename the sample")
            else:
                seen.add(key)
                yield _checked(shard, key, members, caption_fields, needs_image, decode_images)
    except (tarfile.TarError, EOFError, DamagedShardError, ShardNotFoundError, OSError) as error:
        yield Finding(shard, None, "damaged shard", f"{error}; download it again")


def _members(shard: str, wanted: set[str]) -> Iterator[tuple[str, Members] | str]:
    """Samples as keys and consecutive members; and what is wrong with members whose names are unsafe."""
    current: str | None = None
    members: Members = {}
    with open_tar(shard) as tar:
        for info in tar:
            if info.isdir():
                continue
            path = PurePosixPath(info.name)
            if not info.isfile():
                yield f"{info.name!r} is a link or device, not a file"
                continue
            if path.is_absolute() or ".." in path.parts:
                yield f"{info.name!r} leads out of the folder that it would be unpacked to"
                continue
            if (parts := split_member(info.name)) is None:
                continue
            if parts[0] != current:
                if current is not None:
                    yield current, members
                current, members = parts[0], {}
            # the tar is read member by member, so that a cut is noticed in the member that it goes through
            members[parts[1]] = info.size, read_member(tar, info) if parts[1] in wanted else b""
        if current is not None:
            yield current, members


def _checked(
    shard: str, key: str, members: Members, caption_fields: Sequence[str], needs_image: bool, decode_images: bool
) -> Scanned:
    found = Scanned(key)

    def find(kind: str, what: str) -> None:
        found.findings.append(Finding(shard, key, kind, what))

    found.image_extension = next((e for e in IMAGE_EXTENSIONS if e in members), None)
    if found.image_extension is not None:
        found.num_image_bytes, payload = members[found.image_extension]
        if decode_images:
            try:
                decode_pixels(payload)
            except BrokenImageError as error:
                find("broken image", str(error))
    elif needs_image:
        find("no image", f"there is {', '.join(members) or 'nothing'}, none of {', '.join(IMAGE_EXTENSIONS)}")
    if "json" in members:
        found.num_json_bytes, payload = members["json"]
        try:
            found.sample = load_json(payload, key, "")
        except (DamagedShardError, RecursionError) as error:
            find("broken json", str(error.__cause__ or "is not an object"))
            return found
    elif any(not name.startswith(".") for name in caption_fields):
        find("no json", "its captions would be there")
    for name in caption_fields:
        try:
            if not (_text_member(members, name) if name.startswith(".") else caption_at(found.sample, name)):
                find("empty caption", f"{name} is empty")
        except CaptionFieldError as error:
            if "json" in members or name.startswith("."):
                find("missing caption", str(error))
    return found


def _text_member(members: Members, name: str) -> str:
    if name[1:].lower() not in members:
        raise CaptionFieldError(f"there is no {name} member")
    return members[name[1:].lower()][1].decode("utf-8", errors="replace").strip()

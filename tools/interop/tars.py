"""Tars of samples, addressed by member: read without extracting anything, and distrusted."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from store.common.errors import DamagedShardError, InvalidKeysError, KeyclipError, ShardNotFoundError
from store.sources.shards import CheckedTarInfo, is_remote, require_whole, split_member


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a tar."""

    extension: str
    """As it is written; webdataset lower-cases it when it reads."""
    start: int
    """Where its header begins."""
    offset: int
    """Where its bytes begin."""
    size: int

    @property
    def end(self) -> int:
        """Where the next member's header begins."""
        return self.offset + -(-self.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


@dataclass(frozen=True, slots=True)
class Sample:
    """A key and its members by lower-cased extension, in the tar's order."""

    key: str
    members: dict[str, Member]


def tar_samples(path: str) -> list[Sample]:
    """The samples of a local, uncompressed tar, in its order; reads headers only.

    Raises:
        ShardNotFoundError: there is no such file, or it is a URL.
        DamagedShardError: it is no such tar, is cut short, has members that are links or devices or whose names lead
            elsewhere or are not UTF-8, or a sample or member comes twice.
    """
    samples: dict[str, Sample] = {}
    last = None
    for key, member in _members(path):
        if key != last and key in samples:
            raise DamagedShardError(
                f"sample key {key!r} comes twice in {path!r}; keys must be unique and the members of a sample must "
                "follow each other"
            )
        last, extension = key, member.extension.lower()
        members = samples.setdefault(key, Sample(key, {})).members
        if extension in members:
            raise DamagedShardError(f"sample {key!r} has two members .{extension} in {path!r}")
        members[extension] = member
    return list(samples.values())


def _members(path: str) -> Iterator[tuple[str, Member]]:
    if is_remote(path):
        raise ShardNotFoundError(f"{path!r} is not a local file; download it first")
    try:
        with tarfile.open(path, "r:", tarinfo=CheckedTarInfo, encoding="utf-8", errors="surrogateescape") as tar:
            for info in tar:
                _require_harmless(info, path)
                if not info.isfile() or (parts := split_member(info.name)) is None:
                    continue
                written = info.name.removeprefix("./")[len(parts[0]) + 1 :]
                require_whole(tar, info)
                yield parts[0], Member(written, info.offset, info.offset_data, info.size)
    except FileNotFoundError:
        raise ShardNotFoundError(f"no such file: {path!r}") from None
    except KeyclipError:
        raise
    except (tarfile.TarError, EOFError) as error:
        raise DamagedShardError(f"{path!r} cannot be read as an uncompressed tar ({error}); get it again") from error


def _require_harmless(info: tarfile.TarInfo, path: str) -> None:
    named = f"{path!r} has a member {info.name!r:.100}"
    if any("\udc80" <= c <= "\udcff" for c in info.name):
        raise DamagedShardError(f"{named}, whose name is not UTF-8; rename it")
    if _leads_out(info.name):
        raise DamagedShardError(f"{named}, whose name leads out of its folder; nothing of it was read")
    if not (info.isfile() or info.isdir()) or info.issparse():
        raise DamagedShardError(f"{named} that is a link, a device or a sparse file; expected plain files only")


def _leads_out(name: str) -> bool:
    return name.startswith("/") or ".." in name.split("/")


def check_member_name(key: str, extension: str) -> None:
    """Require that webdataset reads a member ``KEY.EXTENSION`` back as this key and extension.

    Raises:
        InvalidKeysError: it does not: the key has a dot in its last part, or leads elsewhere.
    """
    name = f"{key}.{extension}"
    if split_member(name) != (key, extension.lower()) or _leads_out(key):
        raise InvalidKeysError(
            f"no member of a tar can be named {name!r:.100} and be read as sample key {key!r:.100}; such keys cannot "
            "be exported to tars"
        )


def member_bytes(name: str, data: bytes | memoryview) -> bytes:
    """A file in a tar: its header, in the form that is shortest for its name, its bytes, and zeros up to a block."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return b"".join([info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict"), data, bytes(-len(data) % tarfile.BLOCKSIZE)])


def end_mark(position: int) -> bytes:
    """What closes a tar whose members end at ``position``: two blocks of zeros, then zeros up to a full record."""
    return bytes(2 * tarfile.BLOCKSIZE + -(position + 2 * tarfile.BLOCKSIZE) % tarfile.RECORDSIZE)

"""Tars of samples, addressed by member: read without extracting anything, and with suspicion."""

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
    samples: list[Sample] = []
    seen: set[str] = set()
    for key, member in _members(path):
        if not samples or samples[-1].key != key:
            if key in seen:
                raise DamagedShardError(
                    f"sample key {key!r} comes twice in {path!r}; keys must be unique and the members of a sample must "
                    "stand together"
                )
            seen.add(key)
            samples.append(Sample(key, {}))
        members = samples[-1].members
        if member.extension.lower() in members:
            raise DamagedShardError(f"sample {key!r} has two members .{member.extension.lower()} in {path!r}")
        members[member.extension.lower()] = member
    return samples


def _members(path: str) -> Iterator[tuple[str, Member]]:
    if is_remote(path):
        raise ShardNotFoundError(f"{path!r} is not a local file; download it first")
    try:
        with tarfile.open(path, "r:", tarinfo=CheckedTarInfo, encoding="utf-8", errors="surrogateescape") as tar:
            for info in tar:
                _require_harmless(info, path)
                parts = split_member(info.name) if info.isfile() else None
                if parts is None:
                    continue
                key = parts[0]
                written = info.name.removeprefix("./")[len(key) + 1 :]
                member = Member(written, info.offset, info.offset_data, info.size)
                require_whole(tar, info)
                yield key, member
    except FileNotFoundError:
        raise ShardNotFoundError(f"no such file: {path!r}") from None
    except KeyclipError:
        raise
    except (tarfile.TarError, EOFError) as error:
        raise DamagedShardError(f"{path!r} cannot be read as an uncompressed tar ({error}); get it again") from error


def _require_harmless(info: tarfile.TarInfo, path: str) -> None:
    if any("\udc80" <= c <= "\udcff" for c in info.name):
        raise DamagedShardError(f"{path!r} has a member {info.name!r:.100}, whose name is not UTF-8; rename it")
    if info.name.startswith("/") or ".." in info.name.split("/"):
        raise DamagedShardError(
            f"{path!r} has a member {info.name!r:.100}, whose name leads out of its folder; nothing of it was read"
        )
    if not (info.isfile() or info.isdir()) or info.issparse():
        raise DamagedShardError(
            f"{path!r} has a member {info.name!r:.100} that is a link, a device or a sparse file; "
            "expected plain files only"
        )


def check_member_name(key: str, extension: str) -> str:
    """The name of a member that webdataset reads back as this key and extension.

    Raises:
        InvalidKeysError: there is none: the key has a dot in its last part, or leads elsewhere.
    """
    name = f"{key}.{extension}"
    leads_out = name.startswith("/") or ".." in key.split("/")
    if split_member(name) != (key, extension.lower()) or leads_out:
        raise InvalidKeysError(
            f"no member of a tar can be named {name!r:.100} and be read as sample key {key!r:.100}; such keys cannot "
            "be exported to tars"
        )
    return name


def header(name: str, size: int) -> bytes:
    """The header of a file in a tar, in the form that is shortest for its name."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def padding(size: int) -> bytes:
    """Zeros up to the next header."""
    return bytes(-size % tarfile.BLOCKSIZE)


def end_mark(position: int) -> bytes:
    """What closes a tar whose members end at ``position``: two blocks of zeros, then zeros up to a full record."""
    return bytes(2 * tarfile.BLOCKSIZE + -(position + 2 * tarfile.BLOCKSIZE) % tarfile.RECORDSIZE)

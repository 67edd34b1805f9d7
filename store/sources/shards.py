"""Webdataset shards as keyed samples: the source of sample keys and captions.

A shard is a tar whose members are named ``KEY.EXTENSION``; the members of one sample are neighbours. Extensions are
lower-cased, as webdataset does. Shards are only ever read.
"""

import contextlib
import glob
import itertools
import json
import math
import operator
import os
import re
import stat
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

import braceexpand

from store.common.errors import CaptionFieldError, ConfigError, DamagedShardError, ShardNotFoundError
from store.common.files import read_text
from store.common.pipes import refuse_pipes

MAX_SHARDS = 1_000_000
"""Shards of one command, at most."""
MAX_BRACES = 64
"""Brace ranges of one pattern, at most."""
MAX_LISTS = 8
"""Lists of shards nested in one another, at most."""
_RANGE = re.compile(r"\{(-?\d+)\.\.(-?\d+)(?:\.\.-?(\d+))?\}")
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")
_DRAINED_BYTES = 2**16
_MAX_MEMBER_BYTES = 2**36
_MAX_EXTENDED_BYTES = 2**20
_MEMBER = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)")


def is_remote(shard: str) -> bool:
    """Whether ``shard`` is a URL or a ``pipe:`` command, which can be streamed but not addressed by offset."""
    return shard.startswith("pipe:") or "://" in shard


def expand_shards(patterns: Sequence[str]) -> list[str]:
    """Expand brace ranges (``{00000..00287}``), globs and ``@FILE`` lists into shard paths, in the order given.

    A ``pipe:`` shard runs a shell command. A list is data that people pass on, so it may name one only if the user
    allows it (``--allow-pipe``).

    Raises:
        ShardNotFoundError: a local shard does not exist, or a pattern matches nothing, or no shard is named.
        ConfigError: a list names itself or a ``pipe:`` shard, or cannot be read; or there are too many shards.
    """
    shards = _expand_all(patterns, ())
    if not shards:
        raise ShardNotFoundError("no shards given; name at least one .tar file, glob or brace range")
    if len(set(shards)) < len(shards):
        repeated = next(shard for shard, count in Counter(shards).items() if count > 1)
        raise ShardNotFoundError(f"shard {repeated!r} is named more than once; name each shard once")
    return shards


def _expand_all(patterns: Iterable[str], within: tuple[Path, ...]) -> list[str]:
    """The shards of patterns, of which a list within the lists ``within`` may be one."""
    shards: list[str] = []
    for pattern in patterns:
        shards += _expand_list(pattern, within) if pattern.startswith("@") else _expand(pattern)
        if len(shards) > MAX_SHARDS:
            raise ConfigError(f"more than {MAX_SHARDS:,} shards are named; check the ranges, such as {pattern!r:.80}")
    return shards


def _expand_list(pattern: str, within: tuple[Path, ...]) -> list[str]:
    """The shards of an ``@FILE``, which may name further lists, but none that names it."""
    file = Path(pattern[1:])
    named = f"the list of shards {str(file)!r}"
    try:
        place = file.resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{named} cannot be read: {error}") from error
    if not file.exists():
        raise ShardNotFoundError(f"no such list of shards: {str(file)!r}; expected a text file, one shard a line")
    if place in within:
        raise ConfigError(f"{named} names itself; name shards in it")
    if len(within) == MAX_LISTS:
        raise ConfigError(f"{named} is named through {MAX_LISTS} other lists; name shards in it")
    entries = [entry for line in read_text(file, named).splitlines() if (entry := line.strip())]
    refuse_pipes(entries, named)
    return _expand_all(entries, (*within, place))


def _expand(pattern: str) -> list[str]:
    if "\0" in pattern:
        raise ShardNotFoundError(f"no such shard: {pattern!r:.80}; a path has no NUL characters")
    shards: list[str] = []
    for expanded in [pattern] if pattern.startswith("pipe:") else _braces(pattern):
        if is_remote(expanded) or Path(expanded).is_file():
            shards.append(expanded)
        elif any(c in expanded for c in "*?[") and not Path(expanded).exists():
            matches = sorted(glob.glob(expanded, recursive=True))  # noqa: PTH207 - absolute patterns are allowed
            if not matches:
                raise ShardNotFoundError(f"no shard matches {expanded!r}; check the pattern (quote it in the shell)")
            shards += matches
        else:
            raise ShardNotFoundError(f"no such shard: {expanded!r} (from {pattern!r}); give the path of a .tar file")
    return shards


def _braces(pattern: str) -> Iterator[str]:
    """Brace expansion that refuses enormous ranges before it makes them: a range is a list in memory."""
    if pattern.count("{") > MAX_BRACES:  # they take time by the square of their number
        raise ConfigError(f"{pattern!r:.80} has more than {MAX_BRACES} braces; name the shards in an @FILE")
    too_many = ConfigError(f"{pattern!r:.80} stands for more than {MAX_SHARDS:,} shards; check its ranges")
    if math.prod(_range_size(*match.groups()) for match in _RANGE.finditer(pattern)) > MAX_SHARDS:
        raise too_many
    try:
        for at, expanded in enumerate(braceexpand.braceexpand(pattern)):
            if at == MAX_SHARDS:
                raise too_many
            yield expanded
    except (RecursionError, ValueError) as error:
        if error is too_many:
            raise
        raise ShardNotFoundError(f"the braces of {pattern!r:.80} cannot be expanded: {error}") from error


def _range_size(first: str, last: str, step: str | None) -> int:
    if max(len(first), len(last)) > 18:
        return MAX_SHARDS + 1
    return abs(int(last) - int(first)) // max(1, int(step or 1) if len(step or "") < 18 else 1) + 1


def shard_name(shard: str) -> str:
    """The shard's file name without folder and extension: ``/data/cc3m/00012.tar`` -> ``00012``."""
    return Path(shard.split("?")[0].split()[-1]).name.removesuffix(".tar")


def split_member(name: str) -> tuple[str, str] | None:
    """``('KEY', 'extension')`` of a member name, or None for members that belong to no sample."""
    match = _MEMBER.fullmatch(name.removeprefix("./"))
    return (match[1], match[2].lower()) if match else None


class CheckedTarInfo(tarfile.TarInfo):
    """Member headers that are checked: ``tarfile`` alone takes a damaged or missing header for the end of the tar, and
    accepts any size.
    """

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        """Raises tarfile.ReadError for an impossible header."""
        try:
            info = super().fromtarfile(tar)
        except (tarfile.ReadError, cast(Any, tarfile).EOFHeaderError):
            raise
        except (tarfile.HeaderError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
            raise tarfile.ReadError(f"a member's header cannot be read: {error}") from error
        if not 0 <= info.size <= _MAX_MEMBER_BYTES:
            raise tarfile.ReadError(f"member {info.name!r:.100} cannot have {info.size} bytes")
        return info

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Raises tarfile.ReadError for anything but a member's header or the tar's end mark, a block of zeros."""
        if (plain := cls._plain_file(buf, encoding, errors)) is not None:
            return plain
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf and not any(buf):
                raise
            raise tarfile.ReadError(f"{error} where a member or the end mark was expected") from error

    @classmethod
    def _plain_file(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self | None:
        """Name and size of a file with a short name, twice as fast as tarfile parses them; None for all else."""
        if len(buf) != tarfile.BLOCKSIZE or buf[156:157] != tarfile.REGTYPE or buf[257:262] != b"ustar" or buf[345]:
            return None
        try:
            size, checksum = (int(buf[part].rstrip(b" \0"), 8) for part in (slice(124, 136), slice(148, 156)))
        except ValueError:
            return None
        if size < 0 or checksum != sum(buf) - sum(buf[148:156]) + 8 * ord(" "):
            return None
        info = cls(buf[:100].partition(b"\0")[0].decode(encoding, errors))
        info.size = size
        return info

    def _proc_pax(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        self._require_short()
        return cast(tarfile.TarInfo, cast(Any, super())._proc_pax(tar))

    def _proc_gnulong(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        self._require_short()
        return cast(tarfile.TarInfo, cast(Any, super())._proc_gnulong(tar))

    def _require_short(self) -> None:
        """An extended header is read into memory, whatever size it states."""
        if not 0 <= self.size <= _MAX_EXTENDED_BYTES:
            raise tarfile.ReadError(f"an extended header cannot have {self.size} bytes")


def require_whole(tar: tarfile.TarFile, info: tarfile.TarInfo) -> None:
    """Raises tarfile.ReadError if the tar ends inside a member, or if a stream does not show where it ends."""
    try:
        status = os.fstat(cast(Any, tar).fileobj.fileno())
    except (AttributeError, OSError):  # a stream, which is read as far as it goes
        if info.issparse():
            raise tarfile.ReadError(f"member {info.name!r:.100} is a sparse file") from None
        return
    if stat.S_ISREG(status.st_mode) and info.offset_data + info.size > status.st_size:
        raise tarfile.ReadError(f"it ends inside {info.name!r:.100}")


def read_member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    """The content of a member. Raises as :func:`require_whole`."""
    require_whole(tar, info)
    return cast(bytes, cast(Any, tar.extractfile(info)).read())


def require_utf8(key: str, shard: str) -> None:
    """Raises DamagedShardError if the name of a sample's members is not UTF-8."""
    if not key.isascii() and any("\ud800" <= letter <= "\udfff" for letter in key):
        raise DamagedShardError(f"sample key {key!r:.100} in shard {shard!r} is not UTF-8 text; rename the sample")


def iter_samples(shard: str, extensions: Iterable[str]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield ``(key, {extension: bytes})`` for every sample, reading only the members with these extensions.

    Samples come in the shard's own order. A sample with none of the extensions comes with an empty dict.

    Raises:
        DamagedShardError: the tar is truncated or not a tar, or a key comes twice in it.
    """
    wanted = frozenset(extensions)
    seen: set[str] = set()
    try:
        with open_tar(shard) as tar:
            members = ((*parts, info) for info in tar if info.isfile() and (parts := split_member(info.name)))
            for key, group in itertools.groupby(members, operator.itemgetter(0)):
                require_utf8(key, shard)
                if key in seen:
                    raise DamagedShardError(
                        f"sample key {key!r} comes twice in shard {shard!r}; "
                        "keys must be unique and the members of a sample must be neighbours"
                    )
                seen.add(key)
                yield key, {extension: read_member(tar, info) for _, extension, info in group if extension in wanted}
    except (tarfile.TarError, EOFError) as error:
        raise DamagedShardError(f"shard {shard!r} cannot be read as a tar ({error}); download it again") from error


@contextlib.contextmanager
def open_tar(shard: str) -> Iterator[tarfile.TarFile]:
    """The shard as a tar whose damaged headers are noticed. Unread members of local shards are skipped.

    Raises:
        ShardNotFoundError: there is no such shard.
        tarfile.TarError, EOFError: it is no tar; also while its members are read, where it is damaged or cut short, or
            where the command or the server that sends it fails.
    """
    try:
        with _opened(shard) as stream:
            seekable = not is_remote(shard) and not cast(Any, stream).peek(6).startswith(_COMPRESSED)
            mode: Any = "r:" if seekable else "r|*"
            with tarfile.open(fileobj=stream, mode=mode, tarinfo=CheckedTarInfo) as tar:
                yield tar
            while not seekable and stream.read(_DRAINED_BYTES):
                pass  # the rest after the end mark; a command that is cut off there would count as failed
    except ShardNotFoundError:
        raise
    except OSError as error:
        raise tarfile.ReadError(str(error)) from error


@contextlib.contextmanager
def _opened(shard: str) -> Iterator[BinaryIO]:
    """The shard's bytes; closing raises OSError where the command that sends them has failed."""
    stream = _open(shard)
    try:
        yield stream
    except BaseException:
        with contextlib.suppress(OSError):  # a command fails when its reader is gone
            stream.close()
        raise
    stream.close()


def _open(shard: str) -> BinaryIO:
    if not is_remote(shard):
        try:
            return Path(shard).open("rb")
        except FileNotFoundError:
            raise ShardNotFoundError(f"no such shard: {shard!r}") from None
    import webdataset  # imports torch, which readers of local shards need not wait for

    try:
        return cast(BinaryIO, webdataset.gopen(shard))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise ShardNotFoundError(f"shard {shard!r} cannot be opened: {error}") from error


def load_json(payload: bytes, key: str, shard: str) -> dict[str, Any]:
    """The sample's json member as a dict.

    Raises:
        DamagedShardError: it is not a UTF-8 json object.
    """
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise DamagedShardError(f"the json of sample {key!r} in shard {shard!r} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise DamagedShardError(f"the json of sample {key!r} in shard {shard!r} is not an object")
    return value


def caption_at(sample: dict[str, Any], caption_field: str) -> str | None:
    """The caption at a path into the sample's json: ``shortSV_captions`` or ``captions.0``.

    Returns None where the value is null or an empty (or blank) string.

    Raises:
        CaptionFieldError: the path leads nowhere or to something that is not text; the message names what is there.
    """
    value: Any = sample
    for part in caption_field.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            there = f"a list of {len(value)}" if isinstance(value, list) else f"only {value!r:.80}"
            there = f"there are {', '.join(sorted(value))}" if isinstance(value, dict) else there
            raise CaptionFieldError(f"no caption field {caption_field!r}: {part!r} is not there ({there})")
    if value is None:
        return None
    if not isinstance(value, str):
        raise CaptionFieldError(f"caption field {caption_field!r} holds {type(value).__name__}, expected text")
    return value if value.strip() else None

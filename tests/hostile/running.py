"""Runs cases, each in a forked process of its own in a copy of the world, and says what went wrong."""

import contextlib
import os
import resource
import select
import shutil
import signal
import stat
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

import xxhash

from tests.hostile.cases import Case, make_case
from tests.hostile.values import CANARY

HANG_SECONDS = 60
MAX_BYTES = 2 * 10**9
ESCAPED = ("Traceback (most recent call last)", "full traceback written to")
LEFTOVERS = (".unfinished-", ".preparing-", ".removed-", ".tmp", ".part")
UNHANDLED = 99
LOCK = "lock.mdb"
Snapshot = dict[str, tuple[int, object]]
"""Mode and content of files and folders, by path."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that did not end as it must."""

    case: Case
    what: str
    """In one line."""
    stderr: str

    def __str__(self) -> str:
        return f"{self.case}\n  {self.what}\n    " + "\n    ".join(self.stderr.strip().splitlines()[-25:])


def run_cases(
    world: Path, place: Path, seed: int, numbers: Iterable[int], hang_seconds: float = HANG_SECONDS
) -> Iterator[Failure | None]:
    """For each number the failure of its case, or None. ``place`` is an empty folder to work in.

    All cases use one copy of the world; what a case changed is copied again after it.
    """
    folder = place / "case"
    shutil.copytree(world, folder / world.name)
    sound = snapshot(folder, with_locks=True)
    stdout, stderr = place / "stdout", place / "stderr"
    for number in numbers:
        case = make_case(seed, number, folder / "world")
        before = snapshot(folder, with_locks=True)
        what = _run(case, folder / "world", stdout, stderr, hang_seconds)
        after = snapshot(folder, with_locks=True)
        text = stderr.read_text(encoding="utf-8", errors="replace")
        what = what or _escaped(text) or _changed(case, before, after)
        yield Failure(case, what, text) if what else None
        restore(world, folder, sound, after)


def restore(world: Path, folder: Path, sound: Snapshot, now: Snapshot) -> None:
    """Copy the entries of the sound world that a case has changed again, and remove what it has added."""
    different = [name for name in now.keys() | sound.keys() if now.get(name) != sound.get(name)]
    for parts in sorted({PurePath(name).parts[:2] for name in different}):
        place, source = folder.joinpath(*parts), world.parent.joinpath(*parts)
        if place.is_dir() and not place.is_symlink():
            for path in (place, *place.rglob("*")):
                if path.is_dir() and not path.is_symlink():
                    path.chmod(0o700)
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
        if source.is_dir():
            shutil.copytree(source, place)
        elif source.is_file():
            shutil.copy2(source, place)


def _run(case: Case, here: Path, stdout: Path, stderr: Path, hang_seconds: float) -> str | None:
    child = os.fork()
    if child == 0:
        _be_the_command(case, here, stdout, stderr)
    ended = os.pidfd_open(child)
    try:
        hangs = not select.select([ended], [], [], hang_seconds)[0]
    finally:
        os.close(ended)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # also processes that it has started
    _, status, usage = os.wait4(child, 0)
    if hangs:
        return f"hangs: over {hang_seconds:g} s"
    if os.WIFSIGNALED(status):
        return f"crashed: signal {os.WTERMSIG(status)}"
    if (code := os.WEXITSTATUS(status)) not in (0, 1, 2):
        return f"escaped: status {code}"
    grown = 1024 * (usage.ru_maxrss - resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return f"memory: {grown / 1e9:.1f} GB" if grown > MAX_BYTES else None


def _be_the_command(case: Case, here: Path, stdout: Path, stderr: Path) -> None:
    """The forked child; never returns."""
    status = UNHANDLED
    try:
        os.setsid()
        os.chdir(here)
        for number, file in ((0, Path(os.devnull)), (1, stdout), (2, stderr)):
            handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, number)
        sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        (here.parent / "tmp").mkdir()
        folders = {"XDG_CACHE_HOME": str(here / "cache"), "TMPDIR": str(here.parent / "tmp"), "HOME": str(here)}
        os.environ |= folders | {"HF_HUB_OFFLINE": "1"} | case.environment
        limit = _data_bytes() + MAX_BYTES
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        from tools.__main__ import main

        try:
            status = main(case.argv)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - whatever escapes is what is looked for
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _data_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmData"))


def _escaped(stderr: str) -> str | None:
    return next((f"escaped: {text}" for text in ESCAPED if text in stderr), None)


def snapshot(folder: Path, with_locks: bool = False) -> Snapshot:
    """Mode and content of everything in a folder, by path; LMDB's lock files, which readers write, only if asked."""
    found: Snapshot = {}
    folders = [""]
    while folders:
        prefix = folders.pop()
        with contextlib.suppress(OSError), os.scandir(folder / prefix) as entries:
            for entry in entries:
                name, status = prefix + entry.name, entry.stat(follow_symlinks=False)
                if entry.name != LOCK or with_locks:
                    found[name] = (status.st_mode, _content(entry, status))
                if stat.S_ISDIR(status.st_mode):
                    folders.append(f"{name}/")
    return found


def _content(entry: os.DirEntry[str], status: os.stat_result) -> object:
    if stat.S_ISDIR(status.st_mode):
        return None
    if stat.S_ISREG(status.st_mode):
        try:
            return xxhash.xxh3_128_digest(Path(entry.path).read_bytes())
        except OSError:
            return status.st_size
    if stat.S_ISLNK(status.st_mode):
        return str(Path(entry.path).readlink())
    return status.st_rdev


def _changed(case: Case, before: Snapshot, after: Snapshot) -> str | None:
    if CANARY in after:
        return "executed: the canary is there"
    allowed = [f"world/{name}" for name in case.changes]
    for name in sorted(before.keys() | after.keys()):
        base = name.rpartition("/")[2]
        if before.get(name) == after.get(name) or name == "tmp" or base == LOCK:
            continue
        if name not in before and any(mark in base for mark in LEFTOVERS):
            return f"left behind: {name}"
        if name in before and not any(name == one or name.startswith(f"{one}/") for one in allowed):
            return f"changed: {name}"
        if name.startswith("tmp/"):
            return f"left behind: {name}"
        if "/" not in name:
            return f"appeared: {name}"
    return None

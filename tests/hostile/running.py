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
from pathlib import Path

import xxhash

from tests.hostile.cases import Case, make_case
from tests.hostile.values import CANARY

HANG_SECONDS = 60
MAX_BYTES = 2 * 10**9
ESCAPED = ("Traceback (most recent call last)", "full traceback written to")
LEFTOVERS = (".unfinished-", ".preparing-", ".removed-", ".tmp", ".part")
UNHANDLED = 99


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
    """For each number the failure of its case, or None. ``place`` is an empty folder to work in."""
    for number in numbers:
        yield run_case(world, place, seed, number, hang_seconds)


def run_case(world: Path, place: Path, seed: int, number: int, hang_seconds: float = HANG_SECONDS) -> Failure | None:
    """Run one case; its folder is removed."""
    folder = place / str(number)
    here = folder / "world"
    try:
        folder.mkdir()
        shutil.copytree(world, here)
        case = make_case(seed, number, here)
        before = snapshot(folder)
        files = [place / f"{number}.{name}" for name in ("stdout", "stderr")]
        what = _run(case, here, *files, hang_seconds)
        stderr = files[1].read_text(encoding="utf-8", errors="replace")
        what = what or _escaped(stderr) or _changed(case, folder, before)
        return Failure(case, what, stderr) if what else None
    finally:
        for file in place.glob(f"{number}.*"):
            file.unlink()
        for path in folder.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
        shutil.rmtree(folder)


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
            handle = os.open(file, os.O_RDWR | os.O_CREAT)
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


def snapshot(folder: Path) -> dict[str, object]:
    """What is in a folder: kind and content of everything, by path. LMDB's lock files, which readers write, are not."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        mode = status.st_mode
        content: object = None
        if stat.S_ISREG(mode):
            if path.name == "lock.mdb":
                continue
            content = xxhash.xxh3_128_hexdigest(path.read_bytes()) if os.access(path, os.R_OK) else status.st_size
        elif stat.S_ISLNK(mode):
            content = os.readlink(path)  # noqa: PTH115
        elif not stat.S_ISDIR(mode):
            content = status.st_rdev
        found[str(path.relative_to(folder))] = (stat.S_IFMT(mode), content)
    return found


def _changed(case: Case, folder: Path, before: dict[str, object]) -> str | None:
    if (folder / CANARY).exists():
        return "executed: the canary is there"
    after = snapshot(folder)
    allowed = [f"world/{name}" for name in case.changes]
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) == after.get(name) or name == "tmp":
            continue
        base = name.rpartition("/")[2]
        if name not in before and any(mark in base for mark in LEFTOVERS):
            return f"left behind: {name}"
        if name in before and not any(name == one or name.startswith(f"{one}/") for one in allowed):
            return f"changed: {name}"
        if name.startswith("tmp/"):
            return f"left behind: {name}"
        if "/" not in name:
            return f"appeared: {name}"
    return None

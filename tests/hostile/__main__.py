"""``python -m tests.hostile --cases 10000 --seed 1``: run cases in several processes and show each that fails."""

import argparse
import contextlib
import gc
import importlib
import os
import pkgutil
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

# before torch is loaded: threads of OpenMP do not survive the fork of a case, which would wait for them for ever
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import embedder
import store
import tools
import trainer
from store.common.errors import ConfigError
from store.common.settings import settings_of
from tests.hostile.cases import command_of
from tests.hostile.known import known
from tests.hostile.running import run_cases
from tools.__main__ import COMMANDS

LATE = ("tests.hostile.world", "transformers.models.clip.modeling_clip", "deepspeed", "duckdb", "pyarrow.dataset")
"""Libraries that commands import when they need them; lance is not among them, since it starts threads."""


def main() -> int:
    """Exit status 1 if a case fails that is not known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--hang-seconds", type=float, default=60)
    parser.add_argument("--only", default="", help="commands to run, as a regular expression")
    parser.add_argument("--show", type=int, default=200, help="failures to show in full")
    options = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        world = Path(place, "world")
        _load_modules()
        _build_in_child(world)
        numbers = [
            number
            for number in range(options.first, options.first + options.cases)
            if re.match(options.only, command_of(options.seed, number))
        ]
        shares = [numbers[worker :: options.workers] for worker in range(options.workers)]
        failures = _run(world, Path(place), options.seed, shares, options.hang_seconds)
    new = [failure for failure in failures if not known(failure)]
    counts = Counter((" ".join(f.split("keyclip ", 1)[1].split()[:3]), f.splitlines()[2].strip()[:60]) for f in new)
    lines = [f"{failure}\n" for failure in new[: options.show]]
    lines += [f"{count:5} {words}: {what}" for (words, what), count in counts.most_common()]
    seconds = time.monotonic() - start
    lines.append(f"{len(numbers)} cases in {seconds:.0f} s: {len(new)} failures, {len(failures) - len(new)} known")
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if new else 0


def _load_modules() -> None:
    """Import the product and the libraries that it imports late, before the forks, so that no case waits for them."""
    names = [
        module.name
        for package in (store, embedder, trainer, tools)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    for name in (*names, *LATE):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for command, _ in COMMANDS.values():
        for setting in settings_of(pkgutil.resolve_name(command).Config).values():
            with contextlib.suppress(ConfigError):
                setting.from_words([""])  # which makes what checks it


def _build_in_child(world: Path) -> None:
    """Make the world in a forked process: the threads that it starts must not be in the process that runs cases."""
    if (child := os.fork()) == 0:
        status = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            importlib.import_module("tests.hostile.world").build(world)
            status = 0
        except BaseException:  # noqa: BLE001 - the process ends here
            traceback.print_exc()
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("the sound world cannot be made")


def _run(world: Path, place: Path, seed: int, shares: list[list[int]], hang_seconds: float) -> list[str]:
    """The failures as text, from one forked process for each share."""
    gc.collect()
    gc.freeze()  # a collection in a forked process would copy the memory of all objects
    children: list[tuple[int, int]] = []
    for number, share in enumerate(shares):
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:
            for _, other in children:
                os.close(other)
            folder = place / f"worker-{number}"
            folder.mkdir()
            with os.fdopen(writing, "wb") as stream:
                for failure in run_cases(world, folder, seed, share, hang_seconds):
                    if failure is not None:
                        stream.write(str(failure).encode("utf-8", "backslashreplace") + b"\0")
                        stream.flush()
            os._exit(0)
        os.close(writing)
        children.append((child, reading))
    failures: list[str] = []
    for child, reading in children:
        with os.fdopen(reading, "rb") as stream:
            failures += [text for text in stream.read().decode("utf-8", "replace").split("\0") if text]
        if os.waitpid(child, 0)[1]:
            failures.append("case ?: keyclip ?\n  ?\n  the process that runs the cases has failed")
    return failures


if __name__ == "__main__":
    sys.exit(main())

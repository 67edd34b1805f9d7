"""Runs the ordinary suite as other machines would: ``python -m tests.anywhere [VARIANT ...]``.

Each variant changes many circumstances at once, none of which may change a test's outcome: the processor's vector
instructions, the terminal and its width, the order of the tests, the path of temporary files, other work on the cores.
"""

import argparse
import contextlib
import multiprocessing
import os
import pty
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
# kernels without AVX-512, of torch itself and of the libraries that it calls
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
PLAIN = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
PARALLEL = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
"""How the suite runs unless pytest is given arguments."""
LONG_NAME = "a folder with a long name, spaces and ünïcödé " + "x" * 80


@contextlib.contextmanager
def busy_cores() -> Iterator[None]:
    """One process for each core that computes without end."""
    jobs = [multiprocessing.Process(target=_compute, daemon=True) for _ in range(os.cpu_count() or 1)]
    for job in jobs:
        job.start()
    try:
        yield
    finally:
        for job in jobs:
            job.kill()
            job.join()


def _compute() -> None:
    while True:
        sum(range(10**6))


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """Circumstances of one run of the suite.

    Attributes:
        what: the circumstances in words.
        environment: variables that are set.
        options: further arguments of pytest.
        terminal: whether the suite's output goes to a terminal.
        long_path: whether temporary files lie below a long path.
        around: something that goes on during the run.
    """

    what: str
    environment: Mapping[str, str] = field(default_factory=dict)
    options: Sequence[str] = ()
    terminal: bool = False
    long_path: bool = False
    around: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext


VARIANTS = {
    "plain-cpu": Variant(
        what="no AVX kernels, 40 columns, a dumb terminal's name, no terminal, random order of modules",
        environment=PLAIN | {"COLUMNS": "40", "TERM": "dumb"},
        options=("--random-order-bucket=module", "--random-order-seed=1"),
    ),
    "avx2": Variant(
        what="AVX2 kernels, 200 columns, on a terminal, a long temporary path",
        environment=AVX2 | {"COLUMNS": "200", "TERM": "xterm-256color"},
        terminal=True,
        long_path=True,
    ),
    "busy": Variant(
        what="another job on every core, random order of packages, plain C locale",
        environment={"LC_ALL": "C"},
        options=("--random-order-bucket=package", "--random-order-seed=2"),
        around=busy_cores,
    ),
}


def run(variant: Variant, more: Sequence[str]) -> int:
    """Run the suite in these circumstances; returns pytest's exit status."""
    with tempfile.TemporaryDirectory(prefix="keyclip-anywhere-") as folder, variant.around():
        environment = os.environ | variant.environment
        if variant.long_path:
            temporary = Path(folder) / LONG_NAME
            temporary.mkdir()
            environment["TMPDIR"] = str(temporary)
        command = [sys.executable, "-m", "pytest", *variant.options, *(more or PARALLEL)]
        return _on_terminal(command, environment) if variant.terminal else _piped(command, environment)


def _piped(command: Sequence[str], environment: Mapping[str, str]) -> int:
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
    return process.returncode


def _on_terminal(command: Sequence[str], environment: Mapping[str, str]) -> int:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    with contextlib.suppress(OSError):  # Linux answers EIO when the last process has closed the terminal
        while output := os.read(ours, 65536):
            sys.stdout.buffer.write(output)
            sys.stdout.buffer.flush()
    os.close(ours)
    return process.wait()


def main() -> int:
    shown = "\n".join(f"  {name:10} {variant.what}" for name, variant in VARIANTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.anywhere",
        description=f"{__doc__}\nvariants:\n{shown}\n\nFurther arguments go to pytest.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help=f"by default all: {', '.join(VARIANTS)}")
    arguments, more = parser.parse_known_args()
    if unknown := set(arguments.variants) - set(VARIANTS):
        parser.error(f"no variant {', '.join(sorted(unknown))}; there are {', '.join(VARIANTS)}")
    outcomes = []
    for name in arguments.variants or VARIANTS:
        print(f"== {name}: {VARIANTS[name].what}", flush=True)
        start = time.monotonic()
        status = run(VARIANTS[name], more)
        outcomes.append(
            f"{name:10} {'passed' if status == 0 else f'FAILED ({status})'} in {time.monotonic() - start:.0f} s"
        )
        if status:
            print(f"== {name} failed", flush=True)
    print("\n".join(outcomes))
    return int(any("FAILED" in outcome for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())

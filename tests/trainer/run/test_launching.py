"""What is launched ends with the process that launched it."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.trainer.launching import ROOT
from tests.trainer.waiting import STATUS
from trainer.checkpoint.folder import list_checkpoints, read_checkpoint_info

SIGNALS = [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGKILL]
PARENT = (  # a test run that is in the background ignores interrupts
    "import signal, sys; from trainer.run.launching import run_attached; "
    "signal.signal(signal.SIGINT, signal.default_int_handler); "
    "sys.exit(run_attached('tests.trainer.waiting', sys.argv[1:]))"
)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"ended with status {process.returncode}"
        assert time.monotonic() < until, f"not within {seconds} seconds"
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems send no signal when a parent ends")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_launched_process_can_save_and_ends_when_its_parent_gets(number, tmp_path):
    process = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        wait_until((tmp_path / "pid").exists, process, 60)
        child = psutil.Process(int((tmp_path / "pid").read_text()))
        process.send_signal(number)
        status = process.wait(60)
        psutil.wait_procs([child], timeout=60)
    finally:
        process.kill()
        process.wait()
    assert not child.is_running()
    assert (tmp_path / "saved").exists()
    if number in (signal.SIGTERM, signal.SIGUSR1):  # the parent waits, and its status is the child's
        assert status == STATUS


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems send no signal when a parent ends")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_ranks_save_their_state_and_end_with_keyclip_train(number, store_path, tmp_path):
    run = tmp_path / "run"
    command = [
        sys.executable, "-m", "tools", "train", "stage1", "--gpus", "2", "--output", str(run),
        "--store", str(store_path), "--fields", "llm/short", "--teacher-fields", "clip/short",
        "--batch-size", "8", "--epochs", "1000000", "--log-every", "1", "--checkpoint-every", "1000000",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    family: list[psutil.Process] = []
    try:
        wait_until(lambda: is_logged(run), process, 240)
        family = psutil.Process(process.pid).children(recursive=True)
        words = {word for member in family for word in member.cmdline()}
        assert {"--local_rank=0", "--local_rank=1"} <= words
        assert not list_checkpoints(run)
        process.send_signal(number)
        process.wait(120)
        _, alive = psutil.wait_procs(family, timeout=120)
    finally:
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        process.kill()
        process.wait()
    assert alive == []
    assert read_checkpoint_info(list_checkpoints(run)[-1])["step"] > 0


def is_logged(run: Path) -> bool:
    return (run / "log.jsonl").exists() and (run / "log.jsonl").stat().st_size > 0

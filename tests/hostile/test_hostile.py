"""Nothing hostile makes a command crash, hang, take all memory, run anything or change what is not its output."""

import os
import shutil
import subprocess
import sys

import pytest

from tests import ROOT
from tests.hostile.cases import make_case
from tests.hostile.commands import LEFT_OUT, calls
from tests.hostile.running import restore, snapshot
from tools.__main__ import COMMANDS, main


def run(*options):
    """``python -m tests.hostile`` in a process of its own, since it forks."""
    words = [sys.executable, "-m", "tests.hostile", *map(str, options)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, check=False, text=True, env=os.environ)


def test_every_command_but_servers_and_the_demo_has_a_sound_call():
    assert {call.words for call in calls()} == set(COMMANDS) - LEFT_OUT


@pytest.mark.parametrize("call", [call for call in calls() if call.words[0] != "bench"], ids=lambda c: " ".join(c.argv))
def test_the_sound_calls_do_what_they_should(world, call, capfd):
    """Otherwise damages would not be reached. Only what may be changed is."""
    before = snapshot(world)
    assert (main(call.argv) != 0) == call.fails, capfd.readouterr().err
    after = snapshot(world)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert [name for name in changed if name.split("/")[0] not in call.changes] == []


def test_a_case_depends_on_its_seed_and_number_alone(world, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(world, tmp_path / name, ignore=shutil.ignore_patterns("null"))
    first, second = (
        [(case.argv, case.did) for number in range(40) for case in [make_case(3, number, tmp_path / name)]]
        for name in ("a", "b")
    )
    assert first == second
    assert len({tuple(argv) for argv, _ in first}) > 20


def test_a_world_that_a_case_has_changed_becomes_as_it_was(sound_world, tmp_path):
    folder = tmp_path / "case"
    shutil.copytree(sound_world, folder / "world")
    sound = snapshot(folder, with_locks=True)
    here = folder / "world"
    (here / "keys.txt").write_text("other")
    (here / "clip").chmod(0)
    (here / "list.txt").unlink()
    shutil.rmtree(here / "images")
    (here / "images").symlink_to("nothing")
    for name in ("a.store/fields/lock.mdb", "added", "../tmp/x/y"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("new")
    restore(sound_world, folder, sound, snapshot(folder, with_locks=True))
    assert snapshot(folder, with_locks=True) == sound
    shutil.rmtree(here)
    restore(sound_world, folder, sound, snapshot(folder, with_locks=True))
    assert snapshot(folder, with_locks=True) == sound


def test_500_hostile_cases_end_in_a_sentence():
    done = run("--cases", 500, "--seed", 0, "--hang-seconds", 60)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]


@pytest.mark.slow
def test_10000_hostile_cases_end_in_a_sentence():
    done = run("--cases", 10_000, "--seed", 1, "--hang-seconds", 60)
    assert done.returncode == 0, done.stdout[-50_000:] + done.stderr[-2000:]

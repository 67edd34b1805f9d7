"""Kill writers at random moments, again and again, and look for anything lost, duplicated or torn.

    python -m tests.store.torture --rounds 200

Every round starts two writers of one field and kills one or both with SIGKILL after a random moment. A writer reports a
block only after its commit has returned. Whatever was reported must then be there, whole and once; whatever is there
besides must be whole too; and the next round's writers go on where these stopped.
"""

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import store
from tests.store.examples import make_block, make_spec

DIM = 256
FIELD = "f"
NUM_WRITERS = 2
_FORK = multiprocessing.get_context("fork")


@dataclass
class Report:
    """Totals over all rounds."""

    kills: int = 0
    blocks: int = 0
    reported: int = 0
    lost: int = 0
    duplicated: int = 0
    torn: int = 0

    @property
    def clean(self):
        return not (self.lost or self.duplicated or self.torn)


def block_of(writer, number):
    """Name and content of a writer's block; sizes vary from one row to some megabytes."""
    name = f"w{writer}-{number:05d}"
    count = random.Random(name).choice([1, 7, 100, 3000])
    return name, make_block(name, count, dim=DIM)


def write(path, writer, report):
    """Commit block after block and report each by its name; runs until it is killed."""
    opened = store.open(path, mode="a")
    field = opened.writer(FIELD, make_spec(dim=DIM))
    there = set(opened.field(FIELD).blocks())
    for number in range(10**6):
        name, block = block_of(writer, number)
        if name not in there:
            field.commit(name, *block)
        os.write(report, f"{name}\n".encode())


def kill_some(path, dice):
    """Start the writers, kill one or both; returns the number of kills and the blocks that were reported."""
    processes, pipes = [], []
    for writer in range(NUM_WRITERS):
        end, report = os.pipe()
        process = _FORK.Process(target=write, args=(path, writer, report))
        process.start()
        os.close(report)
        processes.append(process)
        pipes.append(end)
    time.sleep(dice.uniform(0.0, 0.4))
    first = dice.randrange(NUM_WRITERS)
    order = [first, 1 - first]
    os.kill(processes[order[0]].pid, signal.SIGKILL)
    time.sleep(dice.choice([0.0, 0.05]))  # the other one goes on alone for a while, or dies at the same moment
    os.kill(processes[order[1]].pid, signal.SIGKILL)
    for process in processes:
        process.join()
    reported = set()
    for end in pipes:
        with os.fdopen(end, "rb") as pipe:
            reported |= {line.decode().strip() for line in pipe if line.endswith(b"\n")}
    return NUM_WRITERS, reported


def check(path, reported, checked, report):
    """Compare what is there with what was reported; blocks in ``checked`` were compared before."""
    opened = store.open(path)
    if FIELD not in opened.fields():
        report.lost += len(reported)
        return
    field = opened.field(FIELD)
    blocks = field.blocks()
    report.duplicated += len(blocks) - len(set(blocks))
    report.lost += len((reported | checked) - set(blocks))
    for name in sorted(set(blocks) - checked):
        keys, vectors, hashes = block_of(int(name[1]), int(name[3:]))[1]
        got_keys, got = field.read_block(name)
        same = got_keys == keys and np.array_equal(got, vectors) and np.array_equal(field.get(keys), vectors)
        report.torn += not (same and np.array_equal(field.caption_hashes(keys), hashes))
    checked |= set(blocks)
    report.blocks = len(blocks)


def torture(path, backend, rounds, seed=0, least_blocks=0):
    """Run ``rounds`` rounds on a new store at ``path``, and on until ``least_blocks`` blocks are there."""
    store.create(path, backend=backend)
    dice = random.Random(seed)
    report, checked, reported = Report(), set(), set()
    while report.kills < rounds * NUM_WRITERS or report.blocks < least_blocks:
        kills, new = kill_some(path, dice)
        reported |= new
        report.kills += kills
        check(path, new, checked, report)
    report.reported = len(reported)
    opened = store.open(path)
    report.torn += len(opened.verify())
    keys = opened.field(FIELD).keys() if FIELD in opened.fields() else []
    report.duplicated += len(keys) - len(set(keys))
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--backend", choices=("lmdb", "zarr"), default="lmdb")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = torture(Path(folder) / "tortured.store", arguments.backend, arguments.rounds, arguments.seed)
    sys.stdout.write(f"{arguments.backend}: {report}\n")
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())

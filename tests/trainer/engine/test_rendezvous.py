"""Where ranks meet: the launcher's variables, and ports that are taken."""

import ast
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from store.common.errors import ConfigError
from store.common.ranks import Ranks
from tests.trainer.launching import ROOT
from trainer.engine.rendezvous import num_local_ranks, prepare_environment

NAMES = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_SIZE",
    "LOCAL_WORLD_SIZE",
    "CROSS_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
)
ALL = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}
NAMES = (*ALL, "LOCAL_SIZE", "LOCAL_WORLD_SIZE", "CROSS_SIZE")


@pytest.fixture(autouse=True)
def environment():
    """The process's own, without a launcher's variables; as it was afterwards."""
    before = dict(os.environ)
    for name in NAMES:
        os.environ.pop(name, None)
    yield os.environ
    os.environ.clear()
    os.environ.update(before)


def test_without_a_launcher_the_only_rank_meets_itself_at_a_free_port(environment):
    assert prepare_environment() == Ranks(0, 1, 0)
    assert [environment[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")] == ["0", "1", "0"]
    assert int(environment["MASTER_PORT"]) > 1023


def test_srun_and_mpirun_set_what_torch_reads(environment):
    place = {"MASTER_ADDR": "node1", "MASTER_PORT": "4000"}
    environment |= {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "1", **place}
    assert prepare_environment() == Ranks(3, 4, 1)
    assert [environment[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")] == ["3", "4", "1"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"RANK": "one"}, "the environment variable RANK is 'one'; expected a whole number, as torchrun or deepspeed"),
        ({"WORLD_SIZE": ""}, "the environment variable WORLD_SIZE is ''; expected a whole number"),
        ({"LOCAL_RANK": "0x"}, "the environment variable LOCAL_RANK is '0x'; expected a whole number"),
        ({"MASTER_PORT": "http"}, "the environment variable MASTER_PORT is 'http'; expected a whole number"),
        ({"MASTER_PORT": "70000"}, "the environment variable MASTER_PORT is 70000; expected a port, 1 to 65535"),
        ({"RANK": "2"}, "RANK=2 does not fit WORLD_SIZE=2"),
    ],
)
def test_variables_that_are_no_numbers_are_refused_by_name(environment, values, message):
    environment |= ALL | values
    with pytest.raises(ConfigError, match=message):
        prepare_environment()


def test_ranks_of_mpi_without_a_place_to_meet_are_told_what_to_set(environment):
    environment |= {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}
    with pytest.raises(ConfigError, match="MASTER_ADDR and MASTER_PORT not set, so that they cannot meet"):
        prepare_environment()


def test_the_ranks_of_a_machine_are_what_the_launcher_says(environment):
    environment |= {"LOCAL_SIZE": "4"}
    assert num_local_ranks(16) == 4
    environment |= {"LOCAL_SIZE": "four"}
    with pytest.raises(ConfigError, match="LOCAL_SIZE is 'four'"):
        num_local_ranks(16)


MEET = """
import os, sys
from trainer.engine.rendezvous import forget_meeting, meeting_file, prepare_environment
ranks = prepare_environment()
print(os.environ["MASTER_PORT"], meeting_file(), flush=True)
sys.stdin.read()
forget_meeting(ranks)
"""


def test_two_launches_on_a_machine_meet_at_ports_of_their_own(environment):
    """As DeepSpeed's launcher starts them: 29500 for both. The ranks of a launch are children of one process."""
    environment |= {"WORLD_SIZE": "2", "CROSS_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    launcher = f"""
import os, subprocess, sys
def start(rank):
    rank_environment = os.environ | {{"RANK": rank, "LOCAL_RANK": rank}}
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=rank_environment)
    return subprocess.Popen([sys.executable, "-c", {MEET!r}], **pipes)
ranks = [start("1"), start("0")]
print([rank.stdout.readline().rstrip().split(' ', 1) for rank in ranks], flush=True)
for rank in ranks:
    rank.communicate("")
"""
    command = [sys.executable, "-c", launcher]
    launches = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    found = [ast.literal_eval(launch.communicate(timeout=60)[0]) for launch in launches]
    for one, other in found:
        assert one == other
    assert len({port for (port, _), _ in found} | {"29500"}) == 3
    assert not any(Path(file).exists() for (_, file), _ in found)


def test_a_port_in_use_is_told_in_a_sentence_that_names_the_flag(environment):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        environment |= ALL | {"RANK": "0", "LOCAL_RANK": "0", "MASTER_PORT": port}
        code = (
            "from store.common.command import exit_status; "
            "from trainer.engine.deepspeed_engine import start_ranks; "
            "exit_status(lambda: start_ranks(1) and None)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )  # fmt: skip
    assert f"keyclip: error: port {port}, where the ranks would meet, is in use" in done.stderr
    assert "--master_port" in done.stderr
    assert "Traceback" not in done.stderr

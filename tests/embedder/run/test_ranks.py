"""Launchers name the ranks; ranks partition the work and need nothing but the store."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import store
from embedder.run.config import EmbedConfig
from embedder.run.embed import embed
from store.common.errors import ConfigError
from store.common.ranks import Ranks
from tests import ROOT
from tests.processes import Process


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Ranks(0, 1, 0)),
        ({"RANK": "5", "WORLD_SIZE": "16", "LOCAL_RANK": "1"}, Ranks(5, 16, 1)),
        ({"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "3", "SLURM_NTASKS": "4"}, Ranks(3, 4, 3)),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, Ranks(1, 2, 0)),
    ],
    ids=["alone", "torchrun", "srun", "mpirun"],
)
def test_every_launcher_is_understood(environment, expected):
    assert Ranks.from_environment(environment) == expected


def test_one_process_in_a_batch_script_of_slurm_is_alone():
    assert Ranks.from_environment({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"}) == Ranks()


@pytest.mark.parametrize(("rank", "size"), [("2", "2"), ("-1", "2"), ("x", "2")])
def test_a_contradictory_environment_is_refused(rank, size):
    with pytest.raises(ConfigError, match="torchrun or deepspeed"):
        Ranks.from_environment({"RANK": rank, "WORLD_SIZE": size})


def test_shares_partition_a_sequence():
    shares = [Ranks(rank, 3, 0).share(range(8)) for rank in range(3)]
    assert [list(share) for share in shares] == [[0, 3, 6], [1, 4, 7], [2, 5]]


def start(arguments, rank, world_size):
    environment = os.environ | {"RANK": str(rank), "WORLD_SIZE": str(world_size), "LOCAL_RANK": str(rank)}
    return Process(["-m", "embedder", f"--local_rank={rank}", *arguments], environment)


def settings(path, shards, model):
    return EmbedConfig(
        shards=tuple(shards),
        caption_fields=("caption",),
        model=str(model),
        store=str(path),
        device="cpu",
        block_size=10,
        progress=False,
    )


def arguments(path, shards, model):
    flags = ["--shards", *shards, "--caption-fields", "caption", "--model", str(model), "--store", str(path)]
    return [*flags, "--device", "cpu", "--block-size", "10"]


def embed_as(rank, world_size, config, monkeypatch):
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(world_size))
    return embed(config)


def test_two_ranks_at_once_finish_what_a_lone_rank_left(tmp_path, clip_folder, make_shard, monkeypatch):
    samples = [{f"{s}-{i:02d}": {"caption": f"shard {s} picture {i}"} for i in range(25)} for s in range(3)]
    shards = [make_shard(f"{s:05d}", samples[s]) for s in range(3)]
    path = tmp_path / "s.store"
    assert embed_as(1, 3, settings(path, shards, clip_folder), monkeypatch).total("embedded") == 25
    processes = [start(arguments(path, shards, clip_folder), rank, 2) for rank in range(2)]
    outputs = [process.communicate() for process in processes]
    assert [p.returncode for p in processes] == [0, 0], outputs
    assert "rank 0 of 2: tiny-clip/caption: 50 embedded, 0 reused" in outputs[0][0]
    assert "rank 1 of 2: tiny-clip/caption: 0 embedded, 25 reused" in outputs[1][0]
    keys = store.open(str(path)).field("tiny-clip/caption").keys()
    assert sorted(keys) == [key for shard in samples for key in shard]
    logs = tmp_path / "s.store.logs"
    summary = json.loads((logs / "rank-0.json").read_text())
    assert (summary["rank"], summary["world_size"], summary["embedded"]) == (0, 2, 50)
    assert summary["config"]["block_size"] == 10
    assert "50 embedded" in (logs / "rank-0.log").read_text()


def test_more_ranks_than_shards_divide_the_chunks(tmp_path, clip_folder, make_shard, monkeypatch):
    shard = make_shard("00000", {f"{i:02d}": {"caption": f"picture {i}"} for i in range(50)})
    config = settings(tmp_path / "s.store", [shard], clip_folder)
    reports = [embed_as(rank, 3, config, monkeypatch) for rank in range(3)]
    assert [r.total("embedded") for r in reports] == [20, 20, 10]
    assert len(store.open(config.store).field("tiny-clip/caption")) == 50


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["lmdb", "zarr"])
def test_the_deepspeed_launcher_starts_the_ranks(tmp_path, clip_folder, make_shard, backend):
    shards = [make_shard(str(s), {f"{s}{i}": {"caption": f"picture {s} {i}"} for i in range(9)}) for s in range(4)]
    launcher = [Path(sys.executable).parent / "deepspeed", "--num_gpus", "2", "--module", "embedder"]
    command = [*map(str, launcher), *arguments(tmp_path / "s.store", shards, clip_folder)]
    command += ["--backend", backend]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "rank 0 of 2" in result.stdout
    assert "rank 1 of 2" in result.stdout
    assert len(store.open(str(tmp_path / "s.store")).field("tiny-clip/caption")) == 36

"""No output of any command replaces an input, a device or a file of another kind, and every claim comes before work."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.running import snapshot
from tools.__main__ import main

SOURCE = str(Path(__file__).parents[2])
EVAL = "eval --clip clip --store e.store --embedder clip --teacher clip --resamples 0 --examples 0"
REPORT = "report run clip-result.json --output out/r.html"
INPUTS = (
    "data check --shards shards/00000.tar --workers 0 --good-keys shards/00000.tar",
    "data check --shards shards/00000.tar --workers 0 --good-keys out/g.txt --findings shards/00000.tar",
    "data check --shards @list.txt --workers 0 --good-keys list.txt",
    "data index --shards shards/00000.parquet --workers 0 --output shards/00000.parquet",
    "data captions --shards shards/00000.tar --tables table.parquet --output table.parquet",
    "data match --shards shards/00000.parquet --tables table.csv --url-column url --output shards/00000.parquet",
    "data sample -n 2 --keys keys.txt --output keys.txt",
    "data sample -n 2 --shards @list.txt --output list.txt",
    "prompts --classes classes.json --output classes.json",
    "eval-captions --sets sets.yaml --output photos.jsonl",
    "store get a.store 000000001 --field llm/short --npy a.store/store.json",
    "store get a.store 000000001 --field llm/short --npy clip/model.safetensors",
    "store get a.store --keys keys.txt --field llm/short --npy keys.txt",
    "store stats a.store --field llm/short --png a.store/fields/llm%2Fshort/data.mdb",
    "store stats a.store --field llm/short --png images/0.jpg",
    "store coverage a.store --shards @list.txt --write-missing list.txt",
    "store coverage a.store --captions table.csv --write-orphans table.csv",
    f"{EVAL} --sets sets.yaml --output sets.yaml",
    f"{EVAL} --sets sets.yaml --output photos.jsonl",
    f"{EVAL} --sets sets.yaml --output clip/config.json",
    f"{EVAL} --sets sets.yaml --output images/0.jpg",
    f"{EVAL} --shards shards/00000.tar --captions a=short --zeroshot classes.json --output classes.json",
    f"{EVAL} --shards shards/00000.tar --captions a=short --parts p=keys.txt --output keys.txt",
    f"{REPORT} --markdown run/log.jsonl",
    f"{REPORT} --markdown clip-result.json",
    "vectors export dpt a.store --fields llm/short --row-keys out/v.keys.txt --output out/v.dpt",
    "vectors export merged a.store --fields llm/short --shards shards/00000.tar --output shards",
    "vectors export lance a.store --fields llm/short --output .",
    "vectors export lance a.store --fields llm/short --output images",
    "export --clip clip --checkpoint run --layout llm2clip --output clip/model.safetensors",
    "export --clip clip --checkpoint run --output clip",
    "import adapter --weights adapter.pt --store e.store --field clip/caption --output run",
    "demo-download --output shards --table out/t.csv --urls 3",
    "demo-download --output out/d --table table.csv --urls 3",
    "demo-data --output shards --splits test=3",
)
"""Commands whose output is an input of theirs, or a file that somebody else made."""

FLAGS = (
    "data check --shards shards/00000.tar --workers 0 --good-keys {}",
    "data check --shards shards/00000.tar --workers 0 --good-keys out/g.txt --findings {}",
    "data sample -n 2 --keys keys.txt --output {}",
    "prompts --classes classes.json --output {}",
    "store get a.store 000000001 --field llm/short --npy {}",
    "store stats a.store --field llm/short --png {}",
    "store coverage a.store --shards shards/00000.tar --write-missing {}",
    "store coverage a.store --shards shards/00000.tar --write-changed {}",
    "store coverage a.store --shards shards/00000.tar --write-orphans {}",
    f"{EVAL} --sets sets.yaml --output {{}}",
    f"{REPORT} --markdown {{}}",
    "demo-download --output out/d --urls 3 --table {}",
    "export --clip clip --checkpoint run --layout llm2clip --output {}",
)
"""Every flag of an output with no ending of its own."""


def with_overwrite(command):
    """The command, with --overwrite where it has that."""
    words = command.split()
    return words if words[0] in ("export", "import", "demo-download", "demo-data") else [*words, "--overwrite"]


@pytest.mark.parametrize("command", INPUTS)
def test_an_input_is_never_replaced(world, command, capsys):
    shutil.copy(world / "keys.txt", world / "out/v.keys.txt")
    before = snapshot(world)
    for words in (command.split(), with_overwrite(command)):
        assert main(words) == 1
        error = capsys.readouterr().err
        assert error.splitlines()[-1].startswith("keyclip: error: ")
        assert "--output" in error or "give another path" in error or "path of a" in error or "no --output" in error, (
            error
        )
    after = snapshot(world)
    assert {name: after[name] for name in before} == before
    assert [
        name for name in after.keys() - before.keys() if "." in name.rpartition("/")[2] and "cache" not in name
    ] == []


@pytest.mark.parametrize("command", FLAGS)
@pytest.mark.parametrize("place", ["null", "out", "keys.txt/x"])
def test_a_device_a_folder_and_a_place_below_a_file_are_refused_and_stay(world, command, place, capsys):
    before = snapshot(world)
    assert main(with_overwrite(command.format(place))) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("keyclip: error: ")
    after = snapshot(world)
    assert {name: after[name] for name in before} == before
    assert [name for name in after.keys() - before.keys() if not name.startswith("cache")] == []


@pytest.mark.parametrize(
    "command",
    [
        "data check --shards nothing.tar --workers 0 --good-keys {}",
        "data sample -n 99 --keys keys.txt --output {}",
        "prompts --classes nothing.json --output {}",
        "eval --clip nothing --store e.store --embedder clip --teacher clip --sets sets.yaml --output {}",
        "report nothing.json --output out/r.html --markdown {}",
        "export --clip nothing --checkpoint nothing --layout llm2clip --output {}",
    ],
)
def test_the_claim_comes_before_the_work(world, command, capsys):
    """What is read is not there, which only the work would find."""
    (world / "table.csv").chmod(0o644)
    status = main(command.format("table.csv").split())
    error = capsys.readouterr().err
    assert status == 1
    if "nothing.tar" not in command:  # whether shards are there is part of the claim: they are inputs
        assert "table.csv" in error, error


def test_a_report_is_made_again_and_another_page_is_not_replaced_unasked(world, capsys):
    command = [*REPORT.split(), "--markdown", "out/r.md"]
    assert [main(command), main(command)] == [0, 0]
    (world / "out/r.html").write_text("<!doctype html>\nmine")
    assert main(command) == 1
    assert "exists; give another path, or replace it by --overwrite True" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0


def test_a_report_is_written_where_the_locale_is_plain_ascii(world):
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    words = ["report", "run-result.json", "clip-result.json", "--output", "out/r.html", "--markdown", "out/r.md"]
    code = "import sys; from tools.__main__ import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=world, env=os.environ | {"PYTHONPATH": SOURCE} | ascii_only,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert "\N{RIGHTWARDS ARROW}" in (world / "out/r.html").read_text(encoding="utf-8")
    assert b"report: out/r.html" in done.stdout


@pytest.fixture
def full_disk(world):
    """A folder ``small`` on a file system with 16 KiB left."""
    place = world / "small"
    place.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mounting, check=False, capture_output=True).returncode:
        pytest.skip("a small file system can be mounted by root alone")
    try:
        (place / "filler").write_bytes(bytes(2**20 - 2**14))
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize(
    "command",
    [
        "data check --shards shards/00000.tar --workers 0 --good-keys small/g.txt",
        "data index --shards shards/00000.tar --workers 0 --output small/i.parquet",
        "data captions --shards shards/00000.tar --tables table.csv --output small/c.parquet",
        "data sample -n 2 --keys keys.txt --output small/s.txt",
        "prompts --classes classes.json --output small/p.jsonl",
        "eval-captions --sets sets.yaml --output small/t.jsonl",
        "store stats a.store --field llm/short --png small/h.png",
        "store coverage a.store --shards shards/00000.tar --write-missing small/m.txt",
        f"{EVAL} --sets sets.yaml --output small/r.json",
        "report run clip-result.json --output small/r.html",
        "export --clip clip --checkpoint run --output small/x",
        "export --clip clip --checkpoint run --layout llm2clip --output small/x.safetensors",
        "vectors export dpt a.store --fields llm/short llm/long --output small/v.dpt",
        "vectors export parquet a.store --fields llm/short llm/long --output small/v",
        "vectors export clip-retrieval a.store --field llm/short --output small/v",
        "vectors export merged a.store --fields llm/short --shards shards/00000.tar --output small/v",
        "vectors export lance a.store --fields llm/short --output small/v",
        "demo-download --output small/d --table small/d.csv --urls 9",
        "demo-data --output small/d --splits test=30",
        "import adapter --weights adapter.pt --store e.store --field clip/caption --output small/a",
    ],
)
def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_made(full_disk, command, capsys):
    (full_disk / "filler").write_bytes(bytes(2**20 - 4096))
    assert main(command.split()) == 1
    error = capsys.readouterr().err
    assert "no space left for" in error
    assert "Traceback" not in error
    left = [path for path in full_disk.rglob("*") if path.is_file() and path.stat().st_size and path.name != "filler"]
    assert [path for path in left if not path.name.endswith(".json")] == []


def test_a_folder_without_rights_is_one_sentence(world):
    """All commands in one process, as nobody where the tests run as root; what they import is read before."""
    (world / "locked").mkdir()
    (world / "locked").chmod(0o555)
    code = "import sys, os, tools.commands.report, tools.commands.export, tools.commands.data.index; "
    code += "from tools.__main__ import main; "
    if os.geteuid() == 0:
        code += "os.setgid(65534); os.setuid(65534); "
        for path in (world.parent.parent, world.parent, world):
            path.chmod(path.stat().st_mode | stat.S_IXOTH | stat.S_IROTH)
    commands = (
        "report run clip-result.json --output locked/r.html",
        "data index --shards shards/00000.tar --workers 0 --output locked/i.parquet",
        "export --clip clip --checkpoint run --output locked/x",
    )
    code += "sys.exit(10 * sum(main(words.split()) for words in sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *commands], cwd=world, env=os.environ | {"PYTHONPATH": SOURCE},
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (30, False), done.stderr[-2000:]
    assert done.stderr.count("Permission denied") == 3

"""``keyclip data sample``: the same keys and seed give the same list, whatever they come from."""

import collections

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from store.sources.keylist import read_key_list, read_keys
from tests.tools.prepare.examples import contents, printed_json, read_lines
from tests.trainer.examples import make_store
from tools.__main__ import main
from tools.prepare.drawing import draw_keys
from trainer.data.samples import ShardSamples


def sample(*arguments: object) -> int:
    return main(["data", "sample", *map(str, arguments)])


def test_the_order_and_kind_of_the_source_do_not_matter(downloaded, tmp_path, capsys):
    listed = tmp_path / "listed.txt"
    listed.write_text("\n".join(sorted(downloaded.keys, key=hash)))
    make_store(tmp_path / "s.store", sorted(downloaded.keys))
    folder = downloaded.folder
    sources = [
        ["--shards", *downloaded.shards],
        ["--shards", *reversed(downloaded.shards)],
        ["--shards", f"{folder}/*.parquet"],
        ["--keys", listed],
        ["--store", tmp_path / "s.store", "--field", "llm/short"],
    ]
    for number, source in enumerate(sources):
        assert sample("-n", 20, "--seed", 3, *source, "--output", tmp_path / f"{number}.txt") == 0
    lists = [read_lines(tmp_path / f"{number}.txt") for number in range(len(sources))]
    assert all(drawn == lists[0] for drawn in lists)
    assert len(set(lists[0])) == 20
    assert set(lists[0]) < set(downloaded.keys)
    assert capsys.readouterr().out.startswith(f"20 of {len(downloaded.keys)} keys drawn: ")


def test_another_seed_draws_others_and_a_smaller_draw_is_the_beginning_of_a_larger_one(tmp_path):
    keys = [f"{number:09d}" for number in range(1000)]
    draw_keys(keys, 400, 0, tmp_path / "a")
    draw_keys(keys, 100, 0, tmp_path / "b")
    draw_keys(keys, 400, 1, tmp_path / "c")
    a, b, c = (read_lines(tmp_path / name) for name in "abc")
    assert a[:100] == b
    assert a != c
    assert 100 < len(set(a) & set(c)) < 220  # 160 expected


def test_every_key_is_drawn_equally_often(tmp_path):
    counts = collections.Counter()
    for seed in range(100):
        draw_keys(map(str, range(30)), 10, seed, tmp_path / "drawn", overwrite=True)
        counts.update(read_lines(tmp_path / "drawn"))
    assert len(counts) == 30
    # binomial, 100 draws at 1/3: mean 33.3, deviation 4.7
    assert min(counts.values()) > 14
    assert max(counts.values()) < 53


def test_a_key_that_comes_again_counts_once(tmp_path, capsys):
    (tmp_path / "k.txt").write_text("a\nb\n\na\n c \n")
    arguments = ["--keys", tmp_path / "k.txt", "--output", tmp_path / "drawn.txt", "--json", "True"]
    assert sample("-n", 3, *arguments) == 0
    assert sorted(read_lines(tmp_path / "drawn.txt")) == ["a", "b", "c"]
    assert printed_json(capsys) == {
        "num_drawn": 3, "num_keys": 4, "num_repeated": 1, "output": str(tmp_path / "drawn.txt")
    }  # fmt: skip


def test_more_keys_than_there_are_is_refused_and_nothing_changes(tmp_path, capsys):
    (tmp_path / "k.txt").write_text("a\nb\na\n")
    (tmp_path / "older.txt").write_text("x\n")
    before = contents(tmp_path)
    assert sample("-n", 3, "--keys", tmp_path / "k.txt", "--output", tmp_path / "older.txt", "--overwrite") == 1
    assert "3 keys are asked for, there are 2 different ones" in capsys.readouterr().err
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-n", "1"], "give one of --shards, --store and --keys"),
        (["-n", "1", "--keys", "k", "--shards", "s"], "give one of --shards, --store and --keys"),
        (["-n", "1", "--store", "s"], "--field"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, capsys, arguments, message):
    assert sample(*arguments, "--output", tmp_path / "o") == 1
    assert message in capsys.readouterr().err


def test_a_key_list_that_is_not_there_is_one_sentence(tmp_path, capsys):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    for name in ("none.txt", "latin.txt"):
        assert sample("-n", 1, "--keys", tmp_path / name, "--output", tmp_path / "o") == 1
        assert f"the key list '{tmp_path / name}' cannot be read" in capsys.readouterr().err


def test_readers_of_key_lists_take_what_is_drawn(downloaded, tmp_path):
    assert sample("-n", 7, "--shards", *downloaded.shards, "--output", tmp_path / "keys.txt") == 0
    drawn = read_lines(tmp_path / "keys.txt")
    assert read_keys(tmp_path / "keys.txt") == frozenset(drawn)
    assert sorted(drawn) == [key.decode() for key in read_key_list(tmp_path / "keys.txt")]
    samples = ShardSamples(downloaded.shards, tmp_path / "keys.txt", cache=tmp_path / "cache")
    assert [key.decode() for key in samples.keys] == [key for key in downloaded.keys if key in drawn]


def test_metadata_rows_of_failed_downloads_are_no_samples(tmp_path):
    pq.write_table(pa.table({"key": ["a", "b"], "status": ["success", "failed_to_resize"]}), tmp_path / "0.parquet")
    assert sample("-n", 1, "--shards", tmp_path / "0.parquet", "--output", tmp_path / "o") == 0
    assert read_lines(tmp_path / "o") == ["a"]

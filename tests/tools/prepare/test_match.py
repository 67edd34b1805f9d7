"""``keyclip data match``: rows that lost their keys find their samples, and what is unclear is not guessed at."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedder.reading.captions import file_rows
from tests.tools.prepare.examples import contents, printed_json, read_lines, read_parquet, write_csv
from tests.trainer.examples import write_tar
from tools.__main__ import main
from tools.prepare.database import temporary_database
from tools.prepare.matching import Comparison, Matching, Rows


def match(*arguments: object) -> int:
    return main(["data", "match", *map(str, arguments)])


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_the_url_list_of_a_download_finds_every_sample(downloaded, tmp_path, kind, capsys):
    shards, output = str(downloaded.folder / f"*.{kind}"), tmp_path / "captions.parquet"
    assert match("--shards", shards, "--tables", downloaded.table, "--output", output, "--json", "True") == 0
    report = printed_json(capsys)
    assert report["num_rows"] == 60
    assert report["num_matched"] == report["num_samples"] == len(downloaded.keys)
    assert report["num_unmatched"] == 60 - len(downloaded.keys) > 0
    assert report["matched_by"] == {"url": len(downloaded.keys)}
    fields = ["raw_caption", "longLLA_captions"]
    rows = list(file_rows(str(output), "key", fields, "error"))
    in_order = downloaded.keys if kind == "tar" else sorted(downloaded.keys)
    assert rows == [(key, [downloaded.row_of(key)[field] for field in fields]) for key in in_order]


def metadata(folder, urls):
    """Samples s0, s1 ... with these urls."""
    keys = [f"s{number}" for number in range(len(urls))]
    pq.write_table(pa.table({"key": keys, "url": pa.array(urls, pa.string())}), folder / "00000.parquet")
    return folder / "00000.parquet"


def matched(folder):
    return {row["x"]: (row["key"], row["matched_by"]) for row in read_parquet(folder / "c.parquet")}


def test_a_row_takes_the_most_exact_form_in_which_anything_is_equal(tmp_path):
    shards = metadata(tmp_path, ["http://a.org/1/p.jpg", "http://b.org/1/p.jpg", "http://b.org/2/q.jpg", None])
    rows = ["https://B.org/1/p.jpg", "https://c.org/2/q.jpg", "x/P.JPEG", "https://c.org/1/p.jpg", "", "r.jpg"]
    write_csv(tmp_path / "t.csv", [{"Image Path": url, "x": str(n)} for n, url in enumerate(rows)])
    assert match("--shards", shards, "--tables", tmp_path / "t.csv", "--output", tmp_path / "c.parquet") == 0
    # row 0 is b.org's picture, though a.org has one of the same path; rows 2 and 3 could be either
    assert matched(tmp_path) == {"0": ("s1", "url"), "1": ("s2", "path")}
    ambiguous = {row["x"]: row["candidates"] for row in read_parquet(tmp_path / "c-ambiguous.parquet")}
    assert ambiguous == {"2": "s0 s1", "3": "s0 s1"}
    assert [row["x"] for row in read_parquet(tmp_path / "c-unmatched.parquet")] == ["4", "5"]
    assert read_lines(tmp_path / "c-without-captions.txt") == ["s0", "s3"]


@pytest.mark.parametrize("field", ["url", "none"])
def test_samples_or_rows_without_any_url_are_told(tmp_path, capsys, field):
    shard = write_tar(tmp_path / "00000.tar", [("a.jpg", b""), ("a.json", b'{"url": "http://a.org/p.jpg"}')])
    write_csv(tmp_path / "t.csv", [{"Image Path": "" if field == "url" else "http://a.org/p.jpg", "x": "1"}])
    before = contents(tmp_path)
    arguments = ["--shards", shard, "--tables", tmp_path / "t.csv", "--sample-url", field]
    assert match(*arguments, "--output", tmp_path / "c.parquet") == 1
    assert "no row belongs to any sample: the first row has" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_of_rows_that_fit_one_sample_the_most_exact_gets_it_unless_equals_contradict(tmp_path):
    shards = metadata(tmp_path, ["http://a.org/1/p.jpg", "http://a.org/2/q.jpg", "http://a.org/3/r.jpg"])
    rows = [
        ("other/p.jpg", "less exact"),
        ("http://a.org/1/p.jpg", "exact"),
        ("http://b.org/2/q.jpg", "one"),
        ("http://c.org/2/q.jpg", "another"),
        ("http://b.org/3/r.jpg", "same"),
        ("http://c.org/3/r.jpg", "same"),
    ]
    write_csv(tmp_path / "t.csv", [{"Image Path": url, "x": text} for url, text in rows])
    assert match("--shards", shards, "--tables", tmp_path / "t.csv", "--output", tmp_path / "c.parquet") == 0
    assert matched(tmp_path) == {"exact": ("s0", "url"), "same": ("s2", "path")}
    ambiguous = [(row["x"], row["candidates"]) for row in read_parquet(tmp_path / "c-ambiguous.parquet")]
    assert ambiguous == [("less exact", "s0"), ("one", "s1"), ("another", "s1")]
    assert read_lines(tmp_path / "c-without-captions.txt") == ["s1"]


def test_forms_can_be_left_out(tmp_path, capsys):
    shards = metadata(tmp_path, ["http://a.org/1/p.jpg", "http://a.org/2/q.jpg"])
    write_csv(tmp_path / "t.csv", [{"u": "http://b.org/1/p.jpg", "x": "1"}, {"u": "http://a.org/2/q.jpg", "x": "2"}])
    arguments = ["--shards", shards, "--tables", tmp_path / "t.csv", "--output", tmp_path / "c.parquet"]
    assert match(*arguments) == 1
    assert "no column 'Image Path'; there are 'u', 'x'" in capsys.readouterr().err
    assert match(*arguments, "--url-column", "u", "--by", "name", "url") == 0
    assert matched(tmp_path) == {"1": ("s0", "name"), "2": ("s1", "url")}


def test_metadata_without_urls_is_refused_naming_what_is_there(tmp_path, capsys):
    shards = metadata(tmp_path, ["http://a.org/1/p.jpg"])
    write_csv(tmp_path / "t.csv", [{"Image Path": "p.jpg", "x": "1"}])
    before = contents(tmp_path)
    arguments = ["--shards", shards, "--tables", tmp_path / "t.csv", "--output", tmp_path / "c.parquet"]
    assert match(*arguments, "--sample-url", "link") == 1
    assert "has no column 'link' (there are key, url)" in capsys.readouterr().err
    assert contents(tmp_path) == before


# ---- against a join in memory


def by_hand(samples, rows):
    """status and key of every row, by the rules of :mod:`tools.prepare.matching`."""
    claims, outcome = {}, {}
    for number, (told, said) in enumerate(rows):
        fits = [[key for key, value in samples if value and told and form(value) == form(told)] for form in FORMS]
        exactness = next((i for i, keys in enumerate(fits) if keys), None)
        if exactness is None:
            outcome[number] = ("unmatched", None)
        elif len(fits[exactness]) > 1:
            outcome[number] = ("ambiguous", None)
        else:
            claims.setdefault(fits[exactness][0], []).append((exactness, number, said))
    for key, claimed in claims.items():
        best = [claim for claim in sorted(claimed) if claim[0] == min(claimed)[0]]
        agree = len({said for _, _, said in best}) == 1
        for claim in claimed:
            status = ("matched" if claim == best[0] else "repeated") if agree and claim in best else "ambiguous"
            outcome[claim[1]] = (status, key if status == "matched" else None)
    return [outcome[number] for number in range(len(rows))]


FORMS = (str, str.lower)


@pytest.mark.parametrize("seed", range(5))
def test_the_join_on_disk_decides_as_a_join_in_memory(tmp_path, seed):
    rng = random.Random(seed)
    word = lambda: rng.choice(["", *(rng.choice("aAbBcCdD") + rng.choice("eEfFgG") for _ in range(9))])  # noqa: E731
    samples = [(f"k{number}", word() or None) for number in range(40)]
    rows = [(word() or None, rng.randrange(2)) for _ in range(60)]
    with temporary_database(tmp_path / "output") as database:
        matching = Matching(database, Comparison(("exact", "lower"), lambda text: [form(text) for form in FORMS]))
        matching.add_samples(samples[:15])
        matching.add_samples(samples[15:])
        for some in (rows[:25], rows[25:]):
            told, said = zip(*some, strict=True)
            matching.add_rows([Rows(told, said, pa.table({}))])
        matching.solve()
        decided = {
            row: (status, number) for row, number, status in database.rows("SELECT row, number, status FROM outcomes")
        }
    found = [decided.get(row, ("unmatched", None)) for row in range(60)]
    found = [(status, f"k{number}" if status == "matched" else None) for status, number in found]
    assert found == by_hand(samples, rows)
    counts, statuses = matching.counts, [status for status, _ in found]
    for status in ("matched", "unmatched", "ambiguous", "repeated"):
        assert statuses.count(status) == getattr(counts, f"num_{status}")
    assert counts.num_samples_without_row == 40 - statuses.count("matched")
    assert contents(tmp_path) == {}

"""The benchmark compares like with like: same captions, same model, the same vectors. Times are not asserted."""

import json

import pytest

from tests.embedder.small_models import MINILM, save_clip
from tools.__main__ import main


def bench(capsys, *arguments):
    assert main(["bench", "embed", "--device", "cpu", "--repeats", "1", "--json", "True", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_all_contenders_embed_the_same_captions_to_the_same_vectors(capsys):
    pytest.importorskip("sentence_transformers")
    result = bench(capsys, "--model", str(MINILM), "--num-captions", "24", "--batch-size", "8")
    names = [c["name"] for c in result["contenders"]]
    assert names == ["keyclip", "fixed batches", "sentence-transformers", "limit"]
    assert result["captions"] == 24
    assert all(c["least_cosine"] > 0.9999 for c in result["contenders"] if c["name"] != "limit")
    assert all(c["captions_per_second"] > 0 for c in result["contenders"])


def test_a_clip_has_no_contender_from_sentence_transformers(capsys, tmp_path):
    save_clip(tmp_path / "clip")
    capsys.readouterr()  # deepspeed, which saving imports, logs to stdout
    result = bench(capsys, "--model", str(tmp_path / "clip"), "--num-captions", "10")
    assert [c["name"] for c in result["contenders"]] == ["keyclip", "fixed batches", "limit"]


def test_the_table_is_readable(capsys, tmp_path):
    save_clip(tmp_path / "clip")
    capsys.readouterr()
    arguments = ["--model", str(tmp_path / "clip"), "--num-captions", "10", "--device", "cpu", "--repeats", "1"]
    assert main(["bench", "embed", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("10 captions, ")
    assert [line.split()[0] for line in lines[2:]] == ["keyclip", "fixed", "limit"]
    assert len({len(line) for line in lines[1:4]}) == 1


def test_a_wrong_number_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "embed", "--model", "m", "--repeats", "0"])
    assert "--repeats is 0; expected at least 1" in capsys.readouterr().err

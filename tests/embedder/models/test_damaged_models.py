"""A damaged model folder gives one sentence that names it, whatever is wrong; never a traceback."""

import json
import random
import shutil

import pytest
import torch
import transformers
from safetensors.torch import save_file

from embedder.models.load import load_encoder
from embedder.models.options import ModelOptions
from store.common.errors import KeyclipError
from tests.embedder.damages import damages
from tests.embedder.small_models import clip_tokenizer, save_clip, save_llm, save_siglip
from tools.__main__ import main

CASES_PER_MODEL = 75
SLOW_CASES_PER_MODEL = 1500


def save_sentence_encoder(folder):
    """A tiny BERT in a sentence-transformers folder: pooling, a dense layer, normalised."""
    torch.manual_seed(0)
    tokenizer = clip_tokenizer()
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    transformers.BertModel(transformers.BertConfig(vocab_size=len(tokenizer), **shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    parts = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense", "3_Normalize": "Normalize"}
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
        for i, (path, name) in enumerate(parts.items())
    ]
    dense = {"in_features": 16, "out_features": 8, "bias": True, "activation_function": "torch.nn.modules.Tanh"}
    files = {
        "modules.json": modules,
        "sentence_bert_config.json": {"max_seq_length": 32, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {"query": "query: "}, "default_prompt_name": "query"},
        "1_Pooling/config.json": {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True},
        "2_Dense/config.json": dense,
    }
    for name, values in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(values))
    save_file({"linear.weight": torch.ones(8, 16), "linear.bias": torch.ones(8)}, folder / "2_Dense/model.safetensors")


SAVE = {"clip": save_clip, "siglip": save_siglip, "llama": save_llm, "sentence": save_sentence_encoder}


@pytest.fixture(scope="module", params=SAVE)
def sound(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / request.param
    SAVE[request.param](folder)
    return folder


def outcome(folder):
    """The sentence of the error, or None where the model can be used."""
    try:
        encoder = load_encoder(ModelOptions(model=str(folder), device="cpu"))
        vectors = encoder.encode(["a dog", "two cats"])
    except KeyclipError as error:
        return str(error)
    assert vectors.shape == (2, encoder.dim)
    return None


@pytest.mark.parametrize(
    "num_cases", [CASES_PER_MODEL, pytest.param(SLOW_CASES_PER_MODEL, marks=pytest.mark.slow)], ids=["some", "many"]
)
def test_damaged_files_give_one_sentence(sound, tmp_path, num_cases):
    assert outcome(sound) is None
    draw = random.Random(f"{sound.name} {num_cases}")
    folder = shutil.copytree(sound, tmp_path / sound.name)
    files = sorted(p for p in sound.rglob("*") if p.suffix in (".json", ".safetensors"))
    refused = 0
    for number in range(num_cases):
        file = files[number % len(files)]
        damaged = folder / file.relative_to(sound)
        for what, content in damages(file, draw, 1):
            damaged.write_bytes(content)
            try:
                said = outcome(folder)
            except BaseException as error:
                raise AssertionError(f"{damaged.relative_to(folder)}: {what}: {type(error).__name__}") from error
            if said is not None:
                refused += 1
                assert "\n" not in said
                # for a limit that leaves no room for the template, the sentence names the flag that sets it
                assert sound.name in said or "--max-length" in said, (damaged.name, what, said)
        shutil.copyfile(file, damaged)
    assert refused > num_cases // 3


def test_a_weight_file_that_was_cut_short_is_named_by_the_command(tmp_path, clip_folder, capsys):
    folder = shutil.copytree(clip_folder, tmp_path / "clip")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    (tmp_path / "c.jsonl").write_text('{"key": "a", "caption": "a dog"}\n')
    arguments = ["--captions", str(tmp_path / "c.jsonl"), "--caption-fields", "caption", "--progress", "False"]
    store = tmp_path / "s.store"
    assert main(["embed", "--model", str(folder), "--store", str(store), "--device", "cpu", *arguments]) == 1
    said = capsys.readouterr().err
    assert said.startswith(
        f"keyclip: error: model 'clip' in {str(folder)!r} cannot be loaded from its model.safetensors"
    )
    assert said.count("\n") == 1
    assert not store.exists()

"""The names that LLM2CLIP and ProCLIP use, out and in, and a released adapter as the start of stage 2."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from store.common.errors import CheckpointError, ConfigError
from store.common.settings import build
from tests.trainer.examples import CAPTION_DIM, JOINT_DIM
from tools.__main__ import main
from trainer.checkpoint.llm2clip import from_llm2clip, import_adapter, read_weights, to_llm2clip
from trainer.checkpoint.model import load_model
from trainer.model.adapter import Adapter
from trainer.stage2 import Stage2, Stage2Config

MADE_BY = {"model": "llm", "revision": "main", "template": "", "pooling": "mean"}


@pytest.mark.parametrize(("num_blocks", "expansion"), [(1, 8), (4, 2), (0, 1)])
def test_an_adapter_comes_back_from_llm2clip_names_as_it_was(num_blocks, expansion):
    adapter = Adapter(6, 3, num_blocks, expansion)
    weights = to_llm2clip(adapter) | {"visual.conv1.weight": torch.zeros(1), "logit_scale": torch.zeros(())}
    back = from_llm2clip({f"module.{name}": value for name, value in weights.items()})
    x = torch.randn(5, 6)
    torch.testing.assert_close(back(x), adapter(x), rtol=0, atol=0)
    assert back.shape == {"dim_in": 6, "dim_out": 3, "num_blocks": num_blocks, "expansion": expansion}


def test_the_names_are_those_of_one_sequence():
    assert set(to_llm2clip(Adapter(4, 2, 1, 2))) == {
        *(f"text.text_adaptor.0.{layer}.{kind}" for layer in ("ln", "fn.0", "fn.3") for kind in ("weight", "bias")),
        *(f"text.text_adaptor.{number}.{kind}" for number in (1, 2) for kind in ("weight", "bias")),
    }


def test_the_sequence_computes_what_the_adapter_computes():
    """The published module, rebuilt from its names: blocks x + fn(ln(x)), LayerNorm, Linear, after L2 normalisation."""
    adapter = Adapter(4, 2, 2, 3)
    weights = {name.removeprefix("text.text_adaptor."): value for name, value in to_llm2clip(adapter).items()}
    x = torch.randn(3, 4)
    h = torch.nn.functional.normalize(x, dim=-1)
    linear, norm = torch.nn.functional.linear, torch.nn.functional.layer_norm
    for i in range(2):
        inner = norm(h, (4,), weights[f"{i}.ln.weight"], weights[f"{i}.ln.bias"])
        inner = torch.nn.functional.gelu(linear(inner, weights[f"{i}.fn.0.weight"], weights[f"{i}.fn.0.bias"]))
        h = h + linear(inner, weights[f"{i}.fn.3.weight"], weights[f"{i}.fn.3.bias"])
    h = linear(norm(h, (4,), weights["2.weight"], weights["2.bias"]), weights["3.weight"], weights["3.bias"])
    torch.testing.assert_close(h, adapter(x))


def test_weights_without_an_adapter_are_refused():
    with pytest.raises(CheckpointError, match="no adapter of the form"):
        from_llm2clip({"visual.proj": torch.zeros(2, 2)})


def released(folder, adapter: Adapter, name: str = "released.pt"):
    """A file as training scripts write it: the adapter among other weights, under a wrapper's names."""
    weights = {f"module.{n}": v for n, v in to_llm2clip(adapter).items()} | {"module.visual.proj": torch.zeros(2, 2)}
    if name.endswith(".safetensors"):
        save_file(weights, folder / name)
    else:
        torch.save({"epoch": 3, "state_dict": weights}, folder / name)
    return folder / name


@pytest.fixture
def adapter() -> Adapter:
    torch.manual_seed(5)
    return Adapter(CAPTION_DIM, JOINT_DIM, 4, 2)


@pytest.mark.parametrize("name", ["released.pt", "released.safetensors"])
def test_a_released_adapter_starts_stage_2_and_can_be_evaluated(name, adapter, settings, clip_folder, tmp_path, capsys):
    file = released(tmp_path, adapter, name)
    words = ["import", "adapter", "--weights", file, "--store", settings["store"], "--field", "llm/short"]
    assert main([*map(str, words), "--output", str(tmp_path / "imported")]) == 0
    assert "12 to 16 dimensions, 4 blocks, expansion 2; for vectors of llm" in capsys.readouterr().out
    stage = Stage2(build(Stage2Config, settings | {"stage1": tmp_path / "imported"}))
    evaluated = load_model(str(clip_folder), tmp_path / "imported").adapter
    for name, value in adapter.state_dict().items():
        assert torch.equal(stage.objective.adapter.state_dict()[name], value)
        assert torch.equal(evaluated.state_dict()[name], value)


def test_an_adapter_goes_out_and_comes_in_as_it_was(adapter, settings, clip_folder, tmp_path):
    """The whole round: released -> run -> `keyclip export --layout llm2clip` -> run."""
    import_adapter(released(tmp_path, adapter), MADE_BY, tmp_path / "run", CAPTION_DIM)
    words = ["export", "--clip", clip_folder, "--checkpoint", tmp_path / "run", "--layout", "llm2clip"]
    assert main([*map(str, words), "--output", str(tmp_path / "again.safetensors")]) == 0
    there, back = to_llm2clip(adapter), load_file(tmp_path / "again.safetensors")
    assert set(there) == set(back)
    assert all(torch.equal(value, back[name]) for name, value in there.items())
    import_adapter(tmp_path / "again.safetensors", MADE_BY, tmp_path / "run2", CAPTION_DIM)
    assert load_model(str(clip_folder), tmp_path / "run2").embedder == MADE_BY


def test_an_adapter_for_vectors_of_another_width_is_refused(adapter, tmp_path):
    with pytest.raises(ConfigError, match="takes vectors of 12 dimensions, the vectors of 'llm' have 384"):
        import_adapter(released(tmp_path, adapter), MADE_BY, tmp_path / "run", 384)
    assert not (tmp_path / "run").exists()


def test_an_import_never_overwrites(adapter, tmp_path):
    import_adapter(released(tmp_path, adapter), MADE_BY, tmp_path / "run", CAPTION_DIM)
    with pytest.raises(ConfigError, match="an import never overwrites"):
        import_adapter(released(tmp_path, adapter), MADE_BY, tmp_path / "run", CAPTION_DIM)


class Trap:
    """Unpickling it would call print."""

    def __reduce__(self):
        return print, ("it ran",)


def test_a_file_that_would_run_code_is_refused_and_does_not(tmp_path, capsys):
    torch.save({"state_dict": {"x": Trap()}}, tmp_path / "trap.pt")
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        read_weights(tmp_path / "trap.pt")
    assert "it ran" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["absent.pt", "absent.safetensors", "torn.pt", "torn.safetensors"])
def test_a_file_that_is_absent_or_torn_is_refused(name, tmp_path):
    (tmp_path / "torn.pt").write_bytes(b"PK torn")
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        read_weights(tmp_path / name)

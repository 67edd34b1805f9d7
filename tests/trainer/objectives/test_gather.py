"""InfoNCE over two real ranks is the loss of one process, in value and in gradient."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from trainer.engine.deepspeed_engine import leave
from trainer.objectives.gather import RanksDisagreeError, gather_rows, require_same
from trainer.objectives.losses import MAX_LOGIT_SCALE, contrastive

# case -> rows of each rank, logit scale, seed
CASES = {
    "even": ((4, 4), 1.5, 0),
    "uneven": ((2, 6), 1.5, 0),
    "one row against many": ((7, 1), 1.5, 0),
    "at the upper bound": ((4, 4), MAX_LOGIT_SCALE, 0),
    # the ranks alone would move the temperature in opposite directions: together inwards, together outwards
    "ranks that disagree at a bound, inwards": ((4, 4), 0.0, 2),
    "ranks that disagree at a bound, outwards": ((4, 4), 0.0, 3),
}


def make_case(name: str) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """Inputs of eight images and texts, and the parameters of two small towers."""
    random = torch.Generator().manual_seed(CASES[name][2])
    image, text = torch.randn(8, 5, generator=random), torch.randn(8, 3, generator=random)
    parameters = {
        "image_tower": torch.randn(5, 4, generator=random),
        "text_tower": torch.randn(3, 4, generator=random),
        "logit_scale": torch.tensor([CASES[name][1]]),
    }
    return image, text, {key: value.requires_grad_() for key, value in parameters.items()}


def loss_of(image: torch.Tensor, text: torch.Tensor, parameters: dict[str, torch.Tensor]) -> torch.Tensor:
    image_BE = F.normalize(image @ parameters["image_tower"], dim=-1)
    text_BE = F.normalize(text @ parameters["text_tower"], dim=-1)
    return contrastive(image_BE, text_BE, parameters["logit_scale"])


def one_process(name: str) -> dict[str, torch.Tensor]:
    image, text, parameters = make_case(name)
    loss = loss_of(image, text, parameters)
    loss.backward()
    return {"loss": loss.detach().reshape(1), **{key: value.grad for key, value in parameters.items()}}


def run_rank(rank: int, folder: str) -> None:
    """Data-parallel training of every case: each rank its own rows, gradients averaged over ranks."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    results = {}
    for name, (sizes, *_) in CASES.items():
        image, text, parameters = make_case(name)
        rows = slice(0, sizes[0]) if rank == 0 else slice(sizes[0], None)
        loss = loss_of(image[rows], text[rows], parameters)
        loss.backward()
        values = {"loss": loss.detach().reshape(1), **{key: value.grad for key, value in parameters.items()}}
        for value in values.values():
            dist.all_reduce(value)
        results |= {f"{name}/{key}": value / 2 for key, value in values.items()}
    rows = torch.arange(rank * 2, rank * 2 + 2 + rank).float()[:, None, None].expand(-1, 2, 1)
    gathered, start, ranks = gather_rows(rows)
    results |= {"gathered": gathered.contiguous(), "where": torch.tensor([start, ranks])}
    require_same(3, "a number that both have", "none needed", torch.device("cpu"))
    try:
        require_same(5 - rank, "the number of samples", "copy the shards", torch.device("cpu"))
    except RanksDisagreeError as error:
        (Path(folder) / f"{rank}.txt").write_text(str(error))
    save_file(results, f"{folder}/{rank}.safetensors")
    dist.destroy_process_group()
    leave(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks found."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.start_processes(run_rank, args=(str(folder),), nprocs=2, start_method="spawn")
    return folder


@pytest.fixture(scope="module")
def results(folder: Path) -> list[dict[str, torch.Tensor]]:
    return [load_file(folder / f"{rank}.safetensors") for rank in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_give_the_loss_of_one_process_on_the_concatenated_batch(results, name):
    expected = one_process(name)["loss"].item()
    assert results[0][f"{name}/loss"].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("parameter", ["image_tower", "text_tower", "logit_scale"])
def test_two_ranks_give_the_gradient_of_one_process_on_the_concatenated_batch(results, name, parameter):
    expected = one_process(name)[parameter]
    for rank in range(2):
        torch.testing.assert_close(results[rank][f"{name}/{parameter}"], expected, rtol=1e-5, atol=1e-6)


def test_the_cases_tell_a_gathered_batch_from_a_local_one():
    """Each rank alone, without gathering, would give another loss and another gradient."""
    image, text, parameters = make_case("even")
    local = (loss_of(image[:4], text[:4], parameters) + loss_of(image[4:], text[4:], parameters)) / 2
    local.backward()
    expected = one_process("even")
    assert abs(local.item() - expected["loss"].item()) > 0.1
    assert (parameters["image_tower"].grad - expected["image_tower"]).abs().max() > 0.01


def test_rows_are_gathered_in_rank_order_whatever_their_number(results):
    for result in results:
        assert result["gathered"].shape == (5, 2, 1)
        assert result["gathered"][:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert results[0]["where"].tolist() == [0, 2]  # first row of rank 0, ranks
    assert results[1]["where"].tolist() == [2, 2]


def test_without_ranks_rows_are_their_own_gathering():
    rows = torch.ones(3, 2)
    assert gather_rows(rows) == (rows, 0, 1)


def test_ranks_that_see_different_files_are_refused_on_every_rank(folder):
    for rank in range(2):
        said = (folder / f"{rank}.txt").read_text()
        assert said == "the number of samples is 5 on rank 0 and 4 on rank 1; copy the shards"

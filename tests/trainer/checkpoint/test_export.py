"""What leaves: folders that transformers loads, whatever the tower and however it was trained."""

import io
import json

import pytest
import torch
import transformers
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from store.common.errors import CheckpointError
from store.common.settings import build
from tests.embedder.small_models import save_siglip
from tests.trainer.examples import CAPTION_DIM, encoded, picture
from trainer.checkpoint.export import export_folder, load_adapter
from trainer.checkpoint.folder import save_checkpoint
from trainer.model.towers import load_image_tower, patchify
from trainer.stage2 import Stage2, Stage2Config

PROCESSORS = (CLIPImageProcessorPil, SiglipImageProcessorPil, Siglip2ImageProcessorPil)


def test_a_folder_that_is_no_export_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="make one with `keyclip export`"):
        load_adapter(tmp_path)


def pixels() -> torch.Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=["clip", "siglip", "siglip2"])
def folder(request, clip_folder, tmp_path_factory):
    if request.param == "clip":
        return clip_folder
    folder = tmp_path_factory.mktemp("models") / request.param
    save_siglip(folder)
    return folder


def tuned(folder, run, lora_rank: int, store_path, shards):
    """A checkpoint of stage 2 whose image tower has moved; returns the stage."""
    lora = {"lora_rank": lora_rank, "lora_alpha": 3.0} if lora_rank else {}
    data = {"shards": tuple(shards), "store": store_path, "fields": ("llm/short",)}
    config = build(Stage2Config, {"output": run, "clip": str(folder), "batch_size": 8, **data, **lora})
    torch.manual_seed(0)
    stage = Stage2(config)
    trained = {name: p for name, p in stage.module.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for parameter in trained.values():
            parameter += 0.05 * torch.randn(parameter.shape)
    weights = {name: p.detach() for name, p in trained.items()}
    save_checkpoint(run, {"model": weights}, {"stage": "stage2", "step": 1, **stage.info}, 1)
    return stage


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_the_tuned_tower_is_loaded_by_its_own_library_with_the_same_features(
    folder, lora_rank, tmp_path, store_path, shards
):
    stage = tuned(folder, tmp_path / "run", lora_rank, store_path, shards)
    export_folder(str(folder), tmp_path / "run", tmp_path / "export")
    about = json.loads((tmp_path / "export" / "keyclip.json").read_text())
    vision = getattr(transformers, about["tower"]).from_pretrained(tmp_path / "export").eval()
    inputs = {"pixel_values": pixels()}
    if folder.name == "siglip2":
        inputs = {"pixel_values": patchify(pixels(), 8), "pixel_attention_mask": torch.ones(3, 16, dtype=torch.int32)}
        inputs["spatial_shapes"] = torch.full((3, 2), 4)
    with torch.no_grad():
        expected = stage.objective.image(pixels())
        output = vision(**inputs)
        features = output.image_embeds if "image_embeds" in output else output.pooler_output
        torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)
        original = load_image_tower(str(folder)).model(pixels())
        assert (expected - original).abs().max() > 0.01
        exported = load_image_tower(str(tmp_path / "export"))
        torch.testing.assert_close(exported.model(pixels()), expected, atol=1e-5, rtol=1e-5)
    assert exported.transform == load_image_tower(str(folder)).transform
    captions = torch.randn(5, CAPTION_DIM)
    adapter = load_adapter(tmp_path / "export")
    assert torch.equal(adapter(captions), stage.objective.adapter(captions))


def test_the_processor_of_an_exported_tower_sees_images_as_training_did(folder, tmp_path, store_path, shards):
    """Of a square picture, whose shape none of them changes."""
    tuned(folder, tmp_path / "run", 0, store_path, shards)
    export_folder(str(folder), tmp_path / "run", tmp_path / "export")
    settings = json.loads((tmp_path / "export" / "preprocessor_config.json").read_text())
    (processor,) = [kind for kind in PROCESSORS if kind.__name__ == settings["image_processor_type"] + "Pil"]
    payload = encoded(picture(7, (96, 96)), "PNG")
    image = Image.open(io.BytesIO(payload))
    theirs = processor.from_pretrained(tmp_path / "export")(image, return_tensors="pt")["pixel_values"]
    transform = load_image_tower(str(folder)).transform
    ours = transform.normalize(torch.from_numpy(transform.evaluate(payload))[None])
    torch.testing.assert_close(patchify(ours, 8) if folder.name == "siglip2" else ours, theirs, atol=0.01, rtol=0)

"""Image features that are computed once: by weights and by images, not by name."""

import numpy as np
import pytest
import torch

from store.common.errors import ConfigError
from tests.embedder.small_models import save_clip
from tests.trainer.examples import encoded, picture
from trainer.evaluation.features import Encoder, weights_identity
from trainer.evaluation.sets.images import FolderImages
from trainer.model.towers import load_image_tower

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    save_clip(folder)
    return str(folder)


def images(folder, count=3, first=0) -> FolderImages:
    folder.mkdir(exist_ok=True)
    files = [folder / f"{i}.jpg" for i in range(count)]
    for i, file in enumerate(files):
        file.write_bytes(encoded(picture(first + i)))
    return FolderImages(files, [file.name for file in files])


def test_features_are_computed_once_for_the_same_weights_and_images(clip, tmp_path):
    tower = load_image_tower(clip)
    found = Encoder(tower, CPU, tmp_path / "kept").features("photos", images(tmp_path / "a"))
    (file,) = (tmp_path / "kept").glob("*/*.npy")
    assert file.parent.name == weights_identity(tower)
    np.save(file, np.zeros((3, 16), np.float32))  # what is kept is what is returned
    again = Encoder(tower, CPU, tmp_path / "kept")
    assert torch.equal(again.features("photos", images(tmp_path / "a")), torch.zeros(3, 16))
    torch.testing.assert_close(Encoder(tower, CPU).features("photos", images(tmp_path / "a")), found)


def test_other_weights_other_pixels_and_other_names_are_computed_anew(clip, tmp_path):
    tower, kept = load_image_tower(clip), tmp_path / "kept"
    Encoder(tower, CPU, kept).features("photos", images(tmp_path / "a"))
    Encoder(tower, CPU, kept).features("photos", images(tmp_path / "a", first=9))
    Encoder(tower, CPU, kept).features("photos", images(tmp_path / "a", count=2))
    assert len(list(kept.glob("*/*.npy"))) == 3
    before = weights_identity(tower)
    with torch.no_grad():
        next(iter(tower.model.parameters())).view(-1)[0] += 1
    assert weights_identity(tower) != before
    Encoder(tower, CPU, kept).features("photos", images(tmp_path / "a"))
    assert len(list(kept.iterdir())) == 2


def test_the_latest_images_are_not_encoded_twice(clip, tmp_path):
    encoder, photos = Encoder(load_image_tower(clip), CPU), images(tmp_path / "a")
    assert encoder.features("a", photos) is encoder.features("b", photos)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", np.zeros(3)])
def test_a_damaged_file_is_refused_naming_it(clip, tmp_path, content):
    encoder = Encoder(load_image_tower(clip), CPU, tmp_path / "kept")
    encoder.features("photos", images(tmp_path / "a"))
    (file,) = (tmp_path / "kept").glob("*/*.npy")
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.save(file, content)
    with pytest.raises(ConfigError, match=r"the kept features '.*npy' .*: ?.*remove the file|the kept features"):
        Encoder(load_image_tower(clip), CPU, tmp_path / "kept").features("photos", images(tmp_path / "a"))

"""Runs ``keyclip`` commands, one json list each, where torchvision, open_clip and pycocoevalcap are not installed.

CLIP_benchmark imports names of all three wherever it is used; webdataset folders need none of them. The stand-ins below
are those names and no more: whatever calls one of them fails. Everything else is CLIP_benchmark's own code.
"""

import json
import sys
from types import ModuleType

import transformers.models.clip.modeling_clip  # noqa: F401  # asks for torchvision before there is a stand-in

from tools.__main__ import main

DATASETS = (
    "CIFAR10 CIFAR100 DTD GTSRB MNIST PCAM STL10 SUN397 CocoCaptions Country211 EuroSAT FGVCAircraft Flowers102 "
    "Food101 ImageFolder ImageNet OxfordIIITPet RenderedSST2 StanfordCars VisionDataset"
)
NAMES = {
    "torchvision": "",
    "torchvision.datasets": DATASETS,
    "torchvision.datasets.utils": "download_and_extract_archive download_url extract_archive verify_str_arg",
    "torchvision.datasets.vision": "VisionDataset",
    "torchvision.transforms": "Compose",
    "open_clip": "tokenize",
    "open_clip.tokenizer": "_tokenizer",
    "pycocoevalcap": "",
    "pycocoevalcap.tokenizer": "",
    "pycocoevalcap.tokenizer.ptbtokenizer": "PTBTokenizer",
    "pycocoevalcap.bleu": "",
    "pycocoevalcap.bleu.bleu": "Bleu",
    "pycocoevalcap.meteor": "",
    "pycocoevalcap.meteor.meteor": "Meteor",
    "pycocoevalcap.rouge": "",
    "pycocoevalcap.rouge.rouge": "Rouge",
    "pycocoevalcap.cider": "",
    "pycocoevalcap.cider.cider": "Cider",
    "pycocoevalcap.spice": "",
    "pycocoevalcap.spice.spice": "Spice",
}


class Absent:
    """Stands for a class or function that is imported and not used."""

    def __init__(self, *arguments: object, **settings: object) -> None:
        raise NotImplementedError(f"{type(self).__name__} is a stand-in")


def install() -> None:
    for name, members in NAMES.items():
        module = ModuleType(name)
        for member in members.split():
            setattr(module, member, type(member, (Absent,), {}))
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    sys.modules["open_clip"].list_pretrained = list  # called on import: no pretrained models


if __name__ == "__main__":
    install()
    sys.exit(max(main(json.loads(command)) for command in sys.argv[1:]))

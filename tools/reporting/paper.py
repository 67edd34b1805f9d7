"""The paper's two tables with the arms as rows: retrieval at rank 1, and zero-shot accuracy over eleven sets.

Published rows stand below where a set is among the results: ViT-L/14 tuned on CC3M, as ProCLIP (arXiv 2510.18795)
reports them. Figures that this project does not know for certain are left empty.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tools.reporting.compare import Column, Reader, Table, caption_sets, make_table
from tools.reporting.inputs import DIRECTIONS, Result

RETRIEVAL = {
    "flickr30k": "Flickr30k",
    "coco": "COCO",
    "sharegpt4v": "ShareGPT4V-1k",
    "urban": "Urban-1k",
    "docci": "DOCCI",
    "dci": "DCI",
    "xm3600": "XM3600",
}
ZERO_SHOT = {
    "food101": "Food101",
    "cifar100": "CIFAR100",
    "cifar10": "CIFAR10",
    "sun397": "SUN397",
    "cars": "Cars",
    "aircraft": "Aircraft",
    "dtd": "DTD",
    "pets": "Pets",
    "caltech101": "Caltech101",
    "flowers102": "Flowers102",
    "imagenet": "ImageNet",
}
AVERAGE = "average"
SOURCE = "Published: ViT-L/14 tuned on 3 million pairs, as ProCLIP (arXiv 2510.18795) reports it."
# arm -> set -> R@1 (image to text, text to image)
PUBLISHED_RETRIEVAL: dict[str, dict[str, tuple[float, float]]] = {
    "LLM2CLIP, published": {
        "flickr30k": (0.924, 0.801), "coco": (0.655, 0.497), "urban": (0.836, 0.890), "docci": (0.851, 0.859),
        "dci": (0.700, 0.744),
    },
    "ProCLIP, published": {
        "flickr30k": (0.928, 0.811), "coco": (0.664, 0.519), "urban": (0.869, 0.923), "docci": (0.859, 0.869),
        "dci": (0.712, 0.761),
    },
}  # fmt: skip
PUBLISHED_ZERO_SHOT: dict[str, dict[str, float]] = {
    "CLIP, published": {AVERAGE: 0.757},
    "LLM2CLIP, published": {"imagenet": 0.528, AVERAGE: 0.544},
    "ProCLIP, published": {"imagenet": 0.625, AVERAGE: 0.649},
}


def retrieval(results: Sequence[Result]) -> Table:
    """R@1 of every retrieval set both ways, the paper's sets first and in its order."""
    columns: list[tuple[Column, Reader]] = []
    published: dict[str, list[float | None]] = {arm: [] for arm in PUBLISHED_RETRIEVAL}
    for name in _in_order(caption_sets(results), RETRIEVAL):
        known = _known(name, RETRIEVAL)
        for place, way in enumerate(DIRECTIONS):
            short = ("I → T", "T → I")[place]
            address = ("retrieval", name, f"{way}/R@1")
            title = RETRIEVAL[known] if known else name
            columns.append((Column(title, short, True, True, address=address), _recall(name, way)))
            for arm, row in published.items():
                values = PUBLISHED_RETRIEVAL[arm].get(known or "")
                row.append(values[place] if values else None)
    return _with_published(make_table(results, columns), published)


def zero_shot(results: Sequence[Result]) -> Table:
    """The accuracy of every classification set as papers report it, and the average."""
    names = _in_order(list(dict.fromkeys(n for result in results for n in result.zeroshot_sets)), ZERO_SHOT)
    columns: list[tuple[Column, Reader]] = []
    keys: list[str | None] = []
    for name in names:
        known = _known(name, ZERO_SHOT)
        column = Column("", ZERO_SHOT[known] if known else name, True, True, address=("zeroshot", name, "accuracy"))
        columns.append((column, _accuracy(name)))
        keys.append(known)
    if len(names) > 1:
        average = Column("", f"average of {len(names)}", True, True, address=("zeroshot", "", "accuracy"))
        columns.append((average, _average(names)))
        keys.append(AVERAGE if set(keys) == set(ZERO_SHOT) else None)
    published = {arm: [values.get(key) if key else None for key in keys] for arm, values in PUBLISHED_ZERO_SHOT.items()}
    return _with_published(make_table(results, columns), published)


def _with_published(table: Table, published: Mapping[str, Sequence[float | None]]) -> Table:
    rows = [(arm, tuple(row)) for arm, row in published.items() if any(value is not None for value in row)]
    return replace(table, rows=(*table.rows, *rows), references=tuple(arm for arm, _ in rows))


def _known(name: str, names: Mapping[str, str]) -> str | None:
    """The paper's set that ``name`` means: ``coco-karpathy`` is COCO's, ``Urban-1k`` and ``urban1k`` are the same."""
    plain = "".join(character for character in name.lower() if character.isalnum())
    return next((known for known in names if plain.startswith(known)), None)


def _in_order(names: Sequence[str], known: Mapping[str, str]) -> list[str]:
    order = list(known)
    found = {name: _known(name, known) for name in names}
    return sorted(names, key=lambda name: order.index(one) if (one := found[name]) else len(order))


def _recall(name: str, way: str) -> Reader:
    return lambda result: result.retrieval[name][way]["R@1"] if name in result.retrieval else None


def _accuracy(name: str) -> Callable[[Result], float | None]:
    return lambda result: result.zeroshot_sets.get(name, {}).get("accuracy")


def _average(names: Sequence[str]) -> Reader:
    def read(result: Result) -> float | None:
        values = [result.zeroshot_sets.get(name, {}).get("accuracy") for name in names]
        found = [value for value in values if value is not None]
        return sum(found) / len(found) if len(found) == len(names) else None

    return read

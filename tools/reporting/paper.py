"""The paper's two tables with the arms as rows: retrieval at rank 1, and zero-shot accuracy over eleven sets.

Published rows stand below where a set is among the results: ViT-L/14 tuned on CC3M, from ``tools.reporting.published``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tools.reporting import published
from tools.reporting.compare import Column, Reader, Table, caption_sets, make_table
from tools.reporting.inputs import DIRECTIONS, Result

RETRIEVAL = {
    "flickr30k": "Flickr30k",
    "coco": "COCO",
    "sharegpt4v": "ShareGPT4V-1k",
    "urban1k": "Urban-1k",
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
SOURCE = f"Published: ViT-L/14 tuned on 3 million pairs, as reported by {published.SOURCE}."
BASE_MODEL, DATA = "ViT-L/14", {"CLIP": "400M", "LLM2CLIP": "3M", "ProCLIP": "3M"}


def retrieval(results: Sequence[Result]) -> Table:
    """R@1 of every retrieval set both ways, the paper's sets first and in its order."""
    columns: list[tuple[Column, Reader]] = []
    measures: list[str | None] = []
    for name in _in_order(caption_sets(results), RETRIEVAL):
        known = _known(name, RETRIEVAL)
        for place, way in enumerate(DIRECTIONS):
            short = ("I → T", "T → I")[place]
            address = ("retrieval", name, f"{way}/R@1")
            title = RETRIEVAL[known] if known else name
            columns.append((Column(title, short, True, True, address=address), _recall(name, way)))
            measures.append(f"{known}_{('i2t', 't2i')[place]}" if known else None)
    return _with_published(make_table(results, columns), "retrieval_r1", measures)


def zero_shot(results: Sequence[Result]) -> Table:
    """The accuracy of every classification set as papers report it, and the average."""
    names = _in_order(list(dict.fromkeys(n for result in results for n in result.zeroshot_sets)), ZERO_SHOT)
    columns: list[tuple[Column, Reader]] = []
    measures: list[str | None] = []
    for name in names:
        known = _known(name, ZERO_SHOT)
        column = Column("", ZERO_SHOT[known] if known else name, True, True, address=("zeroshot", name, "accuracy"))
        columns.append((column, _accuracy(name)))
        measures.append(known)
    if len(names) > 1:
        average = Column("", f"average of {len(names)}", True, True, address=("zeroshot", "", "accuracy"))
        columns.append((average, _average(names)))
        measures.append("avg" if set(measures) == set(ZERO_SHOT) else None)
    return _with_published(make_table(results, columns), "zeroshot", measures)


def _with_published(table: Table, name: published.Name, measures: Sequence[str | None]) -> Table:
    """The table with the paper's rows below; ``measures`` names the paper's column of each of its columns."""
    known = {
        f"{method}, published": published.find(name, BASE_MODEL, method, data).values for method, data in DATA.items()
    }
    found = [(arm, tuple(values.get(m) if m else None for m in measures)) for arm, values in known.items()]
    rows = [(arm, row) for arm, row in found if any(value is not None for value in row)]
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

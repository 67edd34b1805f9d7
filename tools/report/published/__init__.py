"""The paper's published figures (ProCLIP, arXiv 2510.18795 v3), read from the CSV files of this package."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

SOURCE = "ProCLIP, arXiv 2510.18795 v3"
Name = Literal["retrieval_r1", "zeroshot", "robustness", "linear_probe", "ablations"]
_TEXTS = ("study", "arm", "base_model", "method", "data", "embedder", "num_blocks", "lambda_reg")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a published table.

    Attributes:
        base_model: as the paper names it, such as ``ViT-L/14``.
        method: CLIP, LLM2CLIP, ProCLIP or LiT; in the study of components the losses.
        data: size of the fine-tuning data, such as 3M; of CLIP itself, its pretraining data.
        values: measure -> value in [0, 1]; without the measures that are not published.
        about: further columns of ``ablations``: study, arm (of ``keyclip compare``), embedder, num_blocks, lambda_reg.
    """

    base_model: str
    method: str
    data: str
    values: Mapping[str, float]
    about: Mapping[str, str]


@cache
def table(name: Name) -> tuple[Row, ...]:
    """The rows of one file, in the paper's order."""
    text = files(__name__).joinpath(f"{name}.csv").read_text(encoding="utf-8")
    rows = []
    for columns in csv.DictReader(text.splitlines()):
        values = {key: round(float(cell) / 100, 6) for key, cell in columns.items() if key not in _TEXTS and cell}
        about = {key: columns[key] for key in _TEXTS if key in columns}
        rows.append(Row(about.pop("base_model"), about.pop("method"), about.pop("data"), values, about))
    return tuple(rows)


def study(name: str) -> list[Row]:
    """The rows of one ablation: components, lambda_reg, base_model, scale, embedder or other_methods."""
    return [row for row in table("ablations") if row.about["study"] == name]


def find(name: Name, base_model: str, method: str, data: str | None = None) -> Row:
    """The only row of a table with these properties; ``data`` may be left out where it is not needed for that.

    Raises:
        LookupError: there is no such row, or more than one.
    """
    found = [
        row for row in table(name) if (row.base_model, row.method) == (base_model, method) and data in (None, row.data)
    ]
    if len(found) != 1:
        raise LookupError(f"{len(found)} rows of {method} on {base_model} at {data} in {name}; expected one")
    return found[0]

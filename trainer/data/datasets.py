"""Which data a run trains on: one dataset by flags, or several by a YAML file, each with a weight."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import yaml

from store.common.errors import ConfigError
from store.common.files import read_text
from store.common.pipes import refuse_pipes
from store.common.settings import settings_of
from store.common.yaml_text import load_yaml
from trainer.data.join import Join, Missing, differences
from trainer.data.order import Source
from trainer.data.samples import NO_VECTOR, ShardSamples
from trainer.data.shared_batches import batch_dtype
from trainer.settings.config import require


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """One dataset of a run: the settings of the same names, for this dataset alone.

    A sample is identified by dataset and key: keys may repeat between datasets. ``name`` is for messages, the log and
    checkpoints; ``weight`` is how often an epoch takes each sample: 1 once, 2 twice, 0.5 every other epoch.
    """

    name: str
    store: Path
    fields: tuple[str, ...]
    teacher_fields: tuple[str, ...] = ()
    field_weights: tuple[float, ...] | None = None
    shards: tuple[str, ...] = ()
    keys: Path | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        where = f" of dataset {self.name!r}"
        if not self.fields:
            raise ConfigError(f"no fields{where} are named; name fields of store {str(self.store)!r}")
        require(0 < self.weight < math.inf, f"weight{where}", self.weight, "a number above 0")
        weights = self.field_weights
        if weights is not None and (len(weights) != len(self.fields) or min(weights) < 0 or sum(weights) <= 0):
            raise ConfigError(f"field_weights{where} {weights}; expected one number >= 0 per field, not all 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Where a run's samples come from."""

    datasets: Path | None = None
    """YAML file of several datasets, NAME: {shards, store, weight, ...}; --fields and --store fill what it leaves out.
    Settings of a dataset: shards, store, fields, field_weights, teacher_fields, keys and weight. By weight 1 an epoch
    takes every sample of it once, by 2 twice, by 0.5 half of them, the other half in the next epoch."""
    store: Path | None = None
    """The store that holds the vectors."""
    fields: tuple[str, ...] = ()
    """Fields of caption vectors."""
    keys: Path | None = None
    """Key list, one sample key a line: train on these samples only."""
    missing: Missing = "error"
    """What to do with a sample that lacks a vector in some field: refuse to start, or leave it out and count it."""
    data: tuple[Dataset, ...] = field(init=False)
    """The datasets, as the settings describe them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", tuple(self._datasets()))
        self.check()

    def check(self) -> None:
        """Raises: ConfigError: the datasets do not fit the stage."""

    def _datasets(self) -> list[Dataset]:
        named = ("store", "fields", "teacher_fields", "field_weights")
        common = {name: value for name in named if (value := getattr(self, name, None))}
        alone = {name: value for name in ("shards", "keys") if (value := getattr(self, name, None))}
        if self.datasets is None:
            if self.store is None:
                raise ConfigError("no store is named; give --store, or several datasets by --datasets FILE")
            return [Dataset(name=self.store.stem, **{"fields": (), **common}, **alone)]
        if alone:
            raise ConfigError(
                f"--{' and --'.join(alone)} and --datasets exclude each other; name them in {str(self.datasets)!r}"
            )
        return read_datasets(self.datasets, common)


def read_datasets(file: Path, common: Mapping[str, Any]) -> list[Dataset]:
    """The datasets of a YAML file; ``common`` holds the settings that an entry may leave out.

    Raises: ConfigError: the file cannot be read, or an entry is not as expected; names file, dataset and setting.
    """
    try:
        entries = load_yaml(read_text(file, f"the datasets of {str(file)!r}"))
    except yaml.YAMLError as error:
        raise ConfigError(f"the datasets of {str(file)!r} cannot be read: {error}") from error
    if not isinstance(entries, dict) or not entries:
        raise ConfigError(f"{str(file)!r} must map names of datasets to settings, such as cc3m: {{store: cc3m.store}}")
    return [_dataset(f"dataset {name!r} of {str(file)!r}", name, entry, common) for name, entry in entries.items()]


def _dataset(where: str, name: str, entry: Any, common: Mapping[str, Any]) -> Dataset:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where} holds {entry!r:.80}; expected settings such as {{store: {name}.store}}")
    known = {setting: each for setting, each in settings_of(Dataset).items() if setting != "name"}
    if unknown := [setting for setting in entry if setting not in known]:
        raise ConfigError(f"{where} sets {unknown[0]!r}, which is not a setting; there are {', '.join(known)}")
    if empty := [setting for setting, value in entry.items() if value == []]:
        raise ConfigError(f"{where} sets {empty[0]} to []; expected at least one value")
    refuse_pipes(entry, where)
    merged = {"fields": (), **common}
    merged |= {setting: known[setting].from_value(value, where) for setting, value in entry.items()}
    if "store" not in merged:
        raise ConfigError(f"{where} names no store, and neither does --store")
    return Dataset(name=name, **merged)


class Part:
    """The samples of one dataset; ``join`` finds their caption vectors."""

    def __init__(self, dataset: Dataset) -> None:
        self.name, self.weight, self.join = dataset.name, dataset.weight, Join(dataset.store, dataset.fields)

    @property
    def source(self) -> Source:
        """Number and weight of the samples."""
        raise NotImplementedError


P = TypeVar("P", bound=Part)


class Several(Generic[P]):
    """One or several datasets as one sequence of samples, numbered dataset by dataset.

    ``join`` is of the first dataset, ``dtype`` holds the vectors of all as they are stored.

    Raises: ConfigError: the datasets hold vectors of different models.
    """

    def __init__(self, parts: Sequence[P]) -> None:
        self.parts, self.join = parts, parts[0].join
        require_one_model({part.name: part.join for part in parts})
        self.dtype = batch_dtype(*(part.join.dtype for part in parts))
        self._starts = np.cumsum([0, *(source.num_samples for source in self.sources)])

    @property
    def sources(self) -> Sequence[Source]:
        return [part.source for part in self.parts]

    def divided(self, samples: np.ndarray) -> Iterator[tuple[P, np.ndarray, np.ndarray]]:
        """For each dataset that holds some of ``samples`` (n,): the dataset, their places in ``samples``, their numbers
        within the dataset. With datasets of 4 and 8 samples, [5, 1] gives (first, [1], [1]), (second, [0], [1])."""
        numbers = np.searchsorted(self._starts, samples, side="right") - 1
        for number in np.unique(numbers).tolist():
            places = np.flatnonzero(numbers == number)
            yield self.parts[number], places, samples[places] - self._starts[number]


def joined_samples(dataset: Dataset, join: Join, missing: Missing) -> ShardSamples:
    """The samples of a dataset's shards that have a vector in every field of ``join``.

    Raises: MissingKeysError: some have none and ``missing`` is ``"error"``.
    """
    samples = ShardSamples(dataset.shards, dataset.keys, show_progress=True)
    samples.keep(join.covered(samples.keys, missing), NO_VECTOR)
    return samples


def require_one_model(joins: Mapping[str, Join]) -> None:
    """Raises: ConfigError: the vectors of a dataset are of another model, or of another width, than the first's."""
    (first, one), *others = joins.items()
    for name, join in others:
        differing = differences(one.made_by, join.made_by)
        if one.dim != join.dim:
            differing = f"width {one.dim} and {join.dim}"
        if differing:
            raise ConfigError(
                f"datasets {first!r} and {name!r} hold vectors of different models: fields {one.fields[0]!r} and "
                f"{join.fields[0]!r} differ in {differing}; name fields of one model"
            )

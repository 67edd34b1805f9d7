"""Which data a run trains on: one dataset by flags, or several by a YAML file, each with a weight."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from store.common.errors import ConfigError
from store.common.files import read_text
from store.common.pipes import refuse_pipes
from store.common.yaml_text import load_yaml
from trainer.data.join import Join, Missing, differences
from trainer.settings.config import ValidatedRunConfig, require

_LISTS = ("shards", "fields", "teacher_fields")
_PATHS = ("store", "keys")
_SETTINGS = (*_LISTS, *_PATHS, "field_weights", "weight")


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """One dataset of a run. A sample is named by dataset and key: keys may repeat between datasets."""

    name: str
    """For people: in messages, the log and checkpoints."""
    store: Path
    """The store that holds the vectors."""
    fields: tuple[str, ...]
    """Fields of caption vectors."""
    teacher_fields: tuple[str, ...] = ()
    """Stage 1: fields of CLIP's own text features of the same captions, in the order of ``fields``."""
    field_weights: tuple[float, ...] | None = None
    """Stage 2: relative probability of each field; equal by default."""
    shards: tuple[str, ...] = ()
    """Image shards: paths, globs, brace ranges or @FILE lists."""
    keys: Path | None = None
    """Key list, one sample key a line: these samples only."""
    weight: float = 1.0
    """How often an epoch takes each sample: 1 once, 2 twice, 0.5 every other epoch; > 0."""

    def __post_init__(self) -> None:
        where = f" of dataset {self.name!r}"
        if not self.fields:
            raise ConfigError(f"no fields{where} are named; name fields of store {str(self.store)!r}")
        require(0 < self.weight < math.inf, f"weight{where}", self.weight, "a number above 0")
        weights = self.field_weights
        if weights is not None and (len(weights) != len(self.fields) or min(weights) < 0 or sum(weights) <= 0):
            raise ConfigError(f"field_weights{where} {weights}; expected one number >= 0 per field, not all 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig(ValidatedRunConfig):
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
    """The datasets, as the settings above make them."""

    def __post_init__(self) -> None:
        ValidatedRunConfig.__post_init__(self)
        object.__setattr__(self, "data", tuple(self._data()))

    def _data(self) -> list[Dataset]:
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
    """The datasets of a YAML file; settings that an entry leaves out are those of ``common``.

    Raises:
        ConfigError: the file cannot be read, or an entry is not as expected; names file, dataset and setting.
    """
    try:
        entries = load_yaml(read_text(file, f"the datasets of {str(file)!r}"))
    except yaml.YAMLError as error:
        raise ConfigError(f"the datasets of {str(file)!r} cannot be read: {error}") from error
    if not isinstance(entries, dict) or not entries:
        raise ConfigError(f"{str(file)!r} must map names of datasets to settings, such as cc3m: {{store: cc3m.store}}")
    return [_dataset(file, str(name), settings, common) for name, settings in entries.items()]


def _dataset(file: Path, name: str, settings: Any, common: Mapping[str, Any]) -> Dataset:
    where = f"dataset {name!r} of {str(file)!r}"
    if not isinstance(settings, dict):
        raise ConfigError(f"{where} holds {settings!r:.80}; expected settings such as {{store: {name}.store}}")
    if unknown := [setting for setting in settings if setting not in _SETTINGS]:
        raise ConfigError(f"{where} sets {unknown[0]!r}, which is not a setting; there are {', '.join(_SETTINGS)}")
    refuse_pipes(settings, where)
    values = {setting: _value(setting, value, where) for setting, value in settings.items()}
    if "store" not in (merged := {"fields": (), **common, **values}):
        raise ConfigError(f"{where} names no store, and neither does --store")
    return Dataset(name=name, **merged)


def _value(setting: str, value: Any, where: str) -> Any:
    """A setting in its type. Raises: ConfigError: it is of another."""
    if setting in _LISTS:
        texts = [value] if isinstance(value, str) else value
        if isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts):
            return tuple(texts)
        raise ConfigError(f"{setting} of {where} is {value!r:.80}; expected a text or a list of texts")
    if setting in _PATHS:
        if isinstance(value, str) and value:
            return Path(value)
        raise ConfigError(f"{setting} of {where} is {value!r:.80}; expected a path")
    numbers = value if setting == "field_weights" else [value]
    if not isinstance(numbers, list) or not all(type(n) in (int, float) and math.isfinite(n) for n in numbers):
        expected = "a list of numbers" if setting == "field_weights" else "a number"
        raise ConfigError(f"{setting} of {where} is {value!r:.80}; expected {expected}")
    return tuple(map(float, value)) if setting == "field_weights" else float(value)


def require_one_model(joins: Mapping[str, Join]) -> None:
    """Raises: ConfigError: the vectors of some dataset are not of the model of the first, or not as wide."""
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

"""Reads what a report is made from: folders of training runs and json files of evaluation results."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from store.common.checked import InvalidDataError, check, parse_json
from store.common.errors import ConfigError, FormatVersionError
from store.common.files import read_text
from tools.compare import reuse
from tools.report.material.queries import require_sound
from tools.report.material.schema import LogEntries, LogLine, ResultFile, RunConfig

EVAL_FORMAT = "keyclip-eval/1"
RETRIEVAL_MEASURES = ("R@1", "R@5", "R@10", "mean_rank", "median_rank")
TABLES = ("zeroshot", "robustness", "linear_probe", "composition", "fine_grained", "cka")
_SEED_FOLDER = re.compile(r"(^|/)seed-\d+/")
_REMEDY = "give a run folder or a json file that `keyclip eval` wrote"

Directions = Mapping[str, Mapping[str, float]]
"""Direction -> measure -> value."""


@dataclass(frozen=True, slots=True)
class Run:
    """A training run: its effective config and what it logged, one dict of numbers per step, steps ascending."""

    name: str
    path: Path
    config: Mapping[str, Any]
    log: Sequence[Mapping[str, float]]

    @property
    def arm(self) -> str:
        """What seeds share: ``proclip`` of ``seed-1/proclip``, ``vitb32/proclip`` of ``vitb32/seed-1/proclip``."""
        return _SEED_FOLDER.sub(r"\1", self.name)


@dataclass(frozen=True, slots=True)
class Result:
    """An evaluation of one arm. Recalls and accuracies are in [0, 1]; ranks start at 1, which is the best.

    ``retrieval`` maps a caption set to its values, ``languages`` a caption set to the values of each language.
    ``scores`` maps one of ``TABLES`` -> SET or SET/KIND -> value. ``parts`` are the sets that are parts of others.
    ``checkpoint`` is None for the untouched CLIP. ``num_seeds`` is how many evaluations the numbers are means of;
    ``data`` is what was read, with the queries' ranks.
    """

    name: str
    path: Path
    clip: str
    checkpoint: str | None
    shards: Sequence[str]
    num_images: int
    retrieval: Mapping[str, Directions]
    drift: Directions | None = None
    zeroshot: Mapping[str, float] | None = None
    examples: Sequence[Mapping[str, Any]] = field(default=())
    num_seeds: int = 1
    languages: Mapping[str, Mapping[str, Directions]] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    parts: frozenset[str] = frozenset()
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Material:
    """What a report is made from; ``uses`` says how often vectors were read, where ``keyclip compare`` has counted."""

    runs: Sequence[Run] = ()
    results: Sequence[Result] = ()
    uses: Sequence[reuse.FieldUse] = ()


def load(paths: Sequence[Path]) -> Material:
    """Read run folders, result files and a comparison's reuse.json, in the order given.

    Raises:
        ConfigError, InvalidDataError: nothing is named, something is absent or not what it should be, or two results
            share a name.
        FormatVersionError: a result is of a format that this version does not read.
    """
    if not paths:
        raise ConfigError("nothing to report; name run folders and the json files that `keyclip eval` writes")
    folders = [path for path in paths if path.is_dir()]
    runs = [load_run(path, name) for path, name in zip(folders, _distinct_names(folders), strict=True)]
    results: dict[str, Result] = {}
    uses: list[reuse.FieldUse] = []
    for path in (path for path in paths if not path.is_dir()):
        text, what = _text(path, _REMEDY), repr(str(path))
        data = parse_json(text, dict[str, Any], what, _REMEDY)
        if data.get("format") == reuse.FORMAT:
            uses += parse_json(text, reuse.ReuseFile, what, "run `keyclip compare` again")["fields"]
            continue
        result = parse_result(data, path)
        if result.name in results:
            raise ConfigError(
                f"two results are named {result.name!r}: {str(results[result.name].path)!r} and {str(path)!r}; "
                "evaluate one of them under another name"
            )
        results[result.name] = result
    return Material(runs, list(results.values()), uses)


def load_run(folder: Path, name: str | None = None) -> Run:
    """Read ``config.json`` and ``log.jsonl`` of a run. Of a step that was logged twice (before and after an
    interruption) the later line counts; a last line that was cut off is left out.

    Raises:
        ConfigError, InvalidDataError: a file is absent, or is not what a run writes; the message names the place.
    """
    file, path, remedy = folder / "config.json", folder / "log.jsonl", f"{str(folder)!r} is no training run"
    config = parse_json(_text(file, remedy), dict[str, Any], repr(str(file)), remedy)
    check(config, RunConfig, f"the settings of a run, {str(file)!r},", remedy)
    steps: dict[int, Mapping[str, Any]] = {}
    lines = _text(path, f"the run {str(folder)!r} has logged nothing; train it first").splitlines()
    for number, line in enumerate(lines, start=1):
        what = f"line {number} of {str(path)!r}, a json object with a step,"
        try:
            entry = parse_json(line, dict[str, Any], what, "remove that line")
            check(entry, LogEntries, what, "remove that line")
            steps[check(entry, LogLine, what, "remove that line")["step"]] = entry
        except InvalidDataError:
            if number == len(lines):
                break
            raise
    if not steps:
        raise ConfigError(f"{str(path)!r} holds no step; let the run log at least once")
    return Run(name or folder.resolve().name, folder, config, [steps[step] for step in sorted(steps)])


def load_result(path: Path) -> Result:
    """Read a result that ``keyclip eval`` wrote.

    Raises:
        ConfigError, InvalidDataError: the file is absent, is not json, or lacks something; the message names the file
            and the place.
        FormatVersionError: its format is another one than ``keyclip-eval/1``.
    """
    return parse_result(parse_json(_text(path, _REMEDY), dict[str, Any], repr(str(path)), _REMEDY), path)


def as_results(items: Sequence[Result | Mapping[str, Any]]) -> list[Result]:
    """Results as they are, and parsed the ones that are still json objects of ``keyclip eval``."""
    return [i if isinstance(i, Result) else parse_result(i, Path(f"{i.get('name')}.json")) for i in items]


def parse_result(data: Mapping[str, Any], path: Path) -> Result:
    """A result from the json object that ``keyclip eval`` writes; ``path`` names it in messages.

    Raises:
        InvalidDataError, ConfigError, FormatVersionError: as :func:`load_result` does.
    """
    version = data.get("format")
    if version is None:
        raise ConfigError(f"{str(path)!r} is no evaluation result; expected a json file that `keyclip eval` wrote")
    if version != EVAL_FORMAT:
        raise FormatVersionError(
            f"{str(path)!r} is of format {version!r}, expected {EVAL_FORMAT!r}; evaluate again with this version"
        )
    found: Any = check(data, ResultFile, f"the result {str(path)!r}", "evaluate again")
    try:
        require_sound(data)
    except ValueError as error:
        raise InvalidDataError(f"the ranks in {str(path)!r} cannot be read: {error}; evaluate again") from error
    return Result(
        name=found["name"],
        path=path,
        clip=found["clip"],
        checkpoint=found["checkpoint"],
        shards=found["shards"],
        num_images=found["num_images"],
        retrieval=found["retrieval"],
        drift=found.get("drift"),
        zeroshot=found.get("zeroshot"),
        examples=[_with_images(example) for example in found.get("examples") or []],
        languages=found.get("languages") or {},
        scores={table: scores for table in TABLES if (scores := _scores(found, table))},
        parts=frozenset(name for name, entry in (found.get("sets") or {}).items() if entry.get("part")),
        data=data,
    )


def _scores(found: Mapping[str, Any], table: str) -> dict[str, float]:
    scores: dict[str, float] = {}
    for name, entry in (found.get("zeroshot_sets" if table == "zeroshot" else table) or {}).items():
        scores |= {f"{name}/{kind}": values["accuracy"] for kind, values in entry.get("kinds", {}).items()}
        if (value := entry.get("cka" if table == "cka" else "accuracy")) is not None:
            scores[name] = float(value)
    return scores


def _with_images(example: Mapping[str, Any]) -> dict[str, Any]:
    """An example whose images are None where they are absent."""
    hits = [{"image": None, **hit} for hit in example["retrieved"]]
    return {"image": None, **example, "retrieved": hits}


def _distinct_names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that differ from each other: ``stage2``, or ``a/stage2`` and ``b/stage2``."""
    parts = [folder.resolve().parts for folder in folders]
    if len(set(parts)) < len(parts):
        raise ConfigError("a run folder is named twice; name each once")
    length = 1
    while len({path[-length:] for path in parts}) < len(parts):
        length += 1
    return ["/".join(path[-length:]) for path in parts]


def _text(path: Path, remedy: str) -> str:
    if "\0" in str(path) or not path.exists():
        raise ConfigError(f"no such file: {str(path)!r}; {remedy}")
    return read_text(path, repr(str(path)))

"""Reads what a report is made from: folders of training runs and json files of evaluation results."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from store.common.checked import InvalidDataError, check, parse_json
from store.common.errors import ConfigError, FormatVersionError
from store.common.files import read_text
from tools.compare.reuse import FORMAT as REUSE_FORMAT
from tools.compare.reuse import FieldUse
from tools.report.material.embeddings import from_json
from tools.report.material.queries import require_sound
from tools.report.material.schema import LogEntries, LogLine, ResultFile, ReuseFile, RunConfig

EVAL_FORMAT = "keyclip-eval/1"
DIRECTIONS = ("image_to_text", "text_to_image")
RETRIEVAL_MEASURES = ("R@1", "R@5", "R@10", "mean_rank", "median_rank")
_SEED_FOLDER = re.compile(r"(^|/)seed-\d+/")
_IMAGE = re.compile(r"data:image/(jpeg|png|webp|gif);base64,[A-Za-z0-9+/=]+")


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

    ``retrieval`` maps caption set -> direction -> measure -> value; ``drift`` maps direction -> measure -> value.
    ``languages`` maps caption set -> language -> direction -> measure -> value. ``scores`` maps a table (``zeroshot``,
    ``robustness``, ``linear_probe``, ``composition``, ``fine_grained``, ``cka``) -> SET or SET/KIND -> value.
    ``parts`` are the sets that are parts of others. ``checkpoint`` is None for the untouched CLIP.
    ``num_seeds`` is how many evaluations the numbers are means of; ``data`` is what was read, with the queries' ranks.
    """

    name: str
    path: Path
    clip: str
    checkpoint: str | None
    shards: Sequence[str]
    num_images: int
    retrieval: Mapping[str, Mapping[str, Mapping[str, float]]]
    drift: Mapping[str, Mapping[str, float]] | None = None
    zeroshot: Mapping[str, float] | None = None
    examples: Sequence[Mapping[str, Any]] = field(default=())
    num_seeds: int = 1
    languages: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    parts: frozenset[str] = frozenset()
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Material:
    """What a report is made from; ``uses`` says how often vectors were read, where ``keyclip compare`` has counted."""

    runs: Sequence[Run] = ()
    results: Sequence[Result] = ()
    uses: Sequence[FieldUse] = ()


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
    names = dict(zip(folders, _distinct_names(folders), strict=True))
    runs = [load_run(path, names[path]) for path in folders]
    results, uses = [], []
    for path in (path for path in paths if not path.is_dir()):
        data = _object(path, "give a run folder or a json file that `keyclip eval` wrote")
        if data.get("format") == REUSE_FORMAT:
            uses += from_json(check(data, ReuseFile, repr(str(path)), "run `keyclip compare` again"))
        else:
            results.append(parse_result(data, path))
    seen: dict[str, Path] = {}
    for result in results:
        if result.name in seen:
            raise ConfigError(
                f"two results are named {result.name!r}: {str(seen[result.name])!r} and {str(result.path)!r}; "
                "evaluate one of them under another name"
            )
        seen[result.name] = result.path
    return Material(runs, results, uses)


def load_run(folder: Path, name: str | None = None) -> Run:
    """Read ``config.json`` and ``log.jsonl`` of a run. Of a step that was logged twice (before and after an
    interruption) the later line counts; a last line that was cut off is left out.

    Raises:
        ConfigError, InvalidDataError: a file is absent, or is not what a run writes; the message names the place.
    """
    file, path = folder / "config.json", folder / "log.jsonl"
    config = _object(file, f"{str(folder)!r} is no training run")
    check(config, RunConfig, f"the settings of a run, {str(file)!r},", f"{str(folder)!r} is no training run")
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
    return parse_result(_object(path, "give a run folder or a json file that `keyclip eval` wrote"), path)


def as_results(items: Sequence[Result | Mapping[str, Any]]) -> list[Result]:
    """Results as they are, and those that are still the json objects of ``keyclip eval`` parsed."""
    return [
        item if isinstance(item, Result) else parse_result(item, Path(f"{item.get('name')}.json")) for item in items
    ]


def parse_result(data: Any, path: Path) -> Result:
    """A result from the json object that ``keyclip eval`` writes; ``path`` names it in messages.

    Raises:
        InvalidDataError, ConfigError, FormatVersionError: as :func:`load_result` does.
    """
    version = data.get("format") if isinstance(data, Mapping) else None
    if version is None:
        raise ConfigError(f"{str(path)!r} is no evaluation result; expected a json file that `keyclip eval` wrote")
    if version != EVAL_FORMAT:
        raise FormatVersionError(
            f"{str(path)!r} is of format {version!r}, expected {EVAL_FORMAT!r}; evaluate again with this version"
        )
    check(data, ResultFile, f"the result {str(path)!r}", "evaluate again")
    try:
        require_sound(data)
    except ValueError as error:
        raise InvalidDataError(f"the ranks in {str(path)!r} cannot be read: {error}; evaluate again") from error
    return _result(data, path)


def _result(data: Mapping[str, Any], path: Path) -> Result:
    return Result(
        name=str(data["name"]),
        path=path,
        clip=str(data["clip"]),
        checkpoint=None if data["checkpoint"] is None else str(data["checkpoint"]),
        shards=[str(shard) for shard in data["shards"]],
        num_images=int(data["num_images"]),
        retrieval={str(name): _directions(values) for name, values in data["retrieval"].items()},
        drift=_directions(data["drift"]) if data.get("drift") else None,
        zeroshot=_zeroshot(data["zeroshot"]) if data.get("zeroshot") else None,
        examples=[_example(example) for example in data.get("examples") or []],
        languages={
            str(name): {str(language): _directions(values) for language, values in languages.items()}
            for name, languages in (data.get("languages") or {}).items()
        },
        scores=_scores(data),
        parts=frozenset(name for name, entry in (data.get("sets") or {}).items() if entry.get("part")),
        data=data,
    )


def _directions(values: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    return {way: {name: float(values[way][name]) for name in RETRIEVAL_MEASURES} for way in DIRECTIONS}


def _zeroshot(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(values[name]) for name in ("top1", "top5", "num_classes")}


def _scores(data: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    tables = {}
    for table in ("zeroshot", "robustness", "linear_probe", "composition", "fine_grained", "cka"):
        scores: dict[str, float] = {}
        for name, entry in (data.get("zeroshot_sets" if table == "zeroshot" else table) or {}).items():
            kinds = entry.get("kinds", {}) if table in ("composition", "fine_grained") else {}
            scores |= {f"{name}/{kind}": float(values["accuracy"]) for kind, values in kinds.items()}
            if (value := entry.get("cka" if table == "cka" else "accuracy")) is not None:
                scores[name] = float(value)
        if scores:
            tables[table] = scores
    return tables


def _example(example: Mapping[str, Any]) -> dict[str, Any]:
    hits = [
        {
            "key": str(hit["key"]),
            "score": float(hit["score"]),
            "correct": bool(hit["correct"]),
            "image": _image(hit.get("image"), hit["key"]),
        }
        for hit in example["retrieved"]
    ]
    return {
        "query": str(example["query"]),
        "key": str(example["key"]),
        "rank": int(example["rank"]),
        "image": _image(example.get("image"), example["key"]),
        "retrieved": hits,
    }


def _image(image: Any, key: str) -> str | None:
    """Only embedded pictures pass: a report must load nothing from elsewhere."""
    if image is not None and not (isinstance(image, str) and _IMAGE.fullmatch(image)):
        raise InvalidDataError(f"the image of {key!r} is not a data URI of a jpeg, png, webp or gif; evaluate again")
    return image


def _distinct_names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell the folders apart: ``stage2``, or ``a/stage2`` and ``b/stage2``."""
    parts = [folder.resolve().parts for folder in folders]
    if len(set(parts)) < len(parts):
        raise ConfigError("a run folder is named twice; name each once")
    length = 1
    while len({path[-length:] for path in parts}) < len(parts):
        length += 1
    return ["/".join(path[-length:]) for path in parts]


def _object(path: Path, remedy: str) -> dict[str, Any]:
    return parse_json(_text(path, remedy), dict[str, Any], repr(str(path)), remedy)


def _text(path: Path, remedy: str) -> str:
    if "\0" in str(path) or not path.exists():
        raise ConfigError(f"no such file: {str(path)!r}; {remedy}")
    return read_text(path, repr(str(path)))

"""``keyclip eval-captions``: all texts of evaluation sets as one keyed file, for ``keyclip embed``."""

import json
from dataclasses import dataclass
from pathlib import Path

from store.errors import ConfigError
from tools.eval import TEXT_FIELD
from tools.evaluation import chosen
from trainer.evalsets.definition import read_definitions
from trainer.evalsets.layouts import texts_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Write the captions and class prompts of evaluation sets as keyed captions, to be embedded once for each model.

    A key is SET/CAPTION or SET/CLASS/HASH OF THE PROMPT, so that all sets fit into one field of one store. Images are
    not needed. After a set was added or a template edited, `keyclip embed` embeds of the new file only what is new.

    Example:
        keyclip eval-captions --sets evaluation.yaml --output eval.jsonl
        keyclip embed --captions eval.jsonl --caption-fields caption --model MODEL --store eval.store
    """

    sets: Path
    """YAML file of evaluation sets."""
    only: tuple[str, ...] = ()
    """Of these sets, the ones to write; all by default."""
    output: Path
    """A jsonl file; one {"key": ..., "caption": ...} a line."""


def run(config: Config) -> None:
    """Write the file; prints how many texts each set has."""
    if config.output.suffix != ".jsonl":
        raise ConfigError(f"--output {str(config.output)!r} must be the name of a .jsonl file")
    config.output.parent.mkdir(parents=True, exist_ok=True)
    temporary = config.output.with_name(f".{config.output.name}.tmp")
    counts = {}
    with temporary.open("w", encoding="utf-8") as stream:
        for definition in chosen(read_definitions(config.sets), config.only):
            count = 0
            for key, text in texts_of(definition):
                stream.write(json.dumps({"key": key, TEXT_FIELD: text}, ensure_ascii=False) + "\n")
                count += 1
            counts[definition.name] = count
    temporary.replace(config.output)
    width = max(map(len, counts))
    for name, count in counts.items():
        print(f"{name:{width}}  {count:>9,}")
    print(f"{sum(counts.values()):,} texts in {config.output}")

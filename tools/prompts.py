"""``keyclip prompts``: class prompts as keyed captions, for ``keyclip embed``."""

import json
from dataclasses import dataclass
from pathlib import Path

from trainer.zeroshot import find_classes


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Write the prompts of a zero-shot task as keyed captions, to be embedded like any other captions.

    Example:
        keyclip prompts --classes classes.json --output prompts.jsonl
        keyclip embed --captions prompts.jsonl --key-column key --caption-fields prompt --model MODEL --store my.store
    """

    classes: Path
    """Classes file (label path, class names, prompt templates), or the name of one that comes with keyclip."""
    output: Path
    """A jsonl file; one {"key": ..., "prompt": ...} a line."""


def run(config: Config) -> None:
    """Write the file."""
    rows = [{"key": key, "prompt": prompt} for _, key, prompt in find_classes(config.classes).prompts()]
    config.output.parent.mkdir(parents=True, exist_ok=True)
    config.output.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    print(f"{len(rows)} prompts in {config.output}")

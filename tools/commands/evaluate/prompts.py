"""``keyclip prompts``: class prompts as keyed captions, for ``keyclip embed``."""

import json
from dataclasses import dataclass
from pathlib import Path

from store.common.outputs import Kind, Outputs
from trainer.evaluation.sets.class_names import find_classes

PROMPTS = Kind(name="a file of prompts", start=b'{"key": ')


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
    overwrite: bool = False
    """Replace a file of prompts that is there."""
    json: bool = False
    """Print the number of prompts as json."""


def run(config: Config) -> None:
    """Write the file."""
    with Outputs([config.classes], config.overwrite) as outputs:
        lines = outputs.lines(outputs.claim(config.output, PROMPTS))
        rows = [{"key": key, "prompt": prompt} for _, key, prompt in find_classes(config.classes).prompts()]
        lines.write(json.dumps(row, ensure_ascii=False) for row in rows)
    if config.json:
        print(json.dumps({"num_prompts": len(rows), "output": str(config.output)}))
        return
    print(f"{len(rows)} prompts in {config.output}")

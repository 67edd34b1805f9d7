"""``keyclip prompts``: class prompts as keyed captions, for ``keyclip embed``."""

import json
from dataclasses import dataclass
from pathlib import Path

from store.common.outputs import Outputs
from tools.evaluate.keyed_texts import TEXTS, text_lines
from trainer.evaluation.sets.class_names import find_classes


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
        lines = outputs.lines(outputs.claim(config.output, TEXTS))
        prompts = find_classes(config.classes).texts("")
        lines.write(text_lines(prompts, "prompt"))
    if config.json:
        print(json.dumps({"num_prompts": len(prompts), "output": str(config.output)}))
    else:
        print(f"{len(prompts)} prompts in {config.output}")

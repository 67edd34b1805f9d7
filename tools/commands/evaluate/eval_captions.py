"""``keyclip eval-captions``: all texts of evaluation sets as one keyed file, for ``keyclip embed``."""

import json
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from store.common.errors import ConfigError
from store.common.outputs import Outputs
from tools.evaluate.keyed_texts import TEXTS, text_lines
from tools.evaluate.subject import chosen, files_of_sets
from trainer.evaluation.sets.definition import read_definitions
from trainer.evaluation.sets.layouts import texts_of


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
    """Names of the sets to write; all by default."""
    output: Path
    """A jsonl file; one {"key": ..., "caption": ...} a line."""
    overwrite: bool = False
    """Replace a file of texts that is there."""
    json: bool = False
    """Print the number of texts of each set as json."""


def run(config: Config) -> None:
    """Write the file; prints the number of texts of each set."""
    if config.output.suffix != ".jsonl":
        raise ConfigError(f"--output {str(config.output)!r} must be the name of a .jsonl file")
    definitions = chosen(read_definitions(config.sets), config.only)
    counts: dict[str, int] = {}
    with Outputs([config.sets, *files_of_sets(definitions)], config.overwrite) as outputs:
        lines = outputs.lines(outputs.claim(config.output, TEXTS))
        for definition in tqdm(definitions, "sets", unit="set", leave=False, disable=config.json or None):
            texts = texts_of(definition)
            lines.write(text_lines(texts))
            counts[definition.name] = len(texts)
    if config.json:
        print(json.dumps({"sets": counts, "num_texts": sum(counts.values()), "output": str(config.output)}))
        return
    width = max(map(len, counts))
    for name, count in counts.items():
        print(f"{name:{width}}  {count:>9,}")
    print(f"{sum(counts.values()):,} texts in {config.output}")

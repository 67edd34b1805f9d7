"""``python -m trainer STAGE ...``, as launchers start it: ``deepspeed --num_gpus 8 --module trainer stage2 ...``."""

import gc
import importlib
import importlib.util
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

# before anything of keyclip's is imported: a store.py of the user's own, in the folder where this starts, comes first
_spec = importlib.util.find_spec("store")
if _spec is None or Path(_spec.origin or "/").resolve().parents[1] != Path(__file__).resolve().parents[1]:
    where = _spec.origin if _spec else None
    sys.exit(f"keyclip: error: the Python package 'store' is {where!r}, not keyclip's; start in another folder")

from store.common.command import exit_status, parse_config, run_command  # noqa: E402
from store.common.errors import ConfigError  # noqa: E402
from trainer.settings.recipes import describe, recipe_settings  # noqa: E402

SEVERAL = "several"

# stage -> (module, config class, stage class, what it does)
STAGES = {
    "pretrain": ("trainer.pretrain", "PretrainConfig", "Pretrain", "a small CLIP from scratch, a stand-in offline"),
    "stage1": ("trainer.stage1", "Stage1Config", "Stage1", "the adapter learns CLIP's text space from the store"),
    "stage2": ("trainer.stage2", "Stage2Config", "Stage2", "image tower and adapter learn from joined pairs"),
}


def usage() -> str:
    stages = "\n".join(f"  {name:9} {what}" for name, (*_, what) in STAGES.items())
    return (
        "usage: keyclip train STAGE [--gpus N] [--recipe NAME] ... (STAGE --help explains one)\n"
        "       deepspeed --num_gpus N --module trainer STAGE [--recipe NAME] ...\n\n"
        f"{stages}\n  {SEVERAL:9} FILE: one after another in one launch; a line is a json list, STAGE and flags\n\n"
        f"recipes, whose settings flags override:\n{describe()}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a stage, or several; returns the exit status."""
    argv = [a for a in (sys.argv[1:] if argv is None else argv) if not a.startswith(("--local_rank", "--local-rank"))]
    if not argv or argv[0] in ("-h", "--help"):
        return exit_status(lambda: print(usage())) or (0 if argv else 2)  # noqa: T201
    if argv[0] == SEVERAL and len(argv) == 2:
        return _leaving_ranks(lambda: _run_several(Path(argv[1])))
    if argv[0] not in STAGES:
        hint = f"there are {', '.join(STAGES)} and {SEVERAL} FILE"
        print(f"keyclip: error: there is no stage {argv[0]!r:.80}; {hint}", file=sys.stderr)  # noqa: T201
        return 2
    return _leaving_ranks(lambda: _run(argv[0], argv[1:]))


def parse(name: str, argv: Sequence[str]) -> Any:
    """The settings of a stage as its command line gives them, over the settings of ``--recipe``; nothing is run.

    Raises:
        ConfigError: settings that do not fit each other, or no such recipe.
        SystemExit: wrong flags, after a message.
    """
    return parse_config(*_command(name, argv))


def _leaving_ranks(function: Callable[[], int]) -> int:
    """Leave the ranks at the end; between trainings they stay joined."""
    try:
        return exit_status(function)
    finally:
        if "trainer.engine.deepspeed_engine" in sys.modules:
            sys.modules["trainer.engine.deepspeed_engine"].stop_ranks()


def _run_several(file: Path) -> int:
    """Run the trainings of a file, to the first that fails; all but the first are saved the start of all ranks."""
    try:
        trainings = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise ConfigError(f"the list of trainings {str(file)!r} cannot be read: {error}") from error
    stages = [[stage] for stage in STAGES]
    if wrong := [words for words in trainings if not isinstance(words, list) or words[:1] not in stages]:
        raise ConfigError(f"{wrong[0]!r} in {str(file)!r} is no training; expected a list of a stage and its flags")
    for stage, *flags in trainings:
        if status := exit_status(partial(_run, stage, flags)):
            return status
        gc.collect()  # the engine refers to itself
    return 0


def _run(name: str, argv: Sequence[str]) -> int:
    # DeepSpeed calls names that torch is renaming
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")

    def build(config: Any) -> Any:
        module_name, _, stage_name, _ = STAGES[name]
        stage = getattr(importlib.import_module(module_name), stage_name)(config)
        stage.info["recipe"] = _take_recipe(argv)[0]
        return stage

    def train(config: Any) -> None:
        from trainer.run.loop import train

        train(config, name, build)

    config_type, flags, prog, settings = _command(name, argv)
    return run_command(config_type, train, flags, prog, settings)


def _command(name: str, argv: Sequence[str]) -> tuple[type[Any], list[str], str, dict[str, Any] | None]:
    """The config class of a stage, its flags, its name in messages, and the settings of the recipe."""
    module_name, config_name, *_ = STAGES[name]
    recipe, flags = _take_recipe(argv)
    settings = recipe_settings(recipe, name) if recipe is not None else None
    return getattr(importlib.import_module(module_name), config_name), flags, f"keyclip train {name}", settings


def _take_recipe(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    words = [part for word in argv for part in (word.split("=", 1) if word.startswith("--recipe=") else [word])]
    if "--recipe" not in words:
        return None, words
    at = words.index("--recipe")
    return (words[at + 1] if at + 1 < len(words) else ""), words[:at] + words[at + 2 :]


if __name__ == "__main__":
    status = main()
    if "trainer.engine.deepspeed_engine" in sys.modules:
        sys.modules["trainer.engine.deepspeed_engine"].leave(status)
    sys.exit(status)

"""``python -m trainer STAGE ...``, as launchers start it: ``deepspeed --num_gpus 8 --module trainer stage2 ...``."""

import gc
import importlib.util
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

# before anything of keyclip's is imported: a store.py of the user's own, in the folder where this starts, comes first
_spec = importlib.util.find_spec("store")
if _spec is None or Path(_spec.origin or "/").resolve().parents[1] != Path(__file__).resolve().parents[1]:
    where = _spec.origin if _spec else None
    sys.exit(f"keyclip: error: the Python package 'store' is that of {where!r}, not keyclip's; start in another folder")

from store.command import exit_status, run_command  # noqa: E402
from store.errors import ConfigError  # noqa: E402
from trainer.recipes import RECIPES, recipe_settings  # noqa: E402

SEVERAL = "several"

# stage -> (module, config class, stage class, what it does)
STAGES = {
    "pretrain": ("trainer.pretrain", "PretrainConfig", "Pretrain", "a small CLIP from scratch, a stand-in offline"),
    "stage1": ("trainer.stage1", "Stage1Config", "Stage1", "the adapter learns CLIP's text space from the store"),
    "stage2": ("trainer.stage2", "Stage2Config", "Stage2", "image tower and adapter learn from joined pairs"),
}
STAGE_WORDS = [[stage] for stage in STAGES]


def usage() -> str:
    stages = "\n".join(f"  {name:9} {what}" for name, (*_, what) in STAGES.items())
    recipes = "\n".join(f"  {name}" for name in RECIPES)
    return (
        "usage: keyclip train STAGE [--gpus N] [--recipe NAME] ... (STAGE --help explains one)\n"
        "       deepspeed --num_gpus N --module trainer STAGE [--recipe NAME] ...\n\n"
        f"{stages}\n  {SEVERAL:9} FILE: one after another in one launch; a line is a json list, STAGE and flags\n\n"
        f"recipes, whose settings flags override:\n{recipes}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a stage; returns the exit status."""
    argv = [a for a in (sys.argv[1:] if argv is None else argv) if not a.startswith(("--local_rank", "--local-rank"))]
    if not argv or argv[0] in ("-h", "--help"):
        return exit_status(lambda: print(usage())) or (0 if argv else 2)  # noqa: T201
    if argv[0] == SEVERAL and len(argv) == 2:
        return _stopping_ranks(lambda: exit_status(lambda: _run_several(Path(argv[1]))))
    if argv[0] not in STAGES:
        hint = f"there are {', '.join(STAGES)} and {SEVERAL} FILE"
        print(f"keyclip: error: there is no stage {argv[0]!r:.80}; {hint}", file=sys.stderr)  # noqa: T201
        return 2
    return _stopping_ranks(lambda: exit_status(lambda: _run(argv[0], argv[1:])))


def _stopping_ranks(function: Callable[[], int]) -> int:
    """Leave the ranks at the end: joined between trainings, they need not meet again."""
    try:
        return function()
    finally:
        if "trainer.engine" in sys.modules:
            sys.modules["trainer.engine"].stop_ranks()


def _run_several(file: Path) -> int:
    """Run the trainings of a file, to the first that fails. It saves each of them the start of all ranks."""
    try:
        trainings = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise ConfigError(f"the list of trainings {str(file)!r} cannot be read: {error}") from error
    if wrong := [words for words in trainings if not isinstance(words, list) or words[:1] not in STAGE_WORDS]:
        raise ConfigError(f"{wrong[0]!r} in {str(file)!r} is no training; expected a list of a stage and its flags")
    for stage, *flags in trainings:
        if status := _run(stage, flags):
            return status
        gc.collect()  # the engine refers to itself
    return 0


def _run(name: str, argv: Sequence[str]) -> int:
    module_name, config_name, stage_name, _ = STAGES[name]
    module = importlib.import_module(module_name)
    # DeepSpeed calls names that torch is renaming
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")

    def train(config: object) -> None:
        from trainer.loop import train

        train(config, name, getattr(module, stage_name))  # type: ignore[arg-type]

    def call() -> int:
        recipe, flags = _take_recipe(argv)
        settings = recipe_settings(recipe, name) if recipe is not None else None
        return run_command(getattr(module, config_name), train, flags, f"keyclip train {name}", settings)

    return exit_status(call)


def _take_recipe(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    words = [part for word in argv for part in (word.split("=", 1) if word.startswith("--recipe=") else [word])]
    if "--recipe" not in words:
        return None, words
    at = words.index("--recipe")
    return (words[at + 1] if at + 1 < len(words) else ""), words[:at] + words[at + 2 :]


if __name__ == "__main__":
    status = main()
    if "trainer.engine" in sys.modules:
        sys.modules["trainer.engine"].leave(status)
    sys.exit(status)

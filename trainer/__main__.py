"""``python -m trainer STAGE ...``, as launchers start it: ``deepspeed --num_gpus 8 --module trainer stage2 ...``."""

import importlib
import sys
import warnings
from collections.abc import Sequence

from store.command import exit_status, run_command

# stage -> (module, config class, stage class, what it does)
STAGES = {
    "pretrain": ("trainer.pretrain", "PretrainConfig", "Pretrain", "a small CLIP from scratch, a stand-in offline"),
    "stage1": ("trainer.stage1", "Stage1Config", "Stage1", "the adapter learns CLIP's text space from the store"),
    "stage2": ("trainer.stage2", "Stage2Config", "Stage2", "image tower and adapter learn from joined pairs"),
}


def usage() -> str:
    stages = "\n".join(f"  {name:9} {what}" for name, (*_, what) in STAGES.items())
    return f"usage: deepspeed --num_gpus N --module trainer STAGE ... (STAGE --help explains one)\n\n{stages}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a stage; returns the exit status."""
    argv = [a for a in (sys.argv[1:] if argv is None else argv) if not a.startswith("--local_rank")]
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())  # noqa: T201
        return 0 if argv else 2
    if argv[0] not in STAGES:
        print(f"keyclip: error: no stage {argv[0]!r}\n\n{usage()}", file=sys.stderr)  # noqa: T201
        return 2
    return exit_status(lambda: _run(argv[0], argv[1:]))


def _run(name: str, argv: Sequence[str]) -> int:
    module_name, config_name, stage_name, _ = STAGES[name]
    module = importlib.import_module(module_name)
    # DeepSpeed calls names that torch is renaming
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")

    def train(config: object) -> None:
        from trainer.loop import train

        train(config, name, getattr(module, stage_name))  # type: ignore[arg-type]

    return run_command(getattr(module, config_name), train, argv, f"python -m trainer {name}")


if __name__ == "__main__":
    sys.exit(main())

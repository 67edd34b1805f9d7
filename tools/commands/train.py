"""``keyclip train STAGE ...``: training in this process, or by several ranks through DeepSpeed's launcher."""

from collections.abc import Sequence

from store.common.command import exit_status
from store.common.errors import ConfigError
from trainer.run.launching import launch

RANKS = ("--gpus", "--num-processes")
"""Flags for the number of ranks on this machine; without a GPU a rank is a process on the CPU."""


def main(argv: Sequence[str]) -> int:
    """Run a stage; it takes the flags of ``--module trainer``, and the number of ranks."""

    def call() -> int:
        ranks, words = take_ranks(argv)
        if ranks > 1 and words and not {"-h", "--help"} & set(words):
            return launch(ranks, words)
        from trainer.__main__ import main as train

        return train(words)

    return exit_status(call)


def take_ranks(argv: Sequence[str]) -> tuple[int, list[str]]:
    """The number of ranks, by default 1, and the other words.

    Raises:
        ConfigError: it is no number from 1 to 1024.
    """
    ranks, words = "1", []
    parts = iter(part for word in argv for part in (word.split("=", 1) if word.startswith(RANKS) else [word]))
    for part in parts:
        if part.replace("_", "-") in RANKS:
            ranks = next(parts, "")
        else:
            words.append(part)
    if not ranks.isascii() or not ranks.isdigit() or len(ranks) > 4 or not 1 <= int(ranks) <= 1024:
        raise ConfigError(f"{RANKS[0]} is {ranks!r:.80}; expected a whole number from 1 to 1024")
    return int(ranks), words

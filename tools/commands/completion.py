"""``keyclip completion SHELL``: a script that completes commands and flags in bash, zsh or fish."""

import argparse
import pkgutil
from collections.abc import Sequence
from typing import Any

from store.common.command import exit_status
from store.common.flags import UsageError, make_parser
from tools.commands.train import RANKS

SHELLS = {
    "bash": "keyclip completion bash > ~/.local/share/bash-completion/completions/keyclip",
    "zsh": 'keyclip completion zsh > "${fpath[1]}/_keyclip"',
    "fish": "keyclip completion fish > ~/.config/fish/completions/keyclip.fish",
}

SHOWN = "commands"
"""A help text: shtab leaves commands without one out."""


def main(argv: Sequence[str]) -> int:
    """Print the script of the shell that is named."""

    def call() -> int:
        if list(argv) in (["-h"], ["--help"]):
            lines = "\n".join(f"  {line}" for line in SHELLS.values())
            print(f"usage: keyclip completion {{{','.join(SHELLS)}}}\n\nInstall it once, by one of\n\n{lines}")
            return 0
        if len(argv) != 1 or argv[0] not in SHELLS:
            raise UsageError(f"keyclip completion takes the name of a shell: {', '.join(SHELLS)}")
        import shtab

        print(shtab.complete(command_line(shtab.FILE), argv[0]))
        return 0

    return exit_status(call)


def command_line(path_completion: object) -> argparse.ArgumentParser:
    """All of ``keyclip`` as one parser; ``path_completion`` is how a shell completes a file or folder."""
    from tools.__main__ import COMMANDS
    from trainer.__main__ import STAGES

    root = argparse.ArgumentParser(prog="keyclip")
    root.add_argument("--version", action="store_true", help="print the version")
    groups: dict[tuple[str, ...], Any] = {(): root.add_subparsers()}
    commands = {words: (module, "Config", what) for words, (module, what) in COMMANDS.items()}
    commands |= {("train", stage): (module, config, what) for stage, (module, config, _, what) in STAGES.items()}
    groups[("completion",)] = groups[()].add_parser("completion", help="shell completion").add_subparsers()
    for shell in SHELLS:
        groups[("completion",)].add_parser(shell, help=SHOWN)
    for words, (module, config, what) in commands.items():
        for length in range(1, len(words)):
            if words[:length] not in groups:
                groups[words[:length]] = (
                    groups[words[: length - 1]].add_parser(words[length - 1], help=SHOWN).add_subparsers()
                )
        parser = groups[words[:-1]].add_parser(words[-1], help=what)
        make_parser(getattr(pkgutil.resolve_name(module), config), f"keyclip {' '.join(words)}", parser)
        for action in parser._actions:
            if action.metavar in ("PATH", "FILE", "STORE"):
                action.complete = path_completion
        if words[0] == "train":
            parser.add_argument(*RANKS, type=int, help="ranks on this machine")
            parser.add_argument("--recipe", help="settings by name")
    return root

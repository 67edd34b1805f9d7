"""The commands that documents show: their shell blocks, taken apart as a shell would."""

import pkgutil
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from embedder.run.config import EmbedConfig
from store.common.command import parse_config
from tests import ROOT
from tools.__main__ import COMMANDS
from trainer.__main__ import parse as parse_training

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHELL = ("", "sh", "bash")
_PROGRAMS = ("keyclip", "deepspeed", "img2dataset")

IMG2DATASET = {
    "url_list", "input_format", "url_col", "caption_col", "output_format", "output_folder", "number_sample_per_shard",
    "image_size", "resize_mode", "resize_only_if_bigger", "processes_count", "thread_count", "save_additional_columns",
}  # fmt: skip
"""Those of img2dataset's settings that the documents use; it is no dependency of this project."""


@dataclass(frozen=True)
class Shown:
    """A command as a document shows it."""

    document: str
    line: int
    words: list[str]

    @property
    def program(self) -> tuple[str, ...]:
        """What runs: a keyclip command's words, ``("trainer", STAGE)``, ``("embedder",)``, ``("img2dataset",)``."""
        if self.words[0] == "keyclip":
            return next(words for n in (3, 2, 1) if (words := tuple(self.words[1 : 1 + n])) in COMMANDS)
        if self.words[0] == "deepspeed":
            module = self.words[self.words.index("--module") + 1]
            return (module, self.words[self.words.index("--module") + 2]) if module == "trainer" else (module,)
        return (self.words[0],)

    @property
    def arguments(self) -> list[str]:
        """What the program is given."""
        if self.words[0] == "deepspeed":
            return self.words[self.words.index("--module") + 1 + len(self.program) :]
        return self.words[1 + len(self.program) * (self.words[0] == "keyclip") :]

    def replaced(self, substitutes: dict[str, str], more: Sequence[str] = ()) -> "Shown":
        """With parts of words replaced, and with more words at the end."""
        words = self.words
        for old, new in substitutes.items():
            words = [word.replace(old, new) for word in words]
        return replace(self, words=[*words, *more])


def commands_in(document: str) -> list[Shown]:
    """Every command of this project, and of img2dataset, in the shell blocks of a document."""
    text = (ROOT / document).read_text(encoding="utf-8")
    shown = []
    for block in _BLOCK.finditer(text):
        if block[1] not in _SHELL:
            continue
        line = text.count("\n", 0, block.start(2)) + 1
        for command in re.split(r"(?<!\\)\n", block[2]):
            words = shlex.split(command.replace("\\\n", " "), comments=True)
            if words and words[0] in _PROGRAMS:
                shown.append(Shown(document, line, words))
            line += command.count("\n") + 1
    return shown


def parse(shown: Shown) -> Any:
    """The command's settings, as the program itself would read them.

    Raises:
        SystemExit: a flag that there is not, or a value that does not fit.
    """
    program, arguments = shown.program, shown.arguments
    if program == ("img2dataset",):
        if unknown := {word[2:] for word in arguments if word.startswith("--")} - IMG2DATASET:
            raise SystemExit(f"img2dataset has no {unknown}")
        return None
    if program == ("embedder",):
        return parse_config(EmbedConfig, arguments, "embedder")
    if program[0] == "trainer":
        return parse_training(program[1], arguments)
    return parse_config(pkgutil.resolve_name(COMMANDS[program][0]).Config, arguments, "keyclip")

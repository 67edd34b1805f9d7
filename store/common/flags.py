"""Flags of a command: its settings as an argparse parser, for parsing, for help and for shell completion."""

import argparse
import ast
import difflib
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import MISSING
from typing import Any, NoReturn

from store.common.errors import ConfigError
from store.common.settings import Setting, settings_of

WIDTH = 100
"""Columns of help texts."""
FILE_FLAGS = {
    "--config": ("FILE", "Settings from a YAML or json file, or from a run's own config.json; flags override it."),
    "--allow-pipe": (None, "Let lists of shards and settings files name pipe: shards, which run shell commands."),
}


class UsageError(ConfigError):
    """A command line that the command does not understand."""


class Help(argparse.RawDescriptionHelpFormatter):
    """Help texts of one width on every terminal."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=WIDTH)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        match = re.fullmatch(r"argument (\S+): expected (one|at least one) argument", message)
        raise UsageError(f"{match[1].split('/')[-1]} needs a value" if match else message)


def parse_flags(config_type: type[Any], argv: Sequence[str], prog: str) -> dict[str, list[str]]:
    """The words that are given for each setting.

    Raises:
        UsageError: an unknown flag, a flag without its value, or words that belong to no flag.
        SystemExit: ``--help`` was asked for and shown (status 0).
    """
    settings = settings_of(config_type).values()
    flagged = [setting for setting in settings if not setting.is_positional]
    words = list(_normalised(argv, [setting.flag for setting in flagged if setting.is_switch]))
    end = words.index("--") if "--" in words else len(words)
    flags, after = words[:end], words[end + 1 :]
    if {"-h", "--help"} & set(flags):
        make_parser(config_type, prog).print_help()
        raise SystemExit(0)
    parser = _Parser(prog=prog, add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    for setting in flagged:
        _add_flag(parser, setting)
    given, words = parser.parse_known_args(flags)
    for word in words:
        if word.startswith("-") and not re.fullmatch(r"-\d.*|-", word):
            known = [flag for s in flagged for flag in (*s.aliases, s.flag, *([_negative(s.flag)] * s.is_switch))]
            raise UsageError(_unknown(word.split("=")[0], [*known, *FILE_FLAGS]))
    values = {name: value if isinstance(value, list) else [value] for name, value in vars(given).items()}
    words += after
    for setting in settings:
        if setting.is_positional and words:
            values[setting.name], words = (words, []) if setting.is_many else (words[:1], words[1:])
    if words:
        raise UsageError(f"{words[0]!r:.80} belongs to no flag; --help explains the command")
    return values


def make_parser(config_type: type[Any], prog: str, parser: argparse.ArgumentParser | None = None) -> Any:
    """A parser that shows the settings with their docstrings; ``parser``, if given, is filled."""
    settings = settings_of(config_type).values()
    names = [_metavar(s) + ("..." if s.is_many else "") for s in settings if s.is_positional]
    parser = parser or argparse.ArgumentParser(prog=prog, formatter_class=Help)
    parser.usage = " ".join([prog, *names, "[--FLAG VALUE ...]"]).replace("%", "%%")
    parser.description = inspect.cleandoc(config_type.__doc__ or "")
    docs = {owner: field_docs(owner) for owner in {setting.owner for setting in settings}}
    for setting in settings:
        text = " ".join(docs[setting.owner].get(setting.field, "").split())
        text = f"{text} ({_default(setting)})".replace("%", "%%")
        if setting.is_positional:
            nargs: Any = "*" if setting.is_many else ("?" if setting.default is not MISSING else None)
            parser.add_argument(setting.name, metavar=_metavar(setting), nargs=nargs, help=text)
        else:
            _add_flag(parser, setting, text)
    for flag, (metavar, text) in FILE_FLAGS.items():
        more: dict[str, Any] = {"metavar": metavar} if metavar else {"action": "store_true"}
        parser.add_argument(flag, help=text, **more)
    return parser


def field_docs(config_type: type[Any]) -> dict[str, str]:
    """The docstrings under the fields of a dataclass and of its bases."""
    docs: dict[str, str] = {}
    for base in reversed(config_type.__mro__[:-1]):
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0].body  # type: ignore[attr-defined]
        except (OSError, TypeError, SyntaxError):
            continue
        for field, below in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
                docs[ast.unparse(field.target)] = str(getattr(below.value, "value", ""))
    return docs


def _add_flag(parser: argparse.ArgumentParser, setting: Setting, text: str | None = None) -> None:
    """``text``: of the help, which also shows choices and ``--no-...``; without it every value is a word."""
    more: dict[str, Any] = {"dest": setting.name, "nargs": "*" if setting.is_many else None, "help": text}
    if setting.is_switch and text is not None:
        more = {
            "dest": setting.name,
            "action": argparse.BooleanOptionalAction,
            "default": argparse.SUPPRESS,
            "help": text,
        }
    elif setting.choices and text is not None:
        more["choices"] = list(setting.choices)
    else:
        more["metavar"] = _metavar(setting)
    parser.add_argument(*setting.aliases, setting.flag, **more)


def _negative(flag: str) -> str:
    return f"--no-{flag[2:]}"


def _normalised(argv: Sequence[str], switches: Sequence[str]) -> Iterator[str]:
    """Dashes in the names of flags; a value for switches that have none: ``--json`` is ``--json True``."""
    negative = {_negative(flag): flag for flag in switches}
    for at, (word, following) in enumerate(itertools.pairwise([*argv, ""])):
        if word == "--":
            yield from argv[at:]
            return
        name, equals, value = word.partition("=")
        if name.startswith("--"):
            name = name.replace("_", "-")
        if name in negative and not equals:
            yield from (negative[name], "False")
            continue
        yield f"{name}{equals}{value}"
        if name in switches and not equals and following.lower() not in ("true", "false", "none"):
            yield "True"


def _unknown(flag: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(flag.replace("_", "-"), known, 2, cutoff=0.75)
    hint = f"did you mean {' or '.join(near)}?" if near else "--help lists the flags"
    return f"there is no flag {flag!r:.80}; {hint}"


def _metavar(setting: Setting) -> str:
    if setting.choices:
        return "{" + ",".join(map(str, setting.choices)) + "}"
    if setting.is_positional:
        return setting.name.upper()
    kinds = {int: "INT", float: "FLOAT", bool: "True|False"}
    inner = [getattr(kind, "__args__", (kind,))[0] for kind in setting.types]
    return next((kinds[kind] for kind in inner if kind in kinds), "TEXT" if str in inner else "PATH")


def _default(setting: Setting) -> str:
    value = setting.default
    if value is MISSING:
        return "required"
    if isinstance(value, tuple):
        return f"default: {' '.join(map(str, value)) or 'none'}"
    return f"default: {'none' if value is None else repr(value) if value == '' else value}"

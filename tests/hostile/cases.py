"""Cases: a sound call with one or two things in it that are not, decided by a seed and a number alone."""

import contextlib
import inspect
import json
import os
import pkgutil
import re
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.hostile.commands import Call, calls
from tests.hostile.formats import damaged
from tests.hostile.values import ENVIRONMENTS, YAML_TEXTS, flag_values, json_value
from tools.__main__ import COMMANDS

_CALLS = calls()
_WORDS = sorted({call.words for call in _CALLS})


@dataclass(slots=True)
class Case:
    """A command and what was done to its world."""

    number: int
    argv: list[str]
    changes: tuple[str, ...]
    """Files and folders that it may change."""
    environment: dict[str, str] = field(default_factory=dict)
    did: list[str] = field(default_factory=list)
    """What makes it hostile, in words."""

    def __str__(self) -> str:
        words = " ".join(ascii(word) if not word.isascii() or not word.isprintable() else word for word in self.argv)
        return f"case {self.number}: keyclip {words:.600}\n  {'; '.join(self.did)}"


def command_of(seed: int, number: int) -> str:
    """The words of a case's command."""
    return " ".join(_start(seed, number)[1])


def _start(seed: int, number: int) -> tuple[Random, tuple[str, ...]]:
    random = Random(f"hostile {seed} {number}")
    return random, random.choice(_WORDS)


def make_case(seed: int, number: int, folder: Path) -> Case:
    """Case ``number`` of a seed; ``folder`` is a copy of the sound world, and is damaged."""
    random, words = _start(seed, number)
    call = random.choice([call for call in _CALLS if call.words == words])
    case = Case(number, call.argv, call.changes)
    for name in ("pipe", "loop", "zero", "null", "dangling"):
        _special(folder / name, name)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        random.choices((_damage, _replace, _value, _flag, _settings, _environment), (8, 4, 4, 3, 1, 1))[0](
            case, call, folder, random
        )
    return case


def inputs_of(argv: Sequence[str], folder: Path) -> list[Path]:
    """Files and folders of the world that words name, also in lists and patterns."""
    found: list[Path] = []
    for word in argv:
        for name in (word, word.removeprefix("@"), word.rpartition("=")[2]):
            with contextlib.suppress(OSError, ValueError):
                if name and not name.startswith(("/", "out", "..")):
                    found += [folder / name] if (folder / name).exists() else sorted(folder.glob(name))
        if word == "@list.txt":
            found += sorted((folder / "shards").glob("*.tar"))
        if word == "sets.yaml":
            found += [folder / "photos.jsonl", *sorted((folder / "images").iterdir())]
    return [path for path in dict.fromkeys(found) if os.path.lexists(path)]


def _file_in(place: Path, random: Random) -> Path:
    """The place, or a file below it."""
    if place.is_dir() and not place.is_symlink():
        files = [path for path in place.rglob("*") if path.is_file() and not path.is_symlink()]
        files.sort(key=lambda path: (re.sub(r"[0-9a-f]{8,}", "", str(path)), path.stat().st_size))  # names at random
        return random.choice(files) if files else place
    return place


def _damage(case: Case, call: Call, folder: Path, random: Random) -> None:
    """The content of an input."""
    places = inputs_of(call.argv, folder)
    if not places:
        return _value(case, call, folder, random)
    file = _file_in(random.choice(places), random)
    if not stat.S_ISREG(file.lstat().st_mode):
        return _value(case, call, folder, random)
    with contextlib.suppress(Exception):  # damaged before, in a way that its format cannot be damaged again
        file.write_bytes(damaged(file.name, file.read_bytes(), random))
    case.did.append(f"damaged {file.relative_to(folder)}")
    return None


def _replace(case: Case, call: Call, folder: Path, random: Random) -> None:
    """An input by something of another kind."""
    places = inputs_of(call.argv, folder)
    if not places:
        return _value(case, call, folder, random)
    place = random.choice(places)
    if random.random() < 0.5:
        place = _file_in(place, random)
    kind = random.choice(("nothing", "pipe", "loop", "zero", "folder", "file", "unreadable", "dangling", "unwritable"))
    if kind in ("unreadable", "unwritable"):
        if not place.is_symlink():
            place.chmod(0 if kind == "unreadable" else 0o500)
    else:
        _remove(place)
        if kind == "folder":
            place.mkdir()
        elif kind == "file":
            place.write_bytes(b"not what was here")
        elif kind != "nothing":
            _special(place, kind)
    case.did.append(f"{place.relative_to(folder)} became {kind}")
    return None


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _special(place: Path, kind: str) -> None:
    """A pipe, a link that leads to itself or to nothing, or a device (a pipe where none can be made)."""
    if os.path.lexists(place):
        return
    if kind == "loop":
        place.symlink_to(place.name)
    elif kind == "dangling":
        place.symlink_to("nothing-there")
    elif kind in ("zero", "null"):
        try:
            os.mknod(place, 0o666 | stat.S_IFCHR, os.makedev(1, 5 if kind == "zero" else 3))
            with place.open("rb"):
                pass
        except OSError:
            place.unlink(missing_ok=True)
            os.mkfifo(place)
    else:
        os.mkfifo(place)


def _value(case: Case, call: Call, folder: Path, random: Random) -> None:
    """One of the words after the command, or all of a flag."""
    at = random.randrange(len(call.words), len(case.argv)) if len(case.argv) > len(call.words) else len(case.argv)
    if at < len(case.argv) and case.argv[at].startswith("--"):
        at += 1
    if call.kept and case.argv[at - 1] == call.kept:
        at -= 2
    values = flag_values(random)
    case.argv[at : at + 1] = values
    case.did.append(f"word {at} is {values!r:.100}")


def _flag(case: Case, call: Call, folder: Path, random: Random) -> None:
    """A further flag, or one again."""
    config = pkgutil.resolve_name(COMMANDS[call.words][0]).Config
    names = [name for name in inspect.signature(config).parameters if name not in ("workers", *_kept(call))]
    flag = "--" + random.choice(names).replace("_", "-")
    values = flag_values(random)
    case.argv += [flag, *values]
    case.did.append(f"{flag} {values!r:.100}")


def _kept(call: Call) -> tuple[str, ...]:
    return (call.kept.removeprefix("--").replace("-", "_"),)


def _settings(case: Case, call: Call, folder: Path, random: Random) -> None:
    """A settings file."""
    config = pkgutil.resolve_name(COMMANDS[call.words][0]).Config
    names = [name for name in inspect.signature(config).parameters if name not in _kept(call)]
    if random.random() < 0.5:
        text = random.choice(YAML_TEXTS)
    else:
        settings: dict[str, Any] = {random.choice(names): json_value(random) for _ in range(random.randrange(1, 3))}
        text = json.dumps(settings)
    (folder / "settings.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    case.argv += ["--config", "settings.yaml"]
    case.did.append(f"settings {text!r:.100}")


def _environment(case: Case, call: Call, folder: Path, random: Random) -> None:
    """Variables that launchers and users set."""
    case.environment |= random.choice(ENVIRONMENTS)
    case.did.append(f"environment {case.environment}")

"""Commands: a config dataclass becomes flags, a settings file becomes defaults, errors become one sentence.

Used by ``keyclip`` (tools) and by the modules that launchers start (``python -m embedder``, ``python -m trainer``).
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any, TypeVar

from store.common.errors import ConfigError, KeyclipError
from store.common.files import read_text
from store.common.flags import UsageError, parse_flags
from store.common.pipes import ALLOW_PIPE, refuse_pipes
from store.common.settings import build, derived_names, flattened, settings_of

C = TypeVar("C")

TRACEBACK = "KEYCLIP_TRACEBACK"
"""Environment variable: 1 prints the traceback of an unexpected error."""
_LIMIT_BYTES = 2**20
"""Size of a settings file, at most."""


def parse_config(config_type: type[C], argv: Sequence[str], prog: str, settings: Mapping[str, Any] | None = None) -> C:
    """Build a config from command-line flags.

    Later sources win: ``settings`` (a recipe's), then ``--config FILE`` (YAML or json), then the flags. Each value is
    checked by the type of its setting. The ``--local_rank`` that launchers append is ignored, since ranks come from
    the environment.

    Raises:
        ConfigError: the settings file cannot be used; the settings do not fit together; or a setting of an earlier
            version is given, which the config names in ``REMOVED`` (setting -> what takes its place).
        SystemExit: wrong flags, reported in a sentence (status 2), or ``--help`` (status 0).
    """
    argv = [a for a in argv if not a.startswith(("--local_rank=", "--local-rank=")) and a != "--allow-pipe"]
    known = settings_of(config_type)
    for name, instead in getattr(config_type, "REMOVED", {}).items():
        flag = f"--{name.replace('_', '-')}"
        if any(word.split("=")[0].replace("_", "-") == flag for word in argv):
            raise ConfigError(f"{flag} is gone; {instead}")
    files, argv = _take_config_files(argv)
    try:
        typed = {name: known[name].from_words(given) for name, given in parse_flags(config_type, argv, prog).items()}
    except ConfigError as error:
        _fail(error)
    values = _checked(settings or {}, "the recipe", config_type)
    for file in files:
        values |= _checked(_recorded(file, prog, config_type), f"the settings file {str(file)!r}", config_type)
    values |= typed
    lacking = [s for name, s in known.items() if s.default is MISSING and name not in values]
    if lacking:
        names = [s.name.upper() if s.is_positional else s.flag for s in lacking]
        _fail(UsageError(f"{prog} needs {' and '.join(names)}; --help explains the command"))
    return build(config_type, values)


def run_command(
    config_type: type[C],
    function: Callable[[C], int | None],
    argv: Sequence[str],
    prog: str,
    settings: Mapping[str, Any] | None = None,
) -> int:
    """Parse (over ``settings``, a recipe's), run and translate the outcome into an exit status.

    0: done. 1: an error, printed as one sentence. 2: wrong usage. 130: interrupted.
    """

    def call() -> int | None:
        with _pipes_allowed("--allow-pipe" in argv):
            return function(parse_config(config_type, argv, prog, settings))

    return exit_status(call)


def exit_status(function: Callable[[], int | None]) -> int:
    """Run ``function``; an error becomes a sentence on stderr and status 1.

    An unexpected error leaves its traceback in a file that the sentence names.
    """
    status = 0
    for stream in (sys.stdout, sys.stderr):  # text that the terminal cannot show is escaped
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            status = function() or 0
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 - the last place where one can become a sentence
            if os.environ.get(TRACEBACK) == "1":
                sys.excepthook(type(error), error, error.__traceback__)
            _print_error(_sentence(error))
            status = 2 if isinstance(error, UsageError) else 1
        except KeyboardInterrupt:
            print("keyclip: interrupted; the same command continues", file=sys.stderr)  # noqa: T201
            status = 130
        finally:
            sys.stdout.flush()  # here, where a closed pipe can still be passed over in silence
    except BrokenPipeError:  # `keyclip ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # what was printed last finds no room
        _print_error(_sentence(error))
        status = status or 1
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _print_error(sentence: str) -> None:
    with contextlib.suppress(OSError):
        print(f"keyclip: error: {sentence}", file=sys.stderr)  # noqa: T201


def _fail(error: ConfigError) -> Any:
    """Wrong usage: a sentence and status 2."""
    _print_error(str(error))
    raise SystemExit(2)


def _sentence(error: Exception) -> str:
    if isinstance(error, KeyclipError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        if (name := error.filename) is not None:
            return f"{(os.fsdecode(name) if isinstance(name, bytes) else name)!r} cannot be used: {error.strerror}"
        if error.errno is not None:
            return f"the system refuses to go on: {error.strerror}"
    if isinstance(error, MemoryError):
        return "there is not enough memory for this; give a smaller batch, block or number"
    words = " ".join(str(error).split())
    what = f"{type(error).__name__}{f': {words}' if words else ''}"
    return f"unexpected {what:.300}; {_saved_traceback(error)}"


def _saved_traceback(error: Exception) -> str:
    import traceback

    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="keyclip-", suffix=".traceback", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            traceback.print_exception(error, file=file)
    except Exception:  # noqa: BLE001 - no room, no rights
        return f"{TRACEBACK}=1 prints the traceback"
    return f"the traceback is in {file.name!r}"


@contextlib.contextmanager
def _pipes_allowed(allowed: bool) -> Iterator[None]:
    change = allowed and ALLOW_PIPE not in os.environ
    if allowed:
        os.environ[ALLOW_PIPE] = "1"
    try:
        yield
    finally:
        if change:
            os.environ.pop(ALLOW_PIPE, None)


def _take_config_files(argv: Sequence[str]) -> tuple[list[Path], list[str]]:
    files: list[Path] = []
    rest: list[str] = []
    arguments = iter(argv)
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name == "--config":
            files.append(Path(value if equals else next(arguments, "")))
        else:
            rest.append(argument)
    return files, rest


def read_settings(file: Path) -> dict[str, Any]:
    """The settings of a file by name. Raises ConfigError if it cannot be read, or is no mapping."""
    import yaml

    from store.common.yaml_text import load_yaml

    named = f"the settings file {str(file)!r}"
    try:
        settings = load_yaml(read_text(file, named, _LIMIT_BYTES))
    except yaml.YAMLError as error:
        raise ConfigError(f"{named} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{named} must map names to values, one setting a line")
    return settings


def _recorded(file: Path, prog: str, config_type: type[Any]) -> dict[str, Any]:
    """The settings of a file, which may be the record (``config.json``) of a training run."""
    settings, stage = read_settings(file), prog.split()[-1]
    if "stage" in settings and "stage" not in settings_of(config_type):
        if (recorded := settings.pop("stage")) != stage:
            raise ConfigError(
                f"the settings file {str(file)!r} is the record of a run of {recorded!r:.80}; this command is {prog!r}"
            )
        settings = {name: value for name, value in settings.items() if name not in derived_names(config_type)}
    return settings


def _checked(given: Mapping[str, Any], source: str, config_type: type[Any]) -> dict[str, Any]:
    """The values of a file or recipe. Raises ConfigError for an unknown name, or a value of another type."""
    known = settings_of(config_type)
    values: dict[str, Any] = {}
    for name, value in flattened(given, config_type):
        if name in getattr(config_type, "REMOVED", {}):
            raise ConfigError(f"{source} sets {name!r}, which is gone; {config_type.REMOVED[name]}")
        if name not in known:
            raise ConfigError(
                f"{source} sets {str(name)[:80]!r}, which is not a setting; there are {', '.join(sorted(known))}"
            )
        refuse_pipes(value, f"{name} of {source}")
        values[name] = known[name].from_value(value, source)
    return values

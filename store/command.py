"""Commands: a config dataclass becomes flags, a settings file becomes defaults, errors become one sentence.

Used by ``keyclip`` (tools) and by the modules that launchers start (``python -m embedder``, ``python -m trainer``).
"""

import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from store.errors import ConfigError, KeyclipError

C = TypeVar("C")


def parse_config(config_type: type[C], argv: Sequence[str], prog: str, settings: Mapping[str, Any] | None = None) -> C:
    """Build a config from command-line flags.

    Later sources win: ``settings`` (a recipe's), then ``--config FILE`` (YAML or json), then the flags. The
    ``--local_rank`` that launchers append is ignored, since ranks come from the environment.

    Raises:
        ConfigError: the settings file is absent or holds names that are not settings of this command; or a setting of
            an earlier version is given, which the config names in ``REMOVED`` (setting -> what takes its place).
        SystemExit: wrong flags (status 2) or ``--help`` (status 0).
    """
    argv = [a for a in argv if not a.startswith(("--local_rank=", "--local-rank="))]
    files, argv = _take_config_files(argv)
    defaults = list(_flags(settings or {}, "the recipe", config_type))
    for file in files:
        defaults += _flags(read_settings(file), str(file), config_type)
    _refuse_removed(argv, config_type)
    argv = list(_complete_switches(argv, config_type))
    description = inspect.cleandoc(config_type.__doc__ or "")
    description += "\n\n--config FILE reads settings from a YAML or json file; flags override it."
    return tyro.cli(
        config_type,
        prog=prog,
        description=description,
        args=[*defaults, *argv],
        config=(tyro.conf.FlagConversionOff,),
    )


def run_command(
    config_type: type[C],
    function: Callable[[C], int | None],
    argv: Sequence[str],
    prog: str,
    settings: Mapping[str, Any] | None = None,
) -> int:
    """Parse (over ``settings``, a recipe's), run and translate the outcome into an exit status.

    0: done. 1: an error that the user can mend, printed as one sentence. 2: wrong usage. 130: interrupted.
    """
    return exit_status(lambda: function(parse_config(config_type, argv, prog, settings)))


def exit_status(function: Callable[[], int | None]) -> int:
    """Run ``function``; errors that the user can mend, and the system's about files, become a sentence on stderr and
    status 1.
    """
    status = 0
    try:
        try:
            status = function() or 0
        except KeyclipError as error:
            print(f"keyclip: error: {error}", file=sys.stderr)  # noqa: T201
            status = 1
        except BrokenPipeError:
            raise
        except OSError as error:  # no permission, a file where a folder should be ...
            if error.filename is None:
                raise
            message = f"{str(error.filename)!r} cannot be used: {error.strerror}"
            print(f"keyclip: error: {message}", file=sys.stderr)  # noqa: T201
            status = 1
        except KeyboardInterrupt:
            print("keyclip: interrupted; the same command continues", file=sys.stderr)  # noqa: T201
            status = 130
        finally:
            sys.stdout.flush()  # here, where a pipe that was closed can still be met in silence
    except BrokenPipeError:  # `keyclip ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _refuse_removed(argv: Sequence[str], config_type: type[Any]) -> None:
    for name, instead in getattr(config_type, "REMOVED", {}).items():
        flag = f"--{name.replace('_', '-')}"
        if any(word.split("=")[0].replace("_", "-") == flag for word in argv):
            raise ConfigError(f"{flag} is gone; {instead}")


def _complete_switches(argv: Sequence[str], config_type: type[Any]) -> Iterator[str]:
    """``--json`` alone means ``--json True``: a flag of a setting that is true or false needs no value."""
    parameters = inspect.signature(config_type, eval_str=True).parameters.values()
    switches = {f"--{setting.name.replace('_', '-')}" for setting in parameters if setting.annotation is bool}
    for argument, following in zip(argv, [*argv[1:], ""], strict=False):
        yield argument
        if argument.replace("_", "-") in switches and following not in ("True", "False"):
            yield "True"


def _take_config_files(argv: Sequence[str]) -> tuple[list[Path], list[str]]:
    files: list[Path] = []
    rest: list[str] = []
    arguments = iter(argv)
    for argument in arguments:
        if argument == "--config":
            files.append(Path(next(arguments, "")))
        elif argument.startswith("--config="):
            files.append(Path(argument.removeprefix("--config=")))
        else:
            rest.append(argument)
    return files, rest


def read_settings(file: Path) -> Mapping[str, Any]:
    """What a settings file sets, by name. Raises: ConfigError: it cannot be read, or is no mapping."""
    import yaml

    from store.yaml_text import load_yaml

    try:
        settings = load_yaml(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the settings file {str(file)!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the settings file {str(file)!r} is not UTF-8 text: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"the settings file {str(file)!r} is not YAML: {error}") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"the settings file {str(file)!r} must map names to values, one setting a line")
    return settings


def _flags(settings: Mapping[str, Any], source: str, config_type: type[Any]) -> Iterator[str]:
    known = set(inspect.signature(config_type).parameters)
    for name, value in settings.items():
        if name in getattr(config_type, "REMOVED", {}):
            raise ConfigError(f"{source} sets {name!r}, which is gone; {config_type.REMOVED[name]}")
        if name not in known:
            raise ConfigError(f"{source} sets {name!r}, which is not a setting; there are {', '.join(sorted(known))}")
        yield f"--{name.replace('_', '-')}"
        if isinstance(value, Mapping):
            yield from (str(part) for pair in value.items() for part in pair)
        elif isinstance(value, list | tuple):
            yield from map(str, value)
        else:
            yield str(value)

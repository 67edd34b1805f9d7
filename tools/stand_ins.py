"""Stand-ins for torch and the libraries built on it, so that ``keyclip COMMAND --help`` does not wait for their import.

Help needs the settings of a command only, but its module imports torch, which takes seconds. With stand-ins the module
can be imported, and nothing in it can run.
"""

import sys
from abc import ABCMeta
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

LIBRARIES = ("torch", "transformers", "safetensors", "deepspeed")


def install() -> None:
    """Use stand-ins in this process from now on, unless the libraries are loaded already."""
    if not set(LIBRARIES) & set(sys.modules):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder, Loader):
    """Finds a stand-in for each module of the libraries."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.split(".")[0] in LIBRARIES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Does nothing: attributes are made when they are asked for."""


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Class(name, (), {})


class _Class(ABCMeta):
    """A class that can be a base class, an annotation or a decorator; so are its attributes, items and results."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Class(name, (), {})

    def __getitem__(cls, item: object) -> Any:
        return cls

    def __call__(cls, *arguments: Any, **settings: Any) -> Any:
        decorated: Callable[..., Any] | None = arguments[0] if arguments and callable(arguments[0]) else None
        return decorated or cls

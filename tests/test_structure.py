"""The house keeps its walls: imports run tools -> {embedder, trainer} -> store."""

import ast
import graphlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests import ROOT

ALLOWED = {
    "store": {"store"},
    "embedder": {"embedder", "store"},
    "trainer": {"trainer", "store"},
    "tools": {"tools", "embedder", "trainer", "store"},
}


def imported_packages(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names.add((node.module or "").split(".")[0])
    return names


def imported_modules(file: Path) -> set[str]:
    """The project's own modules that a file imports, anywhere in it; ``from a import b`` may name a module ``a.b``."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return names


def modules() -> dict[str, Path]:
    """The project's own modules by name; a package's ``__init__`` stands under the package's name."""
    files = (file for package in ALLOWED for file in (ROOT / package).rglob("*.py"))
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def room(file: Path) -> str:
    return str(file.parent.relative_to(ROOT))


def test_no_module_imports_itself_through_others_also_not_within_functions():
    files = {name: file for name, file in modules().items() if file.name != "__init__.py"}
    graph = {name: {other for other in imported_modules(file) if other in files} for name, file in files.items()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


def test_rooms_import_in_one_direction():
    """A room is a folder of modules: what one room imports never imports from it, not even within functions."""
    files = modules()
    graph: dict[str, set[str]] = {}
    for file in files.values():
        others = {room(files[other]) for other in imported_modules(file) if other in files}
        graph.setdefault(room(file), set()).update(others - {room(file)})
    graphlib.TopologicalSorter(graph).prepare()


def test_a_room_has_at_most_15_modules():
    counts = Counter(room(file) for file in modules().values() if file.name != "__init__.py")
    assert {name: count for name, count in counts.items() if count > 15} == {}


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_what_the_design_allows(package):
    for file in (ROOT / package).rglob("*.py"):
        wrong = imported_packages(file) & set(ALLOWED) - ALLOWED[package]
        assert not wrong, f"{file.relative_to(ROOT)} imports {wrong}"


def test_the_store_names_neither_torch_nor_transformers():
    for file in (ROOT / "store").rglob("*.py"):
        assert not imported_packages(file) & {"torch", "transformers"}, file


def test_importing_the_store_loads_neither_torch_nor_transformers():
    code = (
        "import store, store.sources.shards, store.common.command, sys; "
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_torchvision_and_timm_are_never_imported():
    for package in ALLOWED:
        for file in (ROOT / package).rglob("*.py"):
            assert not imported_packages(file) & {"torchvision", "timm"}, file


def test_pickle_is_never_imported():
    for package in ALLOWED:
        for file in (ROOT / package).rglob("*.py"):
            assert not imported_packages(file) & {"pickle", "dill", "cloudpickle"}, file

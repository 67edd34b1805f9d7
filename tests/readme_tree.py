"""The tree, folders in the README and files in docs/tree.md: ``python -m tests.readme_tree`` writes both."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- tree -->\n```text\n", "```\n<!-- /tree -->"
ROOMS = {
    "store": "keyed vectors on disk; imports neither the other packages nor torch",
    "embedder": "captions in, vectors out; imports store",
    "trainer": "training and metrics; imports store",
    "tools": "the keyclip command; imports all",
}
OTHERS = {
    "tests/": "a test folder for each folder above",
    "examples/": "a notebook that the tests run",
    "docs/": "the documentation",
    "setup.cfg": "package, dependencies, settings of pytest and mypy",
    "constraints.txt": "exact versions; every install uses it",
    "Makefile": "make demo, make test, make docs",
}


def rooms() -> str:
    """One line per package: what it is, and the folders in it."""
    lines = []
    for room, what in ROOMS.items():
        folders = ", ".join(sorted(path.parent.name for path in (ROOT / room).glob("*/__init__.py")))
        lines.append(f"{room + '/':<17}{what.split(';')[0]}: {folders}")
    lines += [f"{name:<17}{what}" for name, what in OTHERS.items() if (ROOT / name).exists()]
    return "\n".join(lines) + "\n"


def tree() -> str:
    """One line per file: its name and the first sentence of its docstring."""
    lines = []
    for room, what in ROOMS.items():
        lines.append(f"{room + '/':<28}{what}")
        lines += _files(ROOT / room)
    return "\n".join(lines) + "\n"


def _files(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        depth = len(path.relative_to(ROOT).parts) - 1
        if path.suffix in (".py", ".md") and path.name != "__init__.py":
            yield f"{'  ' * depth + path.name:<28}{_first_sentence(path)}"
        elif (path / "__init__.py").exists():
            yield f"{'  ' * depth + path.name + '/':<28}{_first_sentence(path / '__init__.py')}"


def _first_sentence(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text.splitlines()[0].strip("# ")
    paragraph = (ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0].replace("\n", " ").replace("``", "")
    return paragraph.removesuffix(".")


def main() -> None:
    """Write both."""
    for file, text in ((ROOT / "README.md", rooms()), (ROOT / "docs" / "tree.md", tree())):
        before, rest = file.read_text(encoding="utf-8").split(BEGIN)
        file.write_text(before + BEGIN + text + END + rest.split(END, 1)[1], encoding="utf-8")


if __name__ == "__main__":
    main()

"""Pages of the documentation that its build makes: from files outside docs/, and from the commands themselves.

MkDocs calls the functions named ``on_*``.
"""

import contextlib
import io
import os
import re
from configparser import ConfigParser
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tools.__main__ import COMMANDS, OTHERS, main

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "store/FORMAT.md": "store-format.md",
}
"""Files outside docs/ -> the page that shows each."""
GROUPS = {
    "data": ("Preparing data", {"data"}),
    "embed": ("Embedding", {"embed", "serve"}),
    "store": ("The store", {"store", "browse"}),
    "vectors": ("Vectors of other programs", {"vectors", "import", "export"}),
    "train": ("Training", {"train"}),
    "eval": (
        "Evaluating",
        {"prompts", "eval-captions", "eval", "eval-diff", "mteb", "clip-benchmark", "report", "compare"},
    ),
    "demo": ("Demonstration", {"demo", "demo-data", "demo-download"}),
    "bench": ("Benchmarks", {"bench"}),
    "completion": ("Shell completion", {"completion"}),
}
"""Page of the command reference -> its title, and the first words of its commands."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the pages of the command reference in the navigation."""
    for entry in config.nav or []:
        if "Commands" in entry:
            entry["Commands"] = [
                "commands/index.md",
                *({title: f"commands/{name}.md"} for name, (title, _) in GROUPS.items()),
            ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_rewritten(text, Path(source).parent)))
    for name, text in command_pages().items():
        files.append(File.generated(config, f"commands/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to files outside docs/ at the pages that show them; fill in the list of extras."""
    if page.file.generated_by:
        return markdown
    return _rewritten(markdown, Path("docs", page.file.src_uri).parent).replace("<!-- extras -->", extras())


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leave out the roles that docstrings give to names."""
    return re.sub(r":(class|meth|func|mod|data):<code>~?", "<code>", html)


def command_pages() -> dict[str, str]:
    """The command reference: page -> Markdown, from each command's own ``--help``."""
    described = {" ".join(words): what for words, (_, what) in COMMANDS.items()}
    for _, lines in OTHERS.values():
        described |= lines
    pages = {"index": f"# Commands\n\nEvery command has `--help`, which these pages show.\n\n```text\n{_output()}```\n"}
    for name, (title, firsts) in GROUPS.items():
        parts = [f"# {title}"]
        for words, what in described.items():
            if words.split()[0] in firsts:
                parts.append(
                    f"## `keyclip {words}`\n\n{what[:1].upper()}{what[1:]}.\n\n```text\n{_output(*words.split())}```"
                )
        pages[name] = "\n\n".join(parts) + "\n"
    if lost := {words.split()[0] for words in described} - set().union(*(firsts for _, firsts in GROUPS.values())):
        raise ValueError(f"no page of the command reference shows {', '.join(sorted(lost))}; add them to GROUPS")
    return pages


def extras() -> str:
    """The optional extras of setup.cfg as a table: name, packages, and the comment above each."""
    text = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    settings = ConfigParser()
    settings.read_string(text)
    rows = ["| extra | for | packages |", "|---|---|---|"]
    for name, packages in settings["options.extras_require"].items():
        reason = re.search(rf"^# (.*)\n{re.escape(name)} =$", text, re.MULTILINE)
        if reason is None:
            raise ValueError(f"the extra {name!r} of setup.cfg has no comment above it that says what it is for")
        rows.append(f"| `{name}` | {reason[1]} | {', '.join(packages.split())} |")
    return "\n".join(rows)


def _output(*words: str) -> str:
    """What ``keyclip WORDS --help`` prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        main([*words, "--help"])
    if not printed.getvalue():
        raise ValueError(f"keyclip {' '.join(words)} --help prints nothing")
    return printed.getvalue()


def _rewritten(text: str, folder: Path) -> str:
    """Links of a file in ``folder`` as links between pages."""

    def link(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        path = os.path.normpath(folder / target)
        if path in PAGES:
            up = "../" * (len(folder.parts) - 1) if folder.parts[:1] == ("docs",) else ""
            return f"]({up}{PAGES[path]}{anchor})"
        if path.startswith("docs/") and folder.parts[:1] != ("docs",):
            return f"]({path.removeprefix('docs/')}{anchor})"
        return match[0]

    return re.sub(r"\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)", link, text)

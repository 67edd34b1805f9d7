"""The README tells the truth about the tree and the commands."""

import re

from tests.readme_tree import BEGIN, ROOT, rooms, tree
from tools.__main__ import COMMANDS
from trainer.__main__ import STAGES

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tree_is_that_of_the_disk():
    assert BEGIN + rooms() in README, "run `python -m tests.readme_tree`"
    assert BEGIN + tree() in (ROOT / "docs" / "tree.md").read_text(encoding="utf-8"), (
        "run `python -m tests.readme_tree`"
    )


def test_every_command_that_the_readme_shows_exists():
    shown = set(re.findall(r"^\s*(?:\$ )?keyclip ([a-z-]+(?: [a-z]+)?)", README, flags=re.MULTILINE))
    assert shown
    for words in shown:
        assert tuple(words.split()) in COMMANDS or (words.split()[0],) in COMMANDS, words


def test_every_stage_that_the_readme_shows_exists():
    shown = set(re.findall(r"--module trainer ([a-z0-9]+)", README))
    assert shown
    assert shown <= set(STAGES)


def test_every_file_that_the_readme_links_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target

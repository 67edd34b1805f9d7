"""The README tells the truth about the tree and its links; tests/docs/test_commands.py looks at its commands."""

import re

from tests.readme_tree import BEGIN, ROOT, rooms, tree

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tree_is_that_of_the_disk():
    assert BEGIN + rooms() in README, "run `python -m tests.readme_tree`"
    assert BEGIN + tree() in (ROOT / "docs" / "tree.md").read_text(encoding="utf-8"), (
        "run `python -m tests.readme_tree`"
    )


def test_every_file_that_the_readme_links_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target

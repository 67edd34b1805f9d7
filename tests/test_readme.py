"""The README is short, and tells the truth about the tree and its links; tests/docs runs and parses its commands."""

import re

from tests.readme_tree import BEGIN, ROOT, rooms, tree

README = (ROOT / "README.md").read_text(encoding="utf-8")
MOST_WORDS = 1000


def test_the_tree_is_the_one_on_disk():
    assert BEGIN + rooms() in README, "run `python -m tests.readme_tree`"
    assert BEGIN + tree() in (ROOT / "docs" / "tree.md").read_text(encoding="utf-8"), (
        "run `python -m tests.readme_tree`"
    )


def test_every_file_and_section_that_the_readme_links_exists():
    for target, anchor in re.findall(r"\]\(([^)#]+)(?:#([^)]+))?\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", (ROOT / target).read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [title.lower().replace(" ", "-") for title in titles], f"{target}#{anchor}"


def test_the_readme_is_read_in_minutes():
    assert len(README.split()) <= MOST_WORDS


def test_the_readme_begins_with_what_it_is_and_for_whom():
    paragraph = README.split("\n\n")[1]
    assert paragraph.count("\n") < 3
    assert "It is for" in paragraph

"""The documentation as a site: its links are checked, it shows every command, and nothing loads from elsewhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from tests import ROOT
from tools.__main__ import COMMANDS
from trainer.__main__ import STAGES


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr  # strict: a warning is an error
    return folder


class Loaded(HTMLParser):
    """Collects the addresses from which a page loads something."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        name = {"link": "href", "form": "action", "object": "data"}.get(tag, "src")
        if given.get(name) and given.get("rel") not in ("canonical", "prev", "next"):
            self.addresses.append(str(given[name]))


def test_a_page_loads_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))
        assert [address for address in loaded.addresses if re.match(r"\w+:|//", address)] == [], page.name
    for style in site.rglob("*.css"):
        assert re.findall(r"url\(['\"]?(?:https?:)?//|@import", style.read_text(encoding="utf-8")) == [], style.name


def test_every_command_is_shown_with_its_help(site):
    shown = "".join(page.read_text(encoding="utf-8") for page in (site / "commands").glob("*.html"))
    for words in [*COMMANDS, *(("train", stage) for stage in STAGES)]:
        assert f"usage: keyclip {' '.join(words)}" in shown


def test_every_extra_of_setup_cfg_is_listed_with_its_reason(site):
    text = re.sub(r"<[^>]+>", " ", (site / "getting-started.html").read_text(encoding="utf-8"))
    for extra in ("open-clip", "tensorboard", "s3", "dev"):
        assert re.search(rf"\s{extra}\s+\w+", text)


def test_the_python_reference_shows_arguments_and_errors(site):
    text = re.sub(r"<[^>]+>", "", (site / "api" / "store.html").read_text(encoding="utf-8"))
    assert "Vectors of keys, row i for key i" in text
    assert "MissingKeysError" in text
    assert ":class:" not in text

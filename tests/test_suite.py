"""The suite itself: what was skipped is said, and what is required must run."""

from pathlib import Path

import pytest

from tests.anywhere import VARIANTS, run

pytest_plugins = ["pytester"]

TESTS = """
import pytest

@pytest.mark.browser
def test_pages(): {pages}

def test_other(): pass
"""


@pytest.fixture
def suite(pytester: pytest.Pytester):
    """Runs a small suite with this project's conftest, whose test of the pages does as told."""

    def run_with(pages: str, *options: str) -> pytest.RunResult:
        pytester.makeini("[pytest]\nmarkers =\n    browser: needs a browser")
        pytester.makeconftest((Path(__file__).parent / "conftest.py").read_text())
        pytester.makepyfile(TESTS.format(pages=pages))
        return pytester.runpytest("-p", "no:cacheprovider", *options)

    return run_with


def test_a_reason_to_skip_is_summed_up(suite):
    result = suite("pytest.skip('no browser; install one')")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["skipped 1 test: no browser; install one"])


def test_a_required_test_must_not_be_skipped(suite):
    result = suite("pytest.skip('no browser; install one')", "--require", "browser")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*--require browser: Skipped: no browser; install one*"])


def test_a_required_test_that_passes_is_enough(suite):
    suite("pass", "--require", "browser").assert_outcomes(passed=2)


def test_a_requirement_that_no_test_has_is_refused(suite):
    result = suite("pass", "--require", "browser", "-k", "other")
    assert result.ret != 0
    result.stderr.fnmatch_lines(["*no collected test is marked 'browser'*"])


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_of_the_suite_runs_and_fails_with_it(name, monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", "/tmp")
    test = tmp_path / "test_circumstances.py"
    test.write_text(
        "import os, sys, tempfile\n"
        f"def test_as_told(): assert {dict(VARIANTS[name].environment)}.items() <= os.environ.items()\n"
        f"def test_path(): assert (len(tempfile.gettempdir()) > 80) is {VARIANTS[name].long_path}\n"
    )
    assert run(VARIANTS[name], [str(test), "-p", "no:cacheprovider", f"--rootdir={tmp_path}"]) == 0
    test.write_text("def test_fails(): assert False\n")
    assert run(VARIANTS[name], [str(test), "-p", "no:cacheprovider", f"--rootdir={tmp_path}"]) == 1

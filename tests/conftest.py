"""What all tests share: a summary of what was skipped, and a way to insist on tests that a machine might skip.

``pytest --require browser`` fails unless the tests marked ``browser`` have run.
"""

import os
from collections import Counter

import pytest

# before torch is imported: several processes run the tests, and threads do not survive a fork
os.environ.setdefault("OMP_NUM_THREADS", "1")

CAN_BE_REQUIRED = ("browser",)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require",
        action="append",
        default=[],
        choices=CAN_BE_REQUIRED,
        help="fail unless the tests of this marker have run",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """A skip of a required test is a failure, with the reason of the skip."""
    report = yield
    required = [name for name in item.config.getoption("--require") if item.get_closest_marker(name)]
    if report.skipped and required and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome, report.longrepr = "failed", f"--require {required[0]}: {reason}"
    return report


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter) -> None:
    """One line for each reason of a skip; a skip's reason names the remedy."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    )
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"skipped {count} test{'s' if count > 1 else ''}: {reason}")
    deselected = len(terminalreporter.stats.get("deselected", []))
    if deselected:
        terminalreporter.write_line(
            f"not selected: {deselected} tests (long ones: make test-slow; those for a GPU: make test-gpu)"
        )


def pytest_collection_finish(session: pytest.Session) -> None:
    """A required marker that no collected test has would be a requirement that nothing checks."""
    for name in session.config.getoption("--require"):
        if not any(item.get_closest_marker(name) for item in session.items):
            raise pytest.UsageError(f"--require {name}: no collected test is marked {name!r}; run the whole suite")

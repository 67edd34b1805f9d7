"""docs/settings.md says what the recipes and the groups of arms say."""

import re

from tests.docs.commands import ROOT
from tools.compare.arms import GROUPS
from trainer.settings.recipes import DEEP, DEFAULT_TOWER, METHODS, SETTINGS, SIZES, TOWERS

TEXT = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in TEXT.splitlines() if line.startswith("| ")]


def shown(value):
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def test_every_setting_of_the_paper_s_runs_stands_there_with_its_source():
    there = [row for row in ROWS if len(row) == 4 and row[0].startswith("`")]
    assert there == [[f"`{s.name}`", shown(s.stage1), shown(s.stage2), s.source] for s in SETTINGS]


def test_every_part_of_a_recipe_s_name_stands_there():
    parts = " ".join(row[1] for row in ROWS if row[0] in ("method", "size", "tower", "adapter"))
    assert set(re.findall("`([a-z0-9]+)`", parts)) == {*METHODS, *SIZES, *TOWERS, DEEP} - {DEFAULT_TOWER}


def test_every_group_of_arms_stands_there():
    there = {row[0].strip("`"): row[1] for row in ROWS if row[0].strip("`") in GROUPS}
    assert list(there) == ["paper", "table5", "table6", "table7", "table14", "figure6"]
    assert set(there) == set(GROUPS)
    for group in ("paper", "table5", "table6", "table14", "figure6"):
        assert there[group].startswith(f"`{' '.join(GROUPS[group])}`")

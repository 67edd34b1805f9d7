"""What both forms of the report, HTML and Markdown, are made from."""

from collections.abc import Sequence
from functools import cached_property

from tools.reporting.compare import Table, summary
from tools.reporting.comparison import Comparison
from tools.reporting.inputs import Material
from tools.reporting.verdict import Verdict, verdict


class Report:
    """The material, and what is computed from it once.

    Attributes:
        material: runs, results and uses as read.
        title: heading.
        notes: sentences below the heading.
        comparison: the results side by side.
    """

    def __init__(self, material: Material, title: str, notes: Sequence[str] = ()) -> None:
        self.material, self.title, self.notes = material, title, notes
        self.comparison = Comparison(material.results)

    @cached_property
    def summary(self) -> Table:
        return self.comparison.table(summary)

    @cached_property
    def verdict(self) -> Verdict:
        return verdict(self.comparison)

    def doubts(self) -> list[str]:
        """What speaks against comparing these results."""
        results, doubts = self.material.results, []
        if len({(tuple(result.shards), result.num_images) for result in results}) > 1:
            counts = ", ".join(f"{result.name}: {result.num_images:,} images" for result in results)
            doubts.append(f"These results were not measured on the same images ({counts}); do not compare them.")
        if len({result.clip for result in results}) > 1:
            doubts.append("These results start from different CLIP models; compare them with care.")
        return doubts

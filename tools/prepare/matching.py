"""Which row of a caption table belongs to which sample: a join in SQL, on disk.

Samples and rows are compared by one form of their value after the other (:mod:`tools.prepare.urls`; keys have a
single form). A row takes the most exact form in which any sample is equal to it; then a sample keeps one row.

=========================================================  =====================================
a row                                                      becomes
=========================================================  =====================================
equals no sample, or says nothing of its sample            unmatched
equals several samples                                     ambiguous
equals one sample, and no other row does as exactly        matched
equals one sample, as others do which say the same         the first is matched, the others repeated
equals one sample, as others do which say something else   ambiguous, all of them
equals one sample, which another row equals more exactly   ambiguous
=========================================================  =====================================
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from store.common.errors import ConfigError
from tools.prepare.database import Database, batched
from tools.prepare.downloaded import Sample

SHOWN = 5
"""Of samples that equal a row, as many are named."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How values are compared."""

    names: Sequence[str]
    """Names of the forms, from the most exact to the least."""
    forms: Callable[[str], Sequence[str]]
    """A value in these forms; an empty one is equal to nothing."""

    def columns(self, values: Sequence[str | None]) -> dict[str, pa.Array]:
        """The values in each form, as the columns ``form0``, ``form1`` ..., null where there is nothing to compare."""
        nothing = [""] * len(self.names)
        forms = zip(*(self.forms(value) if value else nothing for value in values), strict=True)
        columns = [pa.array([text or None for text in texts], pa.large_string()) for texts in forms]
        return {f"form{number}": column for number, column in enumerate(columns)}


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a caption table: what each says of its sample, a digest of its captions, and the captions."""

    told: Sequence[str | None]
    said: Sequence[int]
    captions: pa.Table


@dataclass(slots=True)
class Counts:
    """What the join found."""

    num_samples: int = 0
    num_rows: int = 0
    num_matched: int = 0
    num_unmatched: int = 0
    num_ambiguous: int = 0
    num_repeated: int = 0
    num_samples_without_row: int = 0
    matched_by: dict[str, int] = field(default_factory=dict)


class Matching:
    """The join. Add samples and rows, then ``solve``; the table ``outcomes`` then says what became of every row.

    Its tables are ``samples`` (number, key, form0 ...), ``table_rows`` (row, told, said, form0 ..., caption0 ...) and
    ``outcomes`` (row, form, number of the sample, candidates, status). ``candidates`` are the keys of the samples that
    a row equals; ``status`` is ``matched``, ``ambiguous`` or ``repeated``. A row that is not in it is unmatched.
    """

    def __init__(self, database: Database, comparison: Comparison) -> None:
        self.counts = Counts()
        self._database, self._comparison = database, comparison

    def add_samples(self, samples: Iterable[Sample]) -> None:
        """Take in every sample: its key, and the value that rows are compared with."""
        for batch in batched(samples):
            numbers = np.arange(len(batch)) + self.counts.num_samples
            keys, values = zip(*batch, strict=True)
            columns = {"number": numbers, "key": pa.array(keys, pa.large_string())}
            self._database.insert("samples", pa.table(columns | self._comparison.columns(values)))
            self.counts.num_samples += len(batch)

    def add_rows(self, rows: Iterable[Rows]) -> None:
        """Take in every row."""
        for chunk in rows:
            numbers = np.arange(len(chunk.told)) + self.counts.num_rows
            columns = {
                "row": numbers,
                "told": pa.array(chunk.told, pa.large_string()),
                "said": pa.array(chunk.said, pa.uint64()),
                **self._comparison.columns(chunk.told),
                **{f"caption{place}": column for place, column in enumerate(chunk.captions.columns)},
            }
            self._database.insert("table_rows", pa.table(columns))
            self.counts.num_rows += len(chunk.told)

    def solve(self, progress: Callable[[], object] = lambda: None) -> None:
        """Decide about every row; ``progress`` is called ``num_steps`` times.

        Raises:
            ConfigError: two samples have the same key.
        """
        self._refuse_repeated_keys()
        progress()
        self._database.run("CREATE TABLE claims (row BIGINT, form TINYINT, number BIGINT, count BIGINT)")
        for form in range(len(self._comparison.names)):
            self._database.run(_CLAIM.format(form=form))
            progress()
        self._database.run(_OUTCOMES.format(candidates=self._candidates()))
        progress()
        self._count()

    @property
    def num_steps(self) -> int:
        """Steps of ``solve``."""
        return len(self._comparison.names) + 2

    def _refuse_repeated_keys(self) -> None:
        if found := list(self._database.rows("SELECT key FROM samples GROUP BY key HAVING count(*) > 1 LIMIT 1")):
            raise ConfigError(
                f"sample key {found[0][0]!r} stands in several of the shards; keys must be unique: prepare data sets "
                "whose keys collide one by one"
            )

    def _candidates(self) -> str:
        """A query of the first keys of the samples that equal an ambiguous row, form by form."""
        return " UNION ALL ".join(_CANDIDATES.format(form=n, shown=SHOWN) for n in range(len(self._comparison.names)))

    def _count(self) -> None:
        counts, names = self.counts, self._comparison.names
        for status, form, count in self._database.rows(
            "SELECT status, form, count(*) FROM outcomes GROUP BY ALL ORDER BY form"
        ):
            setattr(counts, f"num_{status}", getattr(counts, f"num_{status}") + count)
            if status == "matched":
                counts.matched_by[names[form]] = count
        counts.num_unmatched = counts.num_rows - counts.num_matched - counts.num_ambiguous - counts.num_repeated
        counts.num_samples_without_row = counts.num_samples - counts.num_matched


# claims: each row with the samples that equal it in its most exact form; number is the first of them
_CLAIM = """
INSERT INTO claims
SELECT table_rows.row, {form}, equal.number, equal.count
FROM table_rows
JOIN (SELECT form{form} AS value, min(number) AS number, count(*) AS count
      FROM samples WHERE form{form} IS NOT NULL GROUP BY value) AS equal
  ON equal.value = table_rows.form{form}
ANTI JOIN claims ON claims.row = table_rows.row
"""

_CANDIDATES = """
SELECT claims.row, claims.form, claims.number,
       array_to_string(min_by(samples.key, samples.number, {shown}), ' ') AS candidates
FROM claims
JOIN table_rows ON table_rows.row = claims.row
JOIN samples ON samples.form{form} = table_rows.form{form}
WHERE claims.form = {form} AND claims.count > 1
GROUP BY claims.row, claims.form, claims.number
"""

_OUTCOMES = """
CREATE TABLE outcomes AS
WITH single AS (
  SELECT claims.row, claims.form, claims.number, table_rows.said
  FROM claims JOIN table_rows ON table_rows.row = claims.row
  WHERE claims.count = 1
), best AS (
  SELECT number, min(form) AS form FROM single GROUP BY number
), agreed AS (
  SELECT best.number, best.form, min(single.row) AS first, min(said) = max(said) AS agree
  FROM best JOIN single ON single.number = best.number AND single.form = best.form
  GROUP BY best.number, best.form
)
SELECT single.row, single.form, single.number, samples.key AS candidates,
       CASE WHEN NOT agree OR single.form > agreed.form THEN 'ambiguous'
            WHEN single.row = first THEN 'matched'
            ELSE 'repeated' END AS status
FROM single
JOIN agreed ON agreed.number = single.number
JOIN samples ON samples.number = single.number
UNION ALL
SELECT row, form, number, candidates, 'ambiguous' FROM ({candidates})
"""

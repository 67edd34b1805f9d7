"""Which row of a caption table belongs to which sample: a join in SQL, on disk.

A row refers to its sample by a key, url or path. Samples and rows are compared by one form of this reference after the
other (:mod:`tools.prepare.urls`; keys have a single form). A row takes the most exact form in which any sample is equal
to it; then a sample keeps one row.

===========================================================  =====================================
a row                                                        becomes
===========================================================  =====================================
equals no sample, or refers to none                          unmatched
equals several samples                                       ambiguous
equals one sample, and no other row does as exactly          matched
equals one sample, as others with the same captions do       the first is matched, the others repeated
equals one sample, as others with other captions do          ambiguous, all of them
equals one sample, which another row equals more exactly     ambiguous
===========================================================  =====================================
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from store.common.errors import ConfigError
from tools.prepare.database import Database, batched, texts
from tools.prepare.downloaded import Sample

SHOWN = 5
"""Number of samples that are named for a row that equals several."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Forms in which references are compared: their names, the most exact first, and a reference in these forms, empty
    where it is equal to nothing.
    """

    names: Sequence[str]
    forms: Callable[[str], Sequence[str]]

    def columns(self, references: Sequence[str | None]) -> dict[str, pa.Array]:
        """The references in each form, as columns ``form0``, ``form1`` ..., null where there is nothing to compare."""
        nothing = [""] * len(self.names)
        forms = zip(*(self.forms(reference) if reference else nothing for reference in references), strict=True)
        return {f"form{number}": texts([text or None for text in form]) for number, form in enumerate(forms)}


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a caption table: their references to samples, digests of their captions, and the captions."""

    references: Sequence[str | None]
    digests: Sequence[int]
    captions: pa.Table


@dataclass(slots=True)
class Counts:
    """Numbers of samples and rows."""

    num_samples: int = 0
    num_rows: int = 0
    num_matched: int = 0
    num_unmatched: int = 0
    num_ambiguous: int = 0
    num_repeated: int = 0
    num_samples_without_row: int = 0
    matched_by: dict[str, int] = field(default_factory=dict)


class Matching:
    """The join. Add samples and rows, then ``solve``; the table ``outcomes`` then has the outcome of every row.

    Its tables are ``samples`` (number, key, form0 ...), ``table_rows`` (row, reference, digest, form0 ...,
    caption0 ...) and ``outcomes`` (row, form, number of the sample, candidates, status). ``candidates`` are the keys of
    the samples that a row equals; ``status`` is ``matched``, ``ambiguous`` or ``repeated``. A row without an outcome is
    unmatched.
    """

    def __init__(self, database: Database, comparison: Comparison) -> None:
        self.counts = Counts()
        self._database, self._comparison = database, comparison

    def add_samples(self, samples: Iterable[Sample]) -> None:
        """Add every sample: its key, and the reference that rows are compared with."""
        for batch in batched(samples):
            keys, references = zip(*batch, strict=True)
            numbers = np.arange(len(batch)) + self.counts.num_samples
            columns = {"number": numbers, "key": texts(keys), **self._comparison.columns(references)}
            self._database.insert("samples", columns)
            self.counts.num_samples += len(batch)

    def add_rows(self, rows: Iterable[Rows]) -> None:
        """Add every row."""
        for chunk in rows:
            columns = {
                "row": np.arange(len(chunk.references)) + self.counts.num_rows,
                "reference": texts(chunk.references),
                "digest": pa.array(chunk.digests, pa.uint64()),
                **self._comparison.columns(chunk.references),
                **{f"caption{place}": column for place, column in enumerate(chunk.captions.columns)},
            }
            self._database.insert("table_rows", columns)
            self.counts.num_rows += len(chunk.references)

    def solve(self, progress: Callable[[], object] = lambda: None) -> None:
        """Decide about every row; ``progress`` is called for each form. Raises: ConfigError: a key comes twice."""
        for (key,) in self._database.rows("SELECT key FROM samples GROUP BY key HAVING count(*) > 1 LIMIT 1"):
            raise ConfigError(
                f"sample key {key!r} is in several of the shards; keys must be unique: prepare data sets whose keys "
                "collide one by one"
            )
        counts, names = self.counts, self._comparison.names
        self._database.run("CREATE TABLE claims (row BIGINT, form TINYINT, number BIGINT, count BIGINT)")
        for form in range(len(names)):
            self._database.run(_CLAIM.format(form=form))
            progress()
        candidates = " UNION ALL ".join(_CANDIDATES.format(form=form, shown=SHOWN) for form in range(len(names)))
        self._database.run(_OUTCOMES.format(candidates=candidates))
        for status, form, count in self._database.rows(
            "SELECT status, form, count(*) FROM outcomes GROUP BY ALL ORDER BY form"
        ):
            setattr(counts, f"num_{status}", getattr(counts, f"num_{status}") + count)
            if status == "matched":
                counts.matched_by[names[form]] = count
        counts.num_unmatched = counts.num_rows - counts.num_matched - counts.num_ambiguous - counts.num_repeated
        counts.num_samples_without_row = counts.num_samples - counts.num_matched


# claims: each row with the number of samples that equal it in its most exact form, and the first of these samples
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
  SELECT claims.row, claims.form, claims.number, table_rows.digest
  FROM claims JOIN table_rows ON table_rows.row = claims.row
  WHERE claims.count = 1
), best AS (
  SELECT number, min(form) AS form FROM single GROUP BY number
), agreed AS (
  SELECT best.number, best.form, min(single.row) AS first, min(digest) = max(digest) AS agree
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

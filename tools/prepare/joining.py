"""What ``keyclip data captions`` and ``keyclip data match`` have in common: captions brought to the samples' keys."""

import dataclasses
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from store.common.errors import ConfigError
from store.common.outputs import KEY_LIST, PARQUET, Outputs
from tools.prepare.database import Database
from tools.prepare.downloaded import files_of, iter_downloaded
from tools.prepare.matching import Comparison, Counts, Matching, Rows
from tools.prepare.recaptions import CaptionTables

Places = dict[str, Path]


def places(output: Path) -> Places:
    """The outputs: captions by key, and beside them what found no place.

    Raises:
        ConfigError: ``output`` is no .parquet file.
    """
    if output.suffix != ".parquet":
        raise ConfigError(f"--output {str(output)!r}; expected a .parquet file, which `keyclip embed --captions` takes")
    beside = {
        "unmatched": "-unmatched.parquet",
        "ambiguous": "-ambiguous.parquet",
        "without_captions": "-without-captions.txt",
    }
    return {"captions": output, **{name: output.with_name(output.stem + end) for name, end in beside.items()}}


def join_captions(
    shards: Sequence[str],
    sample_field: str | None,
    tables: CaptionTables,
    comparison: Comparison,
    output: Path,
    overwrite: bool,
    quiet: bool,
) -> Counts:
    """Write the captions of every sample, in the samples' order, and what found no place.

    Raises:
        KeyclipError: an input cannot be read, two samples have the same key, or an output cannot be written (see
            :meth:`store.common.outputs.Outputs.claim`); no output is written then.
    """
    silent = quiet or not sys.stderr.isatty()
    with Outputs([*files_of(shards), *tables.files], overwrite) as outputs, Database(output) as database:
        kinds = {"without_captions": KEY_LIST}
        where = {name: outputs.claim(place, kinds.get(name, PARQUET)) for name, place in places(output).items()}
        matching = Matching(database, comparison)
        matching.add_samples(iter_downloaded(shards, sample_field, progress=not quiet))
        with tqdm(desc="rows", unit_scale=True, disable=silent) as bar:
            matching.add_rows(_counted(tables.rows(), bar))
        with tqdm(desc="joining", total=matching.num_steps, unit="step", disable=silent) as bar:
            matching.solve(bar.update)
        if not matching.counts.num_matched:
            raise ConfigError(_nothing_matches(shards, sample_field, tables))
        _write(database, tables, comparison, outputs, where, silent)
    return matching.counts


def describe(counts: Counts, output: Path) -> str:
    """What was found, in a few lines."""
    where = places(output)
    lines = [
        f"{counts.num_matched:,} of {counts.num_samples:,} samples have captions now: {where['captions']}",
        *(f"  {count:,} matched by {name}" for name, count in counts.matched_by.items() if len(counts.matched_by) > 1),
    ]
    for count, what, name in (
        (counts.num_samples_without_row, "samples have none", "without_captions"),
        (counts.num_unmatched, "rows belong to no sample", "unmatched"),
        (counts.num_ambiguous, "rows could belong to several samples, or contradict each other", "ambiguous"),
    ):
        lines += [f"{count:,} {what}: {where[name]}"] if count else []
    lines += [f"{counts.num_repeated:,} rows repeat another and are left out"] if counts.num_repeated else []
    return "\n".join(lines)


def as_dict(counts: Counts, output: Path) -> dict[str, Any]:
    """The same for programs."""
    return dataclasses.asdict(counts) | {"outputs": {name: str(place) for name, place in places(output).items()}}


def _counted(chunks: Iterable[Rows], bar: Any) -> Iterator[Rows]:
    for chunk in chunks:
        yield chunk
        bar.update(len(chunk.told))


def _write(
    database: Database, tables: CaptionTables, comparison: Comparison, outputs: Outputs, where: Places, silent: bool
) -> None:
    """Write each row to the output that it belongs to; matched ones in the order of the samples."""
    text = pa.large_string()
    captions = [f"caption{place}" for place in range(len(tables.schema))]
    names = " ".join(f"WHEN {form} THEN '{name}'" for form, name in enumerate(comparison.names))
    told, fields = pa.field(tables.column, text), list(tables.schema)
    queries = {
        "captions": (
            _MATCHED.format(captions=", ".join(captions), names=names),
            [pa.field("key", text), *fields, pa.field("matched_by", text)],
        ),
        "unmatched": (_UNMATCHED.format(captions=", ".join(captions)), [told, *fields]),
        "ambiguous": (_AMBIGUOUS.format(captions=", ".join(captions)), [told, *fields, pa.field("candidates", text)]),
    }
    for name, (sql, columns) in queries.items():
        schema = pa.schema(columns)
        writer = outputs.table(where[name], schema)
        for batch in tqdm(database.batches(sql), f"writing {name}", unit=" batches", disable=silent):
            if batch.num_rows:  # no row groups without rows
                writer.write_table(pa.Table.from_batches([batch]).rename_columns(schema.names).cast(schema))
    outputs.lines(where["without_captions"]).write(key for (key,) in database.rows(_WITHOUT))


_MATCHED = """
SELECT samples.key, {captions}, CASE outcomes.form {names} END
FROM outcomes
JOIN table_rows ON table_rows.row = outcomes.row
JOIN samples ON samples.number = outcomes.number
WHERE status = 'matched' ORDER BY outcomes.number
"""
_UNMATCHED = """
SELECT told, {captions} FROM table_rows
ANTI JOIN outcomes ON outcomes.row = table_rows.row ORDER BY table_rows.row
"""
_AMBIGUOUS = """
SELECT told, {captions}, candidates FROM table_rows
JOIN outcomes ON outcomes.row = table_rows.row
WHERE status = 'ambiguous' ORDER BY table_rows.row
"""
_WITHOUT = """
SELECT key FROM samples
ANTI JOIN (SELECT number FROM outcomes WHERE status = 'matched') AS matched ON matched.number = samples.number
ORDER BY samples.number
"""


def _nothing_matches(shards: Sequence[str], sample_field: str | None, tables: CaptionTables) -> str:
    sample = next(iter_downloaded(shards, sample_field, progress=False), (None, None))
    told = next((chunk.told[0] for chunk in tables.rows(1)), None)
    return (
        f"no row belongs to any sample: the first row says {tables.column} {told!r}, the first sample is "
        f"{sample[0]!r}{f' with {sample_field} {sample[1]!r}' if sample_field else ''}; are they of one data set?"
    )

"""Captions of tables brought to the samples of shards: the work of ``keyclip data captions`` and ``data match``."""

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from store.common.errors import ConfigError
from store.common.outputs import KEY_LIST, PARQUET, Outputs
from tools.prepare.caption_tables import CaptionTables
from tools.prepare.database import Database, temporary_database
from tools.prepare.downloaded import files_of, iter_downloaded
from tools.prepare.matching import Comparison, Counts, Matching

Places = dict[str, Path]


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinConfig:
    """Shards and caption tables, and the output."""

    shards: tuple[str, ...]
    """Shards, or the .parquet files that img2dataset wrote next to them (much faster): paths, globs, brace ranges."""
    tables: tuple[str, ...]
    """Caption tables: .csv, .tsv, .json, .jsonl or .parquet; globs and brace ranges too."""
    output: Path
    """Where the captions go: a .parquet file with the columns key, one per caption field, and matched_by."""
    caption_fields: tuple[str, ...] = ()
    """The tables' columns of captions. Default: all, without keys and urls."""
    overwrite: bool = False
    """Replace outputs that are there."""
    json: bool = False
    """Print the counts as json."""

    def __post_init__(self) -> None:
        if self.output.suffix != ".parquet":
            raise ConfigError(
                f"--output {str(self.output)!r}; expected a .parquet file, which `keyclip embed --captions` takes"
            )

    def places(self) -> Places:
        """The outputs: captions by key, and next to them the rows and samples that were not joined."""
        stem = self.output.stem
        return {
            "captions": self.output,
            "unmatched": self.output.with_name(f"{stem}-unmatched.parquet"),
            "ambiguous": self.output.with_name(f"{stem}-ambiguous.parquet"),
            "without_captions": self.output.with_name(f"{stem}-without-captions.txt"),
        }


def join_captions(
    config: JoinConfig, column: str, column_flag: str, comparison: Comparison, sample_field: str | None = None
) -> None:
    """Write the captions of every sample, in the samples' order, and what was not joined; print the counts.

    ``column`` of the tables is compared with ``sample_field`` of the samples' json or metadata, by default the key.

    Raises:
        KeyclipError: an input cannot be read, two samples have the same key, no row belongs to a sample, or an output
            cannot be written; no output is written then.
    """
    tables = CaptionTables(config.tables, column, config.caption_fields, column_flag)
    silent = config.json or not sys.stderr.isatty()
    inputs = [*files_of(config.shards), *tables.files]
    with Outputs(inputs, config.overwrite) as outputs, temporary_database(config.output) as database:
        kinds = {".parquet": PARQUET, ".txt": KEY_LIST}
        parts = {name: outputs.claim(place, kinds[place.suffix]) for name, place in config.places().items()}
        matching = Matching(database, comparison)
        matching.add_samples(iter_downloaded(config.shards, sample_field, progress=not config.json))
        with tqdm(desc="rows", unit_scale=True, disable=silent) as bar:
            for rows in tables.rows():
                matching.add_rows([rows])
                bar.update(len(rows.references))
        with tqdm(desc="joining", total=len(comparison.names), unit="form", disable=silent) as bar:
            matching.solve(bar.update)
        if not matching.counts.num_matched:
            sample = next(iter_downloaded(config.shards, sample_field, progress=False), (None, None))
            reference = next((rows.references[0] for rows in tables.rows(1)), None)
            raise ConfigError(
                f"no row belongs to any sample: the first row has {column} {reference!r}, the first sample is "
                f"{sample[0]!r}{f' with {sample_field} {sample[1]!r}' if sample_field else ''}; are they of one data "
                "set?"
            )
        _write(database, tables, comparison, outputs, parts, silent)
    _print(matching.counts, config)


def _write(
    database: Database, tables: CaptionTables, comparison: Comparison, outputs: Outputs, parts: Places, silent: bool
) -> None:
    """Write each row to the output that it belongs to; matched rows in the order of the samples."""
    captions = ", ".join(f"caption{place}" for place in range(len(tables.schema)))
    names = " ".join(f"WHEN {form} THEN '{name}'" for form, name in enumerate(comparison.names))
    for name, (first, last, sql) in _ROWS.items():
        columns = [pa.field(column, pa.large_string()) for column in (first or tables.column, *last)]
        schema = pa.schema([columns[0], *tables.schema, *columns[1:]])
        writer = outputs.table(parts[name], schema)
        batches = database.batches(sql.format(captions=captions, names=names))
        for batch in tqdm(batches, f"writing {name}", unit=" batches", disable=silent):
            if batch.num_rows:  # no row groups without rows
                writer.write_table(pa.Table.from_batches([batch]).rename_columns(schema.names).cast(schema))
    outputs.lines(parts["without_captions"]).write(key for (key,) in database.rows(_WITHOUT))


# output -> its first column, by default the tables' own, its columns after the captions, and its rows
_ROWS = {
    "captions": ("key", ["matched_by"], """
SELECT samples.key, {captions}, CASE outcomes.form {names} END
FROM outcomes
JOIN table_rows ON table_rows.row = outcomes.row
JOIN samples ON samples.number = outcomes.number
WHERE status = 'matched' ORDER BY outcomes.number
"""),
    "unmatched": (None, [], """
SELECT reference, {captions} FROM table_rows
ANTI JOIN outcomes ON outcomes.row = table_rows.row ORDER BY table_rows.row
"""),
    "ambiguous": (None, ["candidates"], """
SELECT reference, {captions}, candidates FROM table_rows
JOIN outcomes ON outcomes.row = table_rows.row
WHERE status = 'ambiguous' ORDER BY table_rows.row
"""),
}  # fmt: skip
_WITHOUT = """
SELECT key FROM samples
ANTI JOIN (SELECT number FROM outcomes WHERE status = 'matched') AS matched ON matched.number = samples.number
ORDER BY samples.number
"""


def _print(counts: Counts, config: JoinConfig) -> None:
    places = config.places()
    if config.json:
        print(
            json.dumps(dataclasses.asdict(counts) | {"outputs": {name: str(place) for name, place in places.items()}})
        )
        return
    print(f"{counts.num_matched:,} of {counts.num_samples:,} samples have captions now: {places['captions']}")
    if len(counts.matched_by) > 1:
        for name, count in counts.matched_by.items():
            print(f"  {count:,} matched by {name}")
    for count, what, name in (
        (counts.num_samples_without_row, "samples have none", "without_captions"),
        (counts.num_unmatched, "rows belong to no sample", "unmatched"),
        (counts.num_ambiguous, "rows could belong to several samples, or contradict each other", "ambiguous"),
    ):
        if count:
            print(f"{count:,} {what}: {places[name]}")
    if counts.num_repeated:
        print(f"{counts.num_repeated:,} rows repeat another and are left out")

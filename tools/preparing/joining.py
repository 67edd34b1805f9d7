"""What ``keyclip data captions`` and ``keyclip data match`` have in common: captions brought to the samples' keys."""

import contextlib
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from store.errors import ConfigError
from store.outputs import KEY_LIST, PARQUET, Outputs
from tools.preparing.matching import AMBIGUOUS, MATCHED, UNMATCHED, Comparison, Counts, Matching
from tools.preparing.recaptions import CaptionTables
from tools.preparing.samples import files_of, iter_downloaded
from tools.preparing.spill import RANGE, Spill, by_number, working_folder

NUMBER = "__number__"  # of the sample; while captions are put in order
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
            :meth:`store.outputs.Outputs.claim`); no output is written then.
    """
    silent = quiet or not sys.stderr.isatty()
    with Outputs([*files_of(shards), *tables.files], overwrite) as outputs, contextlib.ExitStack() as stack:
        kinds = {"without_captions": KEY_LIST}
        where = {name: outputs.claim(place, kinds.get(name, PARQUET)) for name, place in places(output).items()}
        folder = stack.enter_context(working_folder(output))
        matching = Matching(folder, comparison)
        matching.add_samples(iter_downloaded(shards, sample_field, progress=not quiet))
        matching.add_rows(tqdm(tables.digests(), "rows", unit_scale=True, disable=silent))
        with tqdm(desc="joining", unit=" partitions", disable=silent) as bar:
            matching.solve(bar.update)
        counts = matching.counts
        _write(tables, matching, outputs, where, Spill(folder / "captions"), silent)
        _write_without(matching, outputs, where["without_captions"])
        if not counts.num_matched:
            raise ConfigError(_nothing_matches(shards, sample_field, tables))
    return counts


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


def _write(
    tables: CaptionTables, matching: Matching, outputs: Outputs, where: Places, matched: Spill, silent: bool
) -> None:
    """Read the tables again and write each row where it belongs; matched ones are put into the samples' order."""
    told_field = pa.field(tables.column, pa.large_string())
    left = pa.schema([told_field, *tables.schema])
    unmatched = outputs.table(where["unmatched"], left)
    ambiguous = outputs.table(where["ambiguous"], left.append(pa.field("candidates", pa.large_string())))
    done = 0
    with tqdm(total=matching.counts.num_rows, desc="writing", unit_scale=True, disable=silent) as bar:
        for told, captions in tables.chunks(RANGE):
            outcome = matching.outcomes(done, len(told))
            status = outcome["status"].to_numpy()
            rows = captions.add_column(0, told_field, pa.array(told, told_field.type))
            _append(unmatched, rows.filter(pa.array(status == UNMATCHED)))
            candidates = outcome["candidates"].combine_chunks().fill_null(outcome["key"].combine_chunks())
            _append(ambiguous, rows.append_column("candidates", candidates).filter(pa.array(status == AMBIGUOUS)))
            keyed = captions.add_column(0, "key", outcome["key"]).append_column(NUMBER, outcome["number"])
            keyed = keyed.append_column("matched_by", outcome["form"]).filter(pa.array(status == MATCHED))
            matched.add(by_number(keyed[NUMBER].to_numpy()), keyed)
            done += len(told)
            bar.update(len(told))
        _write_matched(tables, matched, outputs, where["captions"])


def _append(writer: pq.ParquetWriter, rows: pa.Table) -> None:
    if rows.num_rows:  # no row groups without rows
        writer.write_table(rows)


def _write_matched(tables: CaptionTables, matched: Spill, outputs: Outputs, part: Path) -> None:
    text = pa.large_string()
    schema = pa.schema([pa.field("key", text), *tables.schema, pa.field("matched_by", text)])
    writer = outputs.table(part, schema)
    for rows in matched:
        order = np.argsort(rows[NUMBER].to_numpy())
        writer.write_table(rows.take(pa.array(order)).drop_columns(NUMBER).cast(schema))


def _write_without(matching: Matching, outputs: Outputs, part: Path) -> None:
    lines = outputs.lines(part)
    for keys in matching.samples_without_row():
        lines.write(keys)


def _nothing_matches(shards: Sequence[str], sample_field: str | None, tables: CaptionTables) -> str:
    sample = next(iter_downloaded(shards, sample_field, progress=False), (None, None))
    told, _ = next(tables.digests(), (None, 0))
    return (
        f"no row belongs to any sample: the first row says {tables.column} {told!r}, the first sample is "
        f"{sample[0]!r}{f' with {sample_field} {sample[1]!r}' if sample_field else ''}; are they of one data set?"
    )

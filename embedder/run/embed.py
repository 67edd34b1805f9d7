"""One embedding run: captions in, blocks of keyed vectors committed to a store."""

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import store
from embedder.models.encoder import Encoder
from embedder.models.load import load_encoder
from embedder.reading.captions import Chunk
from embedder.run.config import EmbedConfig
from embedder.run.logs import log, log_to
from embedder.run.pipeline import Worker, ahead
from embedder.run.plan import plan
from embedder.run.progress import Progress
from embedder.run.reading import Reader
from embedder.run.recent import Recent
from embedder.run.report import Report
from embedder.run.targets import Target, open_targets
from embedder.run.window import Window, windows
from store.common.errors import KeyclipError
from store.common.ranks import Ranks

# A window of this many batches leaves little padding: its batches are cut from captions sorted by length.
_WINDOW_BATCHES = 16
_RECENT_BYTES = 256 * 2**20


def embed(config: EmbedConfig, encoder: Encoder | None = None) -> Report:
    """Embed what the store lacks of the captions that ``config`` names. See :class:`EmbedConfig`.

    Blocks are committed as they are finished; whatever stops the run loses at most the captions in flight. Under a
    launcher this rank does its share, and the report is about that. An ``encoder`` that is loaded already takes the
    place of the one that the config describes.

    Raises:
        KeyclipError: a wrong input or setting; blocks committed before stay.
    """
    ranks = Ranks.from_environment()
    logs = config.logs(ranks.world_size)
    with log_to(logs / f"rank-{ranks.rank}.log" if logs else None):
        try:
            report = _embed(config, ranks, encoder)
        except KeyclipError as error:
            if logs:  # without a file the log would go to stderr, where the command prints the error
                log.error("%s", error)
            raise
        log.info("%s", report)
        if logs:
            _write_summary(logs / f"rank-{ranks.rank}.json", config, report)
        return report


def _embed(config: EmbedConfig, ranks: Ranks, encoder: Encoder | None) -> Report:
    reader = Reader(config, ranks)
    encoder = encoder or load_encoder(config, local_rank=ranks.local_rank)
    opened = store.open_or_create(config.store_path(), config.backend)
    targets = open_targets(opened, encoder, config.field_prefix, config.caption_fields, config.dtype)
    made = encoder.provenance
    log.info("%s %s (%s) on %s: %s", made.kind, made.model, made.revision, encoder.device, [t.name for t in targets])
    report = Report(
        model=made.model,
        revision=made.revision,
        store=config.store_path(),
        rank=ranks.rank,
        world_size=ranks.world_size,
        fields=[t.report for t in targets],
    )
    started = time.perf_counter()
    with Progress(len(reader.sources), enabled=config.progress and ranks.rank == 0) as progress:
        _embed_chunks(iter(reader), targets, encoder, report, progress)
    report.seconds = time.perf_counter() - started
    report.damaged = reader.damaged
    if reader.num_listed is not None and ranks.world_size == 1:  # a rank alone has seen all samples
        report.not_found = reader.num_listed - reader.num_rows
    return report


def _embed_chunks(
    read: Iterator[Chunk], targets: Sequence[Target], encoder: Encoder, report: Report, progress: Progress
) -> None:
    def write(item: tuple[Window, np.ndarray]) -> None:
        window, vectors = item
        for job in window.jobs:
            block, report = job.block, job.block.target.report
            block.target.field.commit(block.name, block.keys, vectors[job.rows], block.hashes)
            report.embedded += len(job.rows)
            report.truncated += sum(window.tokens[row].truncated for row in job.rows)
            progress.advance(len(job.rows))

    recent = Recent(_RECENT_BYTES)
    prepared = windows(plan(read, targets), encoder, _WINDOW_BATCHES * encoder.batch_tokens)
    with ahead(prepared) as ready, Worker(write) as writer:
        for window in ready:
            progress.read(window.num_captions, window.num_ended)
            progress.advance(window.num_settled)
            writer.submit((window, window.vectors(encoder, recent, progress.tokens)))
    report.tokens = progress.num_tokens


def _write_summary(file: Path, config: EmbedConfig, report: Report) -> None:
    settings = {name: str(v) if isinstance(v, Path) else v for name, v in dataclasses.asdict(config).items()}
    unfinished = file.with_suffix(".json.part")
    unfinished.write_text(json.dumps(report.as_dict() | {"config": settings}, indent=2), encoding="utf-8")
    unfinished.rename(file)

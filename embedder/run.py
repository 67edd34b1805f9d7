"""One embedding run: captions in, blocks of keyed vectors committed to a store."""

import time
from collections.abc import Iterator

import numpy as np

import store
from embedder.captions import Chunk, Missing, chunks, file_rows, read_keys, shard_rows, source_name
from embedder.config import EmbedConfig
from embedder.encoder import Encoder
from embedder.load import load_encoder
from embedder.pipeline import Job, Window, Worker, ahead, commit, windows
from embedder.plan import Target, plan
from embedder.progress import Progress
from embedder.report import FieldReport, Report
from embedder.text import CAPTION
from store.errors import StoreExistsError, StoreNotFoundError
from store.shards import expand_shards

# A window of this many batches leaves little padding: its batches are cut from captions sorted by length.
_WINDOW_BATCHES = 16


def embed(config: EmbedConfig) -> Report:
    """Embed what the store lacks of the captions that ``config`` names. See :class:`EmbedConfig`.

    Blocks are committed as they are finished; whatever stops the run loses at most the captions in flight.

    Raises:
        KeyclipError: a wrong input or setting; blocks committed before stay.
    """
    shards = expand_shards(config.shards) if config.shards else []
    listed = read_keys(config.keys) if config.keys else None
    encoder = load_encoder(config.model_options())
    targets = open_targets(_open_store(config), config, encoder)
    report = Report(
        model=encoder.provenance.model,
        revision=encoder.provenance.revision,
        store=config.store,
        fields=[t.report for t in targets],
    )
    missing = Missing(config.missing)
    sources = shards or list(config.captions)
    with Progress(len(sources), enabled=config.progress) as progress:
        started = time.perf_counter()
        steps = plan(_read(config, sources, missing, listed), targets)
        with ahead(windows(steps, encoder, _WINDOW_BATCHES * encoder.batch_tokens)) as ready:
            _embed_windows(ready, encoder, report, progress)
        report.seconds = time.perf_counter() - started
        report.missing = missing.count
    return report


def _open_store(config: EmbedConfig) -> "store.Store":
    try:
        return store.open(config.store, mode="a")
    except StoreNotFoundError:
        try:
            return store.create(config.store, backend=config.backend)
        except StoreExistsError:  # another rank was faster
            return store.open(config.store, mode="a")


def open_targets(opened: "store.Store", config: EmbedConfig, encoder: Encoder) -> list[Target]:
    """The fields of this run, one per caption field, made or reopened.

    Raises:
        SpecMismatchError: a field of this name was made by another model or in another way.
    """
    made = encoder.provenance
    targets = []
    for caption_field in config.caption_fields:
        name = f"{config.field_prefix or encoder.short_name}/{caption_field.removeprefix('.')}"
        spec = store.FieldSpec(
            model=made.model,
            revision=made.revision,
            kind=made.kind,
            template="" if made.template == CAPTION else made.template,
            pooling=made.pooling,
            max_length=made.max_length,
            normalize=made.normalize,
            caption_field=caption_field,
            dim=made.dim,
            dtype=config.dtype,
        )
        writer = opened.writer(name, spec)
        targets.append(Target(caption_field, name, opened.field(name), writer, FieldReport(name)))
    return targets


def _read(config: EmbedConfig, sources: list[str], missing: Missing, listed: frozenset[str] | None) -> Iterator[Chunk]:
    for source in sources:
        if config.shards:
            rows = shard_rows(source, config.caption_fields, missing)
        else:
            rows = file_rows(source, config.key_column, config.caption_fields, missing)
        yield from chunks(source_name(source), rows, config.block_size, listed)


def _embed_windows(ready: Iterator[Window], encoder: Encoder, report: Report, progress: Progress) -> None:
    def write(item: tuple[Job, np.ndarray, Window]) -> None:
        job, vectors, window = item
        commit(job, vectors, window.tokens)
        progress.advance(len(job.rows))

    with Worker(write) as writer:
        for window in ready:
            progress.read(window.settled + sum(len(j.rows) for j in window.jobs), window.ended)
            progress.advance(window.settled)
            vectors = encoder.embed(window.tokens)
            report.tokens += window.num_tokens
            for job in window.jobs:
                writer.submit((job, vectors, window))

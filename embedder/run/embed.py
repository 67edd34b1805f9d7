"""One embedding run: captions in, blocks of keyed vectors committed to a store."""

import dataclasses
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import store
from embedder.models.encoder import Encoder, Vectors
from embedder.models.load import load_encoder
from embedder.reading.captions import Chunk
from embedder.run.config import EmbedConfig
from embedder.run.pipeline import ahead, behind
from embedder.run.progress import Progress
from embedder.run.reader import Reader
from embedder.run.report import Report
from embedder.run.targets import Target, open_target
from embedder.run.window import Recent, Window, windows
from store.common.errors import KeyclipError
from store.common.files import write_json
from store.common.ranks import Ranks

log = logging.getLogger("keyclip.embedder")

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
    with _log_to(logs / f"rank-{ranks.rank}.log" if logs else None):
        try:
            report = _embed(config, ranks, encoder)
        except KeyclipError as error:
            if logs:  # without a file the log would go to stderr, where the command prints the error
                log.error("%s", error)
            raise
        log.info("%s", report)
        if logs:
            settings = {name: str(v) if isinstance(v, Path) else v for name, v in dataclasses.asdict(config).items()}
            write_json(logs / f"rank-{ranks.rank}.json", report.as_dict() | {"config": settings})
        return report


@contextmanager
def _log_to(file: Path | None) -> Iterator[None]:
    """Append the log to ``file``, where there is one, until the context ends."""
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)
        handler.close()


def _embed(config: EmbedConfig, ranks: Ranks, encoder: Encoder | None) -> Report:
    reader = Reader(config, ranks)
    encoder = encoder or load_encoder(config, local_rank=ranks.local_rank)
    opened = store.open_or_create(config.store_path(), config.backend)
    prefix = config.field_prefix or encoder.short_name
    names = {f: f"{prefix}/{f.removeprefix('.')}" for f in config.caption_fields}
    targets = [open_target(opened, encoder, name, f, config.dtype) for f, name in names.items()]
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
        _embed_chunks(reader, targets, encoder, progress)
    report.tokens = progress.num_tokens
    report.seconds = time.perf_counter() - started
    report.damaged = reader.damaged
    if reader.num_listed is not None and ranks.world_size == 1:  # a rank alone has seen all samples
        report.not_found = reader.num_listed - reader.num_rows
    return report


def _embed_chunks(chunks: Iterable[Chunk], targets: Sequence[Target], encoder: Encoder, progress: Progress) -> None:
    def write(item: tuple[Window, Vectors]) -> None:
        window, vectors = item
        for block, rows in window.blocks:
            report = block.target.report
            block.target.commit(block.name, block.keys, vectors[rows], block.hashes)
            report.embedded += len(rows)
            report.truncated += sum(window.tokens[row].truncated for row in rows)
            progress.advance(len(rows))

    recent = Recent(_RECENT_BYTES)
    prepared = windows(chunks, targets, encoder, _WINDOW_BATCHES * encoder.batch_tokens)
    with ahead(prepared) as ready, behind(write) as submit:
        for window in ready:
            progress.read(window.num_captions, window.num_ended)
            progress.advance(window.num_settled)
            submit((window, window.vectors(encoder, recent, progress.tokens)))

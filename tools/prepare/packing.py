"""Own images and captions as webdataset shards: ``KEY.jpg`` and ``KEY.json`` for every sample.

A sample key is the 5-digit number of the shard and a 4-digit number within it, as img2dataset makes them, unless the
table has a column of keys. Images are copied byte for byte.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedder.reading.tables import read_rows
from store.common.checked import read_json
from store.common.errors import ConfigError, DamagedShardError, OutputExistsError
from store.common.files import write_whole
from store.sources.keylist import is_listable
from trainer.data.shard_index import IMAGE_EXTENSIONS
from trainer.images.decoding import BrokenImageError, decode_pixels

MOST_PER_SHARD = 10_000
"""Samples that four digits number."""


@dataclass(frozen=True, slots=True)
class Sample:
    """An image file, and the content of the sample's json."""

    key: str | None
    image: Path
    content: Mapping[str, Any]


@dataclass(slots=True)
class Packed:
    """The counts of a packed data set."""

    num_samples: int = 0
    num_shards: int = 0
    num_kept_shards: int = 0
    num_broken: int = 0
    num_without_caption: int = 0


def from_folder(folder: Path) -> Iterator[Sample]:
    """Images below a folder, by path; captions from the ``.txt`` (one a line) or ``.json`` file of the same name."""
    for image in sorted(path for path in folder.rglob("*") if path.suffix[1:].lower() in IMAGE_EXTENSIONS):
        text, document = image.with_suffix(".txt"), image.with_suffix(".json")
        content: dict[str, Any] = {}
        if document.is_file():
            content = read_json(document, dict[str, Any], "the captions", "expected one json object")
        elif text.is_file():
            try:
                lines = text.read_text(encoding="utf-8-sig").splitlines()
            except UnicodeDecodeError as error:
                raise DamagedShardError(f"the captions {str(text)!r} are not UTF-8 text: {error.reason}") from error
            if captions := [line.strip() for line in lines if line.strip()]:
                content = {"captions": captions}
        yield Sample(None, image, content)


def from_table(
    file: Path, image_column: str, key_column: str | None, caption_columns: Sequence[str]
) -> Iterator[Sample]:
    """Rows of a csv, tsv, json, jsonl or parquet table; image paths are relative to the table's folder."""
    for number, row in enumerate(read_rows(str(file)), start=1):
        wanted = [image_column, *caption_columns, *([key_column] if key_column else [])]
        if absent := [name for name in wanted if name not in row]:
            raise ConfigError(
                f"row {number} of {str(file)!r} has no column {absent[0]!r}; there are {', '.join(map(repr, row))}"
            )
        if not row[image_column]:
            raise ConfigError(f"row {number} of {str(file)!r} names no image in the column {image_column!r}")
        names = caption_columns or [name for name in row if name not in (image_column, key_column)]
        key = str(row[key_column]) if key_column else None
        yield Sample(key, file.parent / str(row[image_column]), {name: row[name] for name in names})


def pack(
    samples: Sequence[Sample],
    output: Path,
    samples_per_shard: int,
    skip_broken: bool,
    progress: Callable[[int], object] = lambda samples: None,
) -> Packed:
    """Write the shards ``00000.tar``, ``00001.tar`` ... below ``output``; complete ones of the same samples are kept.

    Raises:
        ConfigError: two samples have the same key, or a key cannot be a member's name.
        OutputExistsError: ``output`` holds something else.
        DamagedShardError: an image is absent or cannot be decoded, unless ``skip_broken``.
    """
    _refuse_bad_keys(samples)
    _claim(samples, output, samples_per_shard)
    packed = Packed()
    for number, first in enumerate(range(0, len(samples), samples_per_shard)):
        shard, chosen = output / f"{number:05d}.tar", samples[first : first + samples_per_shard]
        record = output / f"{number:05d}_stats.json"
        if record.exists() and shard.exists():
            remedy = f"remove {str(shard)!r} to pack it again"
            counts = read_json(record, dict[str, int], "the record of a shard", remedy)
            packed.num_kept_shards += 1
        else:
            counts = _write(shard, number, chosen, skip_broken)
            write_whole(record, json.dumps(counts).encode())
        packed.num_shards += 1
        packed.num_samples += counts["count"]
        packed.num_broken += counts["broken"]
        packed.num_without_caption += counts["without_caption"]
        progress(len(chosen))
    return packed


def tar_of(samples: Iterator[tuple[str, Mapping[str, bytes]]]) -> bytes:
    """A tar whose bytes depend on the samples alone: no times, no owners."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for key, members in samples:
            for extension, payload in members.items():
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size, info.mode, info.mtime = len(payload), 0o644, 0
                tar.addfile(info, io.BytesIO(payload))
    return stream.getvalue()


def _write(shard: Path, number: int, samples: Sequence[Sample], skip_broken: bool) -> dict[str, int]:
    counts = {"count": 0, "broken": 0, "without_caption": 0}

    def members() -> Iterator[tuple[str, Mapping[str, bytes]]]:
        for index, sample in enumerate(samples):
            try:
                payload = sample.image.read_bytes()
                decode_pixels(payload)
            except (OSError, BrokenImageError) as error:
                if not skip_broken:
                    reason = error.strerror if isinstance(error, OSError) else error
                    raise DamagedShardError(
                        f"the image {str(sample.image)!r} cannot be packed: {reason}; mend it, or leave such images "
                        "out with --broken skip"
                    ) from error
                counts["broken"] += 1
                continue
            key = sample.key or f"{number:05d}{index:04d}"
            counts["count"] += 1
            counts["without_caption"] += not any(sample.content.values())
            content = json.dumps({**sample.content, "key": key}, ensure_ascii=False).encode()
            yield key, {sample.image.suffix[1:].lower(): payload, "json": content}

    write_whole(shard, tar_of(members()))
    return counts


def _refuse_bad_keys(samples: Sequence[Sample]) -> None:
    seen: set[str] = set()
    for sample in samples:
        if (key := sample.key) is None:
            continue
        leads_out = key.startswith("/") or ".." in key.split("/")
        if not key or "." in key.rpartition("/")[2] or leads_out or not is_listable(key):
            raise ConfigError(
                f"the key {key!r:.100} of {str(sample.image)!r} cannot name a sample: a key is a line of text without "
                "dots; rename it"
            )
        if key in seen:
            raise ConfigError(f"the key {key!r} comes twice; a key names one sample")
        seen.add(key)


def _claim(samples: Sequence[Sample], output: Path, samples_per_shard: int) -> None:
    """Record the samples in ``pack.json``. Raises: OutputExistsError: there are others, or other files."""
    digest = hashlib.sha256()
    for sample in samples:
        line = [sample.key, str(sample.image.absolute()), sample.content]
        digest.update(json.dumps(line, sort_keys=True, default=str).encode())
    ours = {"samples": digest.hexdigest(), "samples_per_shard": samples_per_shard}
    record = output / "pack.json"
    if not record.exists():
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise OutputExistsError(f"{str(output)!r} exists and holds other files; choose another --output")
        output.mkdir(parents=True, exist_ok=True)
        write_whole(record, json.dumps(ours).encode())
    elif read_json(record, dict[str, Any], "the record of a packed data set") != ours:
        raise OutputExistsError(f"{str(output)!r} holds shards of other images or captions; choose another --output")

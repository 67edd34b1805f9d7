"""Captioned scenes as if img2dataset had downloaded them from the url list of DreamLIP's recaptions.

``TABLE.csv`` is that list: ``Image Path`` (the url), ``raw_caption`` and short and long recaptions of three models.
``OUTPUT/00000.tar`` and so on hold the samples that "could be downloaded", in the order in which they "arrived", each
as ``KEY.jpg``, ``KEY.json`` and, where a caption column was named, ``KEY.txt``; KEY is the 5-digit shard number and the
4-digit place in its part of the list, so failed downloads leave gaps. ``00000.parquet`` has a row for
every url that was tried, ``00000_stats.json`` their number.
"""

import csv
import hashlib
import io
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from store.common.outputs import Kind, Outputs
from tools.prepare.packing import tar_of
from tools.scenes import captions, dataset
from tools.scenes.scene import THEMES, Scene
from tools.scenes.splits import iter_scenes

URL = "Image Path"
RECAPTIONS = [f"{length}{model}_captions" for model in ("IB", "SV", "LLA") for length in ("short", "long")]
_FAILURES = ("HTTP Error 404: Not Found", "HTTP Error 403: Forbidden", "The read operation timed out")
_SIDES = ("width", "height", "original_width", "original_height")
_COLUMNS = ("url", "key", "status", "error_message", *_SIDES, "exif", "sha256")
_METADATA = pa.schema([(name, pa.int32() if name in _SIDES else pa.string()) for name in _COLUMNS])


def write(
    output: Path,
    table: Path,
    num_urls: int,
    *,
    split: str = "finetune",
    urls_per_shard: int = 100,
    failures: float = 0.1,
    save_columns: bool = True,
    seed: int = 0,
    image_size: int = 64,
    progress: Callable[[int], object] = lambda urls: None,
) -> list[Path]:
    """Write the url list and the shards; returns the shards.

    ``save_columns`` is img2dataset's ``--save_additional_columns`` with all captions; without it only the raw caption
    is downloaded, as ``caption`` in the json and as ``KEY.txt``. The same arguments give the same bytes.

    Raises:
        OutputExistsError: one of the files is there already; nothing is written then.
    """
    with Outputs() as outputs:
        listed = outputs.claim(table, Kind(name="a url list"))
        firsts = range(0, num_urls, urls_per_shard)
        endings = (".tar", ".parquet", "_stats.json")
        places = [[output / f"{shard:05d}{ending}" for ending in endings] for shard in range(len(firsts))]
        parts = [[outputs.claim(place, Kind(name="a shard")) for place in three] for three in places]
        rows = list(itertools.islice(_rows(split, seed), num_urls))
        with listed.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [URL, "raw_caption", *RECAPTIONS])
            writer.writeheader()
            writer.writerows(row for _, row in rows)
        for shard, first in enumerate(firsts):
            part = rows[first : first + urls_per_shard]
            files = _shard(shard, part, failures, save_columns, seed, image_size)
            for place, payload in zip(parts[shard], files, strict=True):
                place.write_bytes(payload)
            progress(len(part))
    return [tar for tar, *_ in places]


def _rows(split: str, seed: int) -> Iterator[tuple[Scene, dict[str, str]]]:
    for number, scene in enumerate(iter_scenes(split, seed, THEMES["any"])):
        random = Random(f"recaptions {split} {number} {seed}")
        token = hashlib.sha256(f"{split} {number} {seed}".encode()).hexdigest()[:10]
        row = {URL: f"https://images{number % 4}.example.org/{number % 89}/{token}_b.jpg"}
        row["raw_caption"] = captions.raw(scene, random)
        for name in RECAPTIONS:
            style = "SV" if "SV" in name else "IB"
            row[name] = (captions.short if name.startswith("short") else captions.long)(scene, random, style)
        yield scene, row


def _shard(
    shard: int,
    rows: list[tuple[Scene, dict[str, str]]],
    failures: float,
    save_columns: bool,
    seed: int,
    image_size: int,
) -> tuple[bytes, bytes, bytes]:
    """The bytes of a shard's tar, metadata and statistics."""
    random = Random(f"download {shard} {seed}")
    samples, metadata = [], []
    for index, (scene, row) in enumerate(rows):
        key = f"{shard:05d}{index:04d}"
        failure = random.choice(_FAILURES) if random.random() < failures else None
        members = dataset.sample(scene, key, seed, image_size)
        about: dict[str, Any] = {"url": row[URL], "key": key, "status": "failed_to_download" if failure else "success"}
        about |= {"error_message": failure, **dict.fromkeys(_SIDES, None if failure else image_size)}
        about["exif"] = None if failure else "{}"
        about["sha256"] = None if failure else hashlib.sha256(members["jpg"]).hexdigest()
        metadata.append(about)
        if failure is None:
            raw = row["raw_caption"]
            texts = {name: row[name] for name in ("raw_caption", *RECAPTIONS)} if save_columns else {"caption": raw}
            found = {"jpg": members["jpg"], "json": json.dumps(texts | about, indent=4).encode()}
            samples.append((key, found if save_columns else found | {"txt": raw.encode()}))
    random.shuffle(samples)  # downloads end in any order
    parquet = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(metadata, schema=_METADATA), parquet)
    stats = {
        "count": len(rows),
        "successes": len(samples),
        "failed_to_download": len(rows) - len(samples),
        "failed_to_resize": 0,
        "status_dict": Counter(about["error_message"] or "success" for about in metadata),
    }
    return tar_of(iter(samples)), parquet.getvalue(), json.dumps(stats, indent=4).encode()

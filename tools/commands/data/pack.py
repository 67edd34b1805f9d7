"""``keyclip data pack``: images and captions of one's own as webdataset shards."""

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from store.common.errors import ConfigError
from tools.prepare.packing import MOST_PER_SHARD, from_folder, from_table, pack


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Pack a folder or a table of images and captions into webdataset shards, which every other command reads.

    A folder holds images with their captions next to them: `dog.jpg` and `dog.txt` (one caption a line) or `dog.json`
    (an object such as {"captions": ["a dog"]}). A table (.csv, .tsv, .json, .jsonl, .parquet) names an image file in
    each row. The captions go to the samples' json: as `captions` from text files, else under their own names. The same
    command again continues where it stopped.

    Example: keyclip data pack --folder photos --output shards
    Example: keyclip data pack --table captions.csv --image-column file --output shards
    """

    output: Path
    """Folder for the shards 00000.tar, 00001.tar ...; new, or of the same command."""
    folder: Path | None = None
    """Folder of images with captions next to them; folders below it too."""
    table: Path | None = None
    """Table with a row for each image; paths in it are relative to the table's folder."""
    image_column: str = "image"
    """The table's column of image paths."""
    key_column: str | None = None
    """The table's column of sample keys. Default: keys are numbered, as img2dataset does."""
    caption_columns: tuple[str, ...] = ()
    """The table's columns of captions. Default: all others."""
    samples_per_shard: int = 1000
    """Samples in a shard, 1 to 10,000."""
    broken: Literal["error", "skip"] = "error"
    """What to do with an image that is absent or cannot be decoded: stop, or count it and go on."""
    json: bool = False
    """Print the counts as json."""

    def __post_init__(self) -> None:
        if (self.folder is None) == (self.table is None):
            raise ConfigError("give one of --folder and --table, the place where the images and captions are")
        if not 1 <= self.samples_per_shard <= MOST_PER_SHARD:
            raise ConfigError(f"--samples-per-shard is {self.samples_per_shard}; expected 1 to {MOST_PER_SHARD:,}")


def run(config: Config) -> None:
    """Pack, and say what to do next."""
    if config.folder is not None:
        if not config.folder.is_dir():
            raise ConfigError(f"--folder {str(config.folder)!r} is no folder")
        source, samples = config.folder, list(from_folder(config.folder))
    else:
        assert config.table is not None
        source = config.table
        samples = list(from_table(config.table, config.image_column, config.key_column, config.caption_columns))
    if not samples:
        raise ConfigError(f"{str(source)!r} holds no images")
    silent = config.json or not sys.stderr.isatty()
    with tqdm(desc="pack", total=len(samples), unit=" images", disable=silent) as bar:
        packed = pack(samples, config.output, config.samples_per_shard, config.broken == "skip", bar.update)
    if config.json:
        print(json.dumps(dataclasses.asdict(packed) | {"output": str(config.output)}))
        return
    kept = f", {packed.num_kept_shards:,} of them from before" if packed.num_kept_shards else ""
    print(f"{packed.num_samples:,} samples in {packed.num_shards:,} shards{kept}: {config.output}")
    if packed.num_broken:
        print(f"{packed.num_broken:,} images are left out, since they are absent or cannot be decoded")
    if packed.num_without_caption:
        print(f"{packed.num_without_caption:,} samples have no caption")
    fields = next((tuple(sample.content) for sample in samples if sample.content), ())
    named = (
        " ".join("captions.0" if name == "captions" else name for name in fields if name != "key") or "CAPTION_FIELD"
    )
    print(f"next: keyclip embed --shards '{config.output}/*.tar' --caption-fields {named} --model MODEL --store STORE")

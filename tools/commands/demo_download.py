"""``keyclip demo-download``: captioned scenes as if img2dataset had downloaded them."""

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from store.common.errors import ConfigError
from store.common.settings import Count, PixelSize, Seed, Share
from tools.scenes import download
from tools.scenes.splits import SPLITS
from trainer.settings.config import require


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Render captioned scenes in the layout of a download by img2dataset, to try a data preparation without a network.

    Writes a url list with recaptions in DreamLIP's columns, and shards (unsorted, with gaps where downloads failed)
    with metadata and statistics. Existing files are never replaced.

    Example: keyclip demo-download --output data/cc3m --table data/cc3m.csv --urls 300
    """

    output: Path
    """Folder for 00000.tar, 00000.parquet, 00000_stats.json and so on."""
    table: Path
    """Where the url list with the captions goes: a .csv file with Image Path, raw_caption and recaptions."""
    urls: Count = 300
    """Length of the url list; 1 to 100,000."""
    urls_per_shard: Count = 100
    """Part of the list that a shard is made of; 1 to 10,000."""
    failures: Share = 0.1
    """Share of the downloads that fail, in [0, 1)."""
    save_columns: bool = True
    """Whether the captions of the list are saved to the json, as img2dataset does with --save_additional_columns."""
    split: str = "finetune"
    """Which scenes: pretrain, finetune, dev or test; no scene is in two of them."""
    seed: Seed = 0
    """Another seed gives other scenes and other failures."""
    image_size: PixelSize = 64
    """Side of the square images, in pixels (32 to 1024)."""

    def __post_init__(self) -> None:
        require(1 <= self.urls <= 100_000, "urls", self.urls, "1 to 100,000")
        require(1 <= self.urls_per_shard <= 10_000, "urls_per_shard", self.urls_per_shard, "1 to 10,000")
        require(0 <= self.failures < 1, "failures", self.failures, "at least 0 and below 1")
        require(32 <= self.image_size <= 1024, "image_size", self.image_size, "32 to 1024")
        if self.split not in SPLITS:
            raise ConfigError(f"no split {self.split!r}; there are {', '.join(SPLITS)}")


def run(config: Config) -> None:
    """Write the download; prints what is there."""
    with tqdm(total=config.urls, unit=" scenes", desc="rendering") as bar:
        shards = download.write(
            config.output,
            config.table,
            config.urls,
            split=config.split,
            urls_per_shard=config.urls_per_shard,
            failures=config.failures,
            save_columns=config.save_columns,
            seed=config.seed,
            image_size=config.image_size,
            progress=bar.update,
        )
    print(f"{config.table}: {config.urls:,} urls; {len(shards):,} shards: {shards[0]} to {shards[-1].name}")

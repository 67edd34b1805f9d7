"""``keyclip demo-data``: captioned scenes of emoji as webdataset shards."""

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from store.common.errors import ConfigError
from store.common.settings import PixelSize, Seed
from tools.scenes import dataset


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Render captioned scenes into webdataset shards, with the members KEY.jpg, KEY.json and KEY.txt.

    A scene has a thing in the middle, up to two in the corners, a backdrop and perhaps a frame; things are emoji of
    OpenMoji (CC BY-SA 4.0). The json holds web-like alt text (raw_caption), one-sentence captions (shortSV_captions,
    shortIB_captions) and captions of about 100 words (longSV_captions, longIB_captions), which use words that alt text
    never does, and the class (label), the thing in the middle. The same settings give the same bytes; started again,
    complete shards are kept. Sample keys differ between the splits.

    Example: keyclip demo-data --output data/scenes --splits pretrain=8000 texts=8000 finetune=2000 test=1000
    """

    output: Path
    """Folder for {pretrain,finetune,dev,test}/*.tar, texts.jsonl, classes.json (for zero-shot classification) and key
    lists of dev and test: SPLIT-shown.txt (things of the finetune split's topics) and SPLIT-others.txt."""
    splits: tuple[str, ...] = ("pretrain=8000", "texts=8000", "finetune=2000", "test=1000")
    """Splits and their numbers of samples. texts are captions without images. There is also dev, for choosing settings
    without looking at test."""
    seed: Seed = 0
    """Another seed gives other scenes; no two splits share a scene with the same short caption, also across seeds."""
    image_size: PixelSize = 64
    """Side of the square images, in pixels (32 to 1024)."""
    finetune_theme: str = "shown"
    """World of the finetune split: shown (things of three topics of nine) or any (as in the other splits). Narrow
    fine-tuning data makes a model forget what the pretrain split taught it; half of dev and test is of other topics, so
    that the forgetting can be measured there."""

    def __post_init__(self) -> None:
        dataset.check(self.counts(), self.image_size, self.finetune_theme)

    def counts(self) -> dict[str, int]:
        """The splits as split -> number of samples."""
        counts: dict[str, int] = {}
        for text in self.splits:
            split, _, number = text.partition("=")
            if not number.isdecimal() or split in counts:
                raise ConfigError(f"--splits got {text!r}; give each split once, such as pretrain=6000")
            counts[split] = int(number)
        return counts


def run(config: Config) -> int | None:
    """Write the data set; prints the folder of each split."""
    counts = config.counts()
    with tqdm(total=sum(counts.values()), unit=" scenes", desc="rendering") as bar:
        shards = dataset.write(
            config.output, counts, config.seed, config.image_size, config.finetune_theme, progress=bar.update
        )
    for split, paths in shards.items():
        where = (
            f"in {len(paths)} shard(s), {config.output / split}/*.tar" if split != dataset.TEXTS else f"in {paths[0]}"
        )
        print(f"{split}: {counts[split]} samples {where}")
    print(f"classes: {config.output / 'classes.json'}")
    return None

"""``keyclip demo-data``: captioned scenes of coloured shapes as webdataset shards."""

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from store.errors import ConfigError
from store.settings import PixelSize, Seed
from tools.scenes import dataset


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Render captioned scenes into webdataset shards, with the members KEY.jpg, KEY.json and KEY.txt.

    The json holds web-like alt text (raw_caption), one-sentence captions (shortSV_captions, shortIB_captions), captions
    of more than 80 words (longSV_captions, longIB_captions), and two classes: the main object's colour and the backdrop
    (label, prompts in classes.json), and its colour and shape (object, prompts in objects.json). The same settings give
    the same bytes; started again, complete shards are kept. Sample keys differ between the splits.

    Example: keyclip demo-data --output data/scenes --splits pretrain=6000 finetune=256 test=500
    """

    output: Path
    """Folder for {pretrain,finetune,dev,test}/*.tar, classes.json and objects.json (for zero-shot classification)."""
    splits: tuple[str, ...] = ("pretrain=6000", "finetune=256", "test=500")
    """Splits and their numbers of samples. There is also dev, for choosing settings without looking at test."""
    seed: Seed = 0
    """Another seed gives other scenes; no seed puts a scene that is told apart by its caption into two splits."""
    image_size: PixelSize = 64
    """Side of the square images, in pixels (32 to 1024)."""
    finetune_theme: str = "outdoors"
    """World of the finetune split: any (as in the other splits), night (two dark backdrops), outdoors (six of the
    twelve backdrops) or weather (three backdrops, four shapes). Narrow fine-tuning data makes a model forget what the
    pretrain split taught it. The test split stays broad (half of its backdrops are not in outdoors), so that the
    forgetting can be measured there."""

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
        print(f"{split}: {counts[split]} samples in {len(paths)} shard(s), {config.output / split}/*.tar")
    print(f"classes: {config.output / 'classes.json'}")
    return None

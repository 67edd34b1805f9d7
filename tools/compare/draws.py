"""Which samples a comparison fine-tunes on: all, the samples of a key list, or a draw for each seed."""

from pathlib import Path

import numpy as np

from embedder.reading.captions import file_rows
from store.common.errors import ConfigError
from store.common.files import write_whole
from tools.compare.settings import SuiteSettings
from trainer.data.samples import ShardSamples


class Draws:
    """The fine-tuning samples of each seed, as key lists in the comparison's folder.

    Attributes:
        keys: (n,) UTF-8 byte strings, all samples to draw from.
        are_all: whether every seed uses every sample of the shards.
    """

    def __init__(
        self, output: Path, settings: SuiteSettings, shards: tuple[str, ...], num_drawn: int | None = None
    ) -> None:
        """Raises: ConfigError: a listed key is not in the shards, or more samples shall be drawn than there are."""
        self.output, self.seeds, self.num_drawn = output, settings.seeds, num_drawn
        self.keys = ShardSamples(shards, settings.keys).keys
        self.are_all = settings.keys is None and num_drawn is None
        if num_drawn is not None and num_drawn > len(self.keys):
            raise ConfigError(f"finetune_samples is {num_drawn}; the shards hold {len(self.keys)}")

    def drawn(self, seed: int) -> np.ndarray:
        """The keys of a seed's samples, in the shards' order; a larger draw holds every smaller one of the seed."""
        if self.num_drawn is None:
            return self.keys
        return self.keys[np.sort(np.random.default_rng(seed).permutation(len(self.keys))[: self.num_drawn])]

    def file(self, seed: int) -> Path:
        """The key list of a seed. A list in any case: the store holds vectors of other samples too."""
        folder = self.output if self.num_drawn is None else self.output / f"seed-{seed}"
        return _write(folder / "finetune-keys.txt", self.drawn(seed).tolist())

    def file_with(self, texts: Path, seed: int) -> Path:
        """The key list of a seed's samples and of a file of captions without images, each key once."""
        keys = [key.encode() for key, _ in file_rows(str(texts), "key", (), "error")]
        both = dict.fromkeys([*self.drawn(seed).tolist(), *keys])
        return _write(self.file(seed).with_name("stage1-keys.txt"), list(both))

    def union_file(self) -> Path:
        """The key list of what any seed uses."""
        keys = np.unique(np.concatenate([self.drawn(seed) for seed in self.seeds]))
        return _write(self.output / "embed-keys.txt", keys.tolist())


def _write(file: Path, keys: list[bytes]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, b"".join(key + b"\n" for key in keys))
    return file

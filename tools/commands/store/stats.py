"""``keyclip store stats``: lengths, cosines, near-duplicates and dead dimensions of a field."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import store
from store.common.errors import ConfigError
from store.common.outputs import Kind, Outputs
from store.common.settings import Cosine, Few, Seed
from tools.commands.store.base import FieldConfig
from tools.query.histogram import save_png
from tools.query.printing import printable, progress_bar
from tools.query.stats import Stats, measure

MAX_DRAWN = 4096
"""A larger draw takes much memory and adds little."""
PNG = Kind(name="a PNG picture", start=b"\x89PNG")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(FieldConfig):
    """Measure the vectors of a field: lengths, mean cosine, near-duplicates, repeated captions, dead dimensions.

    All numbers are exact but near-duplicates and the histogram of cosines, which come from vectors drawn at random.
    Exit status 1 is for errors only: no measured value is a fault.

    Example:
        keyclip store stats cc3m.store --field minilm/captions.0 --png minilm.png
    """

    draw: Few = 256
    """Vectors drawn at random, each compared with all others; 4096 at most."""
    near: Cosine = 0.98
    """Cosine from which two vectors count as near-duplicates, above -1 and up to 1."""
    seed: Seed = 0
    """Seed of the draw."""
    png: Path | None = None
    """Draw the histograms into this file."""
    overwrite: bool = False
    """Replace an existing picture."""

    def __post_init__(self) -> None:
        if not 1 <= self.draw <= MAX_DRAWN:
            raise ConfigError(f"--draw must be 1 to {MAX_DRAWN}, not {self.draw}")
        if not -1 < self.near <= 1:
            raise ConfigError(f"--near must be a cosine above -1 and up to 1, not {self.near}")


def run(config: Config) -> None:
    """Print the figures."""
    field = config.open_field()
    progress = progress_bar(config.json)
    with Outputs([config.store], config.overwrite) as outputs:
        part = outputs.claim(config.png, PNG) if config.png else None
        stats = measure(field, num_drawn=config.draw, near=config.near, seed=config.seed, progress=progress)
        if part:
            save_png([stats.norms, stats.cosines], part)
    if config.json:
        print(json.dumps({"field": field.name, **asdict(stats)}))
    else:
        _show(field, stats)


def _show(field: store.Field, stats: Stats) -> None:
    near, dead = stats.near_duplicates, stats.dead_dimensions
    print(f"{printable(field.name)}: {stats.num_vectors:,} vectors of {field.spec.dim} {field.spec.dtype}\n")
    print(f"  length            {stats.norm_mean:.4g} on average, ", end="")
    print(f"{stats.norm_min:.4g} to {stats.norm_max:.4g}, deviation {stats.norm_std:.3g}")
    print(f"  zero vectors      {stats.num_zero:,}")
    mean = "none: there are no two vectors" if stats.mean_cosine is None else f"{stats.mean_cosine:z.4f} of all pairs"
    print(f"  mean cosine       {mean}")
    print(f"  repeated captions {stats.num_repeated_captions:,}")
    print(f"  near-duplicates   {near.num_found:,} of {near.num_drawn:,} drawn vectors have another ", end="")
    print(f"at cosine {near.cosine:g} or more")
    for key, other, cosine in near.examples:
        print(f"                    {printable(key)} and {printable(other)}: {cosine:.4f}")
    print(f"  dead dimensions   {len(dead):,}", end="")
    print(f": {', '.join(map(str, dead[:20]))}{', ...' if len(dead) > 20 else ''}" if dead else "")
    for histogram in (stats.norms, stats.cosines):
        print(f"\n{histogram.name}")
        print("\n".join(f"  {line}" for line in histogram.lines()))

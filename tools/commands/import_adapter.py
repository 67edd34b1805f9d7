"""``keyclip import adapter``: an adapter that LLM2CLIP or ProCLIP released, as a start of stage 2."""

from dataclasses import dataclass
from pathlib import Path

from trainer.checkpoint.llm2clip import import_adapter
from trainer.data.join import Join


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Read an adapter by the names of LLM2CLIP and ProCLIP (text.text_adaptor.*) and write it as a run of stage 1.

    The result is taken by stage 2 (--stage1 OUTPUT) and by eval (--checkpoint OUTPUT). Released weights do not say
    whose vectors they take: name a field of the embedder that they were trained with.

    Example:
        keyclip import adapter --weights ProCLIP-L-14.pt --store cc3m.store --field llama/shortSV_captions
            --output runs/proclip-stage1
    """

    weights: Path
    """A safetensors file, or a .pt/.bin file that holds nothing but tensors; other weights in it are left alone."""
    store: Path
    """A store with vectors of the embedder that the adapter was trained with."""
    field: str
    """Such a field; the adapter will take vectors of its model only."""
    output: Path
    """Folder to write; must not exist."""


def run(config: Config) -> None:
    """Write the run's folder."""
    join = Join(config.store, [config.field])
    shape = import_adapter(config.weights, join.made_by, config.output, dim_in=join.dim)
    print(
        f"imported to {config.output}: {shape['dim_in']} to {shape['dim_out']} dimensions, "
        f"{shape['num_blocks']} blocks, expansion {shape['expansion']}; for vectors of {join.made_by['model']}"
    )

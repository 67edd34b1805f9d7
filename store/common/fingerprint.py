"""Which weights made a vector: a revision that changes when the model does, whatever its folder is called."""

from pathlib import Path

import xxhash

from store.common.errors import ConfigError

_CHUNK_BYTES = 1 << 24


def fingerprint(folder: Path) -> str:
    """``xxh3:`` and 32 hex digits over the folder's weights (``*.safetensors``) and tokenizer (``tokenizer.json``).

    Files count by name and content, in name order; sub-folders (pooling, dense layers) count too.

    Raises:
        ConfigError: the folder holds no safetensors; other weight files would run code when loaded.
    """
    files = sorted(p for p in folder.rglob("*.safetensors") if p.is_file())
    if not files:
        raise ConfigError(f"no *.safetensors in the model folder {str(folder)!r}; save the model with save_pretrained")
    digest = xxhash.xxh3_128()
    for file in [*files, *folder.glob("tokenizer.json")]:
        digest.update(file.relative_to(folder).as_posix().encode())
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    return f"xxh3:{digest.hexdigest()}"

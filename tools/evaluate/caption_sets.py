"""Caption sets of shards by name: the captions of a set are pooled, as COCO's five."""

from collections.abc import Sequence

from store.common.errors import ConfigError


def caption_sets(arguments: Sequence[str]) -> dict[str, list[str]]:
    """Caption set -> its caption fields, from ``NAME=CAPTION_FIELD[,CAPTION_FIELD...]``."""
    sets: dict[str, list[str]] = {}
    for argument in arguments:
        name, equals, fields = argument.partition("=")
        if not (name and equals and fields) or "/" in name:
            raise ConfigError(
                f"caption set {argument!r}; expected NAME=CAPTION_FIELD[,CAPTION_FIELD...], no '/' in NAME"
            )
        if name in sets:
            raise ConfigError(
                f"two caption sets are named {name!r}; give each its own name, or pool their fields in one: "
                f"{name}={','.join(sets[name])},{fields}"
            )
        sets[name] = fields.split(",")
    if not sets:
        raise ConfigError("no caption set given; name at least one, --captions NAME=CAPTION_FIELD")
    return sets

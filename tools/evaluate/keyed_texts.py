"""Files of texts by key, one json object a line, which ``keyclip embed --captions`` reads."""

import json
from collections.abc import Iterator, Mapping

from store.common.outputs import Kind

TEXT_FIELD = "caption"
"""Column of the texts, and so the caption field in the store."""
TEXTS = Kind(name="a file of texts", start=b'{"key": ')


def text_lines(texts: Mapping[str, str], column: str = TEXT_FIELD) -> Iterator[str]:
    """The lines of a file with these texts by key."""
    return (json.dumps({"key": key, column: text}, ensure_ascii=False) for key, text in texts.items())

"""Known failures that are not fixed yet; normally none."""

import re

KNOWN: dict[str, str] = {}
"""Pattern in the text of a failure -> its cause; the commit that fixes the cause removes the pattern."""


def known(failure: str) -> bool:
    """Whether a failure is one of :data:`KNOWN`."""
    return any(re.search(pattern, failure, re.DOTALL) for pattern in KNOWN)

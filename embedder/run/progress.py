"""The progress of a run: a bar for a person, lines in the log for every rank."""

import logging
import threading
import time
from typing import Self

from tqdm import tqdm

log = logging.getLogger("keyclip.embedder")

_LOG_SECONDS = 30.0


class Progress:
    """Counts captions and tokens. How many there will be is estimated from the sources read so far.

    The reading, computing and writing threads share it.
    """

    def __init__(self, num_sources: int, enabled: bool) -> None:
        self._num_sources = num_sources
        self._ended = 0
        self._read = 0
        self._settled = 0
        self.num_tokens = 0
        """Tokens that went through the model."""
        self._lock = threading.Lock()
        self._started = self._logged = time.perf_counter()
        self._bar = tqdm(unit=" captions", disable=not enabled, dynamic_ncols=True, smoothing=0.1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def read(self, num_captions: int, ended: int) -> None:
        """``num_captions`` more were read; ``ended`` more sources were read to their end."""
        self._read += num_captions
        self._ended += ended
        self._bar.total = self._total() or self._bar.total

    def tokens(self, count: int) -> None:
        """``count`` more tokens went through the model."""
        self.num_tokens += count
        rate = self.num_tokens / (time.perf_counter() - self._started)
        self._bar.set_postfix_str(f"{rate:,.0f} tokens/s", refresh=False)

    def advance(self, num_captions: int) -> None:
        """``num_captions`` more are in the store, or need no vector."""
        with self._lock:
            self._settled += num_captions
            self._bar.update(num_captions)
            now = time.perf_counter()
            if now - self._logged >= _LOG_SECONDS:
                self._logged = now
                log.info("%s", self.line(now))

    def line(self, now: float) -> str:
        """The state in one line: captions, rates and the time left."""
        seconds = max(now - self._started, 1e-9)
        total = self._total()
        left = f", {(total - self._settled) / self._settled * seconds:.0f} s left" if total and self._settled else ""
        return (
            f"{self._settled} of {total or '?'} captions, {self._settled / seconds:.0f} captions/s, "
            f"{self.num_tokens / seconds:.0f} tokens/s{left}"
        )

    def _total(self) -> int | None:
        return round(self._read / self._ended * self._num_sources) if self._ended else None

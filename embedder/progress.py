"""The one progress display of a run."""

from types import TracebackType

from tqdm import tqdm


class Progress:
    """A bar over captions. How many there are is estimated from the sources read so far. Threads may share it."""

    def __init__(self, num_sources: int, enabled: bool) -> None:
        self._num_sources = num_sources
        self._ended = 0
        self._read = 0
        self._bar = tqdm(unit=" captions", disable=not enabled, dynamic_ncols=True, smoothing=0.1)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def read(self, num_captions: int, ended: int) -> None:
        """``num_captions`` more were read; ``ended`` more sources were read to their end."""
        self._read += num_captions
        self._ended += ended
        if self._ended:
            self._bar.total = round(self._read / self._ended * self._num_sources)

    def advance(self, num_captions: int) -> None:
        """``num_captions`` more are in the store, or need no vector."""
        self._bar.update(num_captions)

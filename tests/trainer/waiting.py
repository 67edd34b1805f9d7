"""A process that waits for SIGTERM, as a launcher does: ``python -m tests.trainer.waiting FOLDER``."""

import os
import signal
import sys
from pathlib import Path

STATUS = 7

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    (folder / "pid.part").write_text(str(os.getpid()))
    (folder / "pid.part").rename(folder / "pid")
    if signal.sigtimedwait({signal.SIGTERM}, 60) is not None:
        (folder / "saved").touch()
    sys.exit(STATUS)

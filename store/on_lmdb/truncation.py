"""Finds a data.mdb that lost its end, as after a copy that was cut short, before LMDB touches it.

LMDB reads through a memory map and trusts its file: a tree page beyond the file's end kills the process.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

from store.errors import DamagedBlockError

_WALK = """
import sys, lmdb
env = lmdb.open(sys.argv[1], readonly=True, lock=False, max_dbs=64, map_size=0)
with env.begin() as transaction:
    for name in list(transaction.cursor().iternext(values=False)):
        for _ in transaction.cursor(env.open_db(name, txn=transaction, create=False)).iternext(values=False):
            pass
"""
"""Visits every tree page; large values are not touched, since readers look for themselves whether those are there."""


def require_whole(folder: Path, env: Any) -> None:
    """Refuse an LMDB environment whose trees reach beyond the end of its file.

    A file may be shorter than its last page says, since LMDB does not write pages that it gave up again at once. So a
    short file is walked through, by another process.

    Raises:
        DamagedBlockError: the file is cut short.
    """
    file = folder / "data.mdb"
    size, needed = file.stat().st_size, (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    if size < needed and subprocess.run([sys.executable, "-c", _WALK, str(folder)], capture_output=True).returncode:
        raise DamagedBlockError(
            f"{str(file)!r} is cut short: it has {size:,} of {needed:,} bytes; copy the store again, or drop the field"
        )

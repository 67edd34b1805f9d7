"""Time and memory of the joins on a generated YFCC-like download of any size.

    python -m tests.tools.prepare.scale --rows 1000000 15000000 --folder /somewhere/with/room

Needs about 0.6 kB of disk a row for the data, 0.2 kB for the output, and as much as the captions while it runs.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.docs.commands import ROOT

PER_SHARD = 10_000
FAILED = 13  # one download of so many fails


def make(folder: Path, num_rows: int) -> None:
    """Metadata as img2dataset writes it, and a url list in another order, a fifth of it each as downloaded, with https,
    on another host, as a path of the same file name, and as downloaded again."""
    (folder / "shards").mkdir(parents=True)
    for first in range(0, num_rows, PER_SHARD):
        numbers = range(first, min(first + PER_SHARD, num_rows))
        columns = {
            "url": [_url(number) for number in numbers],
            "key": [f"{first // PER_SHARD:05d}{number - first:04d}" for number in numbers],
            "status": ["success" if number % FAILED else "failed_to_download" for number in numbers],
        }
        pq.write_table(pa.table(columns), folder / "shards" / f"{first // PER_SHARD:05d}.parquet")
    random = np.random.default_rng(0)
    with (folder / "list.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["Image Path", "raw_caption", "shortSV_captions", "longSV_captions"])
        for block in random.permutation(-(-num_rows // PER_SHARD)).tolist():
            end = min((block + 1) * PER_SHARD, num_rows)
            for number in random.permutation(np.arange(block * PER_SHARD, end)).tolist():
                long = f"The picture shows thing {number},\nand in the background {number % 17} other things. " * 3
                writer.writerow([_spelled(number), f"caption, of {number}", f'a "short" one of {number}', long])


def _url(number: int) -> str:
    server, photo = number % 7000, number * 7919 % 10**10
    return f"http://farm{number % 9 + 1}.staticflickr.com/{server}/{photo}_{number * 104729 % 16**8:08x}.jpg"


def _spelled(number: int) -> str:
    url = _url(number)
    return {
        1: url.replace("http://", "https://"),
        2: "https://live.staticflickr.com/" + url.split("/", 3)[3],
        3: "images/" + url.rsplit("/", 1)[1].replace(".jpg", ".JPG"),
    }.get(number % 5, url)


def measure(*arguments: object) -> dict[str, object]:
    """``keyclip ARGUMENTS --json True`` in a process of its own: what it says, seconds, and peak resident MB."""
    command = [sys.executable, "-c", _CHILD, *map(str, arguments), "--json", "True"]
    start = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    told, own = done.stdout.splitlines()
    return json.loads(told) | json.loads(own) | {"seconds": round(time.monotonic() - start, 1)}


_CHILD = """
import json, resource, sys
from tools.__main__ import main
status = main(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"peak_mb": used.ru_maxrss // 1024, "cpu_seconds": round(used.ru_utime + used.ru_stime, 1)}))
sys.exit(status)
"""


def match(folder: Path) -> dict[str, object]:
    """Match a made download."""
    shards, table, output = f"{folder}/shards/*.parquet", folder / "list.csv", folder / "captions.parquet"
    return measure("data", "match", "--shards", shards, "--tables", table, "--output", output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--folder", type=Path, required=True, help="new folder; kept, so that a second run is quicker")
    arguments = parser.parse_args()
    for num_rows in arguments.rows:
        folder = arguments.folder / str(num_rows)
        if not (folder / "list.csv").exists():
            make(folder, num_rows)
        found = match(folder)
        rate = num_rows / float(str(found["cpu_seconds"]))
        print(  # noqa: T201
            f"{num_rows:,} rows: {found['num_matched']:,} matched by {found['matched_by']}; "
            f"peak {found['peak_mb']} MB, {found['seconds']} s, {found['cpu_seconds']} s of CPU, "
            f"{rate:,.0f} rows a CPU second"
        )
        source = ["--shards", f"{folder}/shards/*.parquet"]
        drawn = measure("data", "sample", "-n", num_rows // 10, *source, "--output", folder / "keys")
        print(f"  data sample: peak {drawn['peak_mb']} MB, {drawn['cpu_seconds']} s of CPU")  # noqa: T201


if __name__ == "__main__":
    main()

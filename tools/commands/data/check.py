"""``keyclip data check``: faults of shards, found before a training run meets them."""

import dataclasses
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from store.common.errors import ConfigError
from store.common.outputs import KEY_LIST, Kind, Outputs
from store.common.settings import Workers
from store.sources.shards import expand_shards
from tools.prepare.checking import check_shards
from tools.prepare.database import temporary_database
from tools.prepare.downloaded import files_of
from tools.prepare.scanning import KINDS, Finding

SHOWN = 10
FINDINGS = Kind(name="a list of findings", start=b'{"shard": ')


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Read shards whole and report their faults, before a training run meets them.

    Looks for shards that are cut short, images that cannot be decoded, keys that come twice in a shard or in
    several shards, samples without image, json or captions, and members with unsafe names. Exit status 1 if anything
    is found. The keys of all samples without a finding are written as a key list, which --keys of embed, training and
    eval takes.

    Example:
        keyclip data check --shards 'cc3m/{00000..00331}.tar' --caption-fields shortSV_captions longSV_captions
            --good-keys cc3m-good.txt --findings cc3m-findings.jsonl
    """

    shards: tuple[str, ...]
    """Shards: paths, globs, brace ranges or @FILE lists; URLs and pipe: commands too."""
    good_keys: Path
    """The key list of the good samples."""
    caption_fields: tuple[str, ...] = ()
    """Captions that every sample must have: paths into the json (captions.0), or .txt for the txt member."""
    findings: Path | None = None
    """A file for every finding, a json object a line; without it the first ten of each kind are printed."""
    decode: bool = True
    """Decode every image. Without it only the tars' members are checked, which is much faster."""
    workers: Workers | None = None
    """Processes that decode. Default: one per core."""
    overwrite: bool = False
    """Replace a key list and findings that are there."""
    json: bool = False
    """Print json: every finding and the counts."""

    def __post_init__(self) -> None:
        if self.findings == self.good_keys:
            raise ConfigError(f"--findings and --good-keys are both {str(self.findings)!r}; give each its own file")


def run(config: Config) -> int:
    """Check, print, and tell by the exit status whether all is well."""
    shown: Counter[str] = Counter()
    shards = expand_shards(config.shards)
    with Outputs(files_of(config.shards), config.overwrite) as outputs:
        good_keys = outputs.lines(outputs.claim(config.good_keys, KEY_LIST))
        file = outputs.lines(outputs.claim(config.findings, FINDINGS)) if config.findings else None

        def report(finding: Finding) -> None:
            line = json.dumps(dataclasses.asdict(finding))
            if file:
                file.write([line])
            shown[finding.kind] += 1
            if config.json:
                print(('{"findings": [' if shown.total() == 1 else ",\n") + line, end="")
            elif shown[finding.kind] <= SHOWN:
                who = f"{finding.shard}: " + (f"sample {finding.key!r}: " if finding.key is not None else "")
                print(f"{finding.kind}: {who}{finding.what}")

        with temporary_database(config.good_keys) as database:
            summary = check_shards(
                shards, config.caption_fields, config.decode, config.workers, report, good_keys, database, config.json
            )
    if config.json:
        counts = dataclasses.asdict(summary) | {"good_keys": str(config.good_keys)}
        print(('{"findings": [' if not shown else "") + "], " + json.dumps(counts)[1:])
        return 1 if shown else 0
    for kind, meaning in KINDS.items():
        if count := summary.num_findings.get(kind, 0):
            print(f"{count:,} x {kind}: {meaning}{f' ({SHOWN} shown)' if count > SHOWN else ''}")
    if config.findings:
        print(f"all findings: {config.findings}")
    print(
        f"{summary.num_good:,} of {summary.num_samples:,} samples in {summary.num_shards:,} shards are good: "
        f"{config.good_keys}"
    )
    return 1 if shown else 0

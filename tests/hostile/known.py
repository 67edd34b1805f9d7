"""Failures that are known and not mended yet: empty when all is well."""

import re

KNOWN: dict[str, str] = {
    r"store/on_lmdb/|lmdb\.\w*Error": "damaged LMDB files",
    r"store/on_zarr/|store/opening\.py|store/spec\.py": "damaged documents of stores",
    r"[aez]\.store[^;]* became (pipe|zero|loop|dangling|folder|file)": "files of stores that are none",
    r"damaged [aez]\.store.*(hangs|memory|crashed)": "damaged stores that hang",
    r"yaml/|store/yaml_text\.py|settings .*(hangs|memory)": "YAML without bounds",
    r"_read_list|_flags|store/command\.py\", line \d+, in _|list\.txt.*(hangs|executed|memory)": "lists and settings",
    r"\{0\.\.9+\}.*(hangs|memory)|braceexpand": "brace ranges without bounds",
    r"(keys\.txt|list\.txt) became (pipe|zero)": "key lists that are pipes or devices",
    r"embedder/(networks|load|pooling|folder|inspect)|damaged clip/|clip/[^;]* became": "damaged model folders",
    r"run/checkpoints[^;]* became|trainer/run_folder\.py|damaged run/checkpoints": "damaged checkpoints",
    r"trainer/zeroshot\.py|trainer/evalsets/|classes\.json.*hangs|(sets\.yaml|photos\.jsonl).*(hangs|memory)":
        "files of evaluation sets",
    r"word \d+ is .*(9{12,}|inf|nan|1e\d+|2147483648|\d{19}).*(hangs|memory|escaped)": "numbers without sense",
    r"(--[\w-]+) \['?(9{12,}|-1|\d{10,})'?.*(hangs|memory|escaped)": "numbers without sense, as further flags",
    r"surrogates not allowed|embedded null byte": "text that is no file name",
}  # fmt: skip
"""Pattern in the text of a failure -> what it is; each is mended on another branch, and leaves this list with it."""


def known(failure: str) -> bool:
    """Whether a failure is one of :data:`KNOWN`."""
    return any(re.search(pattern, failure, re.DOTALL) for pattern in KNOWN)

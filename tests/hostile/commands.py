"""A sound call of every command, to be damaged: flags and the files that it may change."""

from dataclasses import dataclass

from tools.__main__ import COMMANDS

LEFT_OUT = {("serve",), ("browse",), ("demo",), ("mteb",), ("clip-benchmark",)}
"""Servers, which do not end; the demo, which trains; and others' benchmarks, which read tasks of their own."""


@dataclass(frozen=True, slots=True)
class Call:
    """Words that succeed in the sound world, unless ``fails`` says that they end with an error."""

    words: tuple[str, ...]
    arguments: tuple[str, ...]
    changes: tuple[str, ...] = ("out", "cache")
    """Files and folders that the call may change."""
    fails: bool = False
    kept: str = ""
    """A flag that stays as it is: without it the call would train for minutes."""

    @property
    def argv(self) -> list[str]:
        """All that follows ``keyclip``."""
        return [*self.words, *self.arguments]


_EVAL = "--clip clip --store e.store --embedder clip --teacher clip --resamples 20 --examples 1 --output out/r.json"
_DATA = "--shards shards/00000.tar shards/00001.tar"
_VECTORS = "a.store --fields llm/short llm/long --output out/v"
_NEW = ("new.store", "out", "cache")

CALLS_AS_TEXT: dict[str, tuple[str, ...]] = {
    "data check": (
        f"{_DATA} --good-keys out/good.txt --findings out/findings.jsonl --caption-fields short --workers 0",
        "--shards @list.txt --good-keys out/good.txt --workers 0 --decode False --json",
    ),
    "data index": ("--shards @list.txt --output out/index.parquet --workers 0", f"{_DATA} --workers 0 --json"),
    "data captions": tuple(
        f"--shards {shards} --tables table.{kind} --output out/captions.parquet"
        for shards, kind in (
            ("shards/00000.tar", "csv"), ("shards/00000.parquet", "tsv"), ("@list.txt", "json"),
            ("shards/*.tar", "jsonl"), ("shards/00000.tar", "parquet"),
        )
    ),
    "data match": tuple(
        f"--shards {shards} --tables table.{kind} --url-column url --output out/captions.parquet"
        for shards, kind in (("shards/*.parquet", "csv"), ("shards/00000.tar", "parquet"), ("@list.txt", "jsonl"))
    ),
    "data sample": (
        "-n 3 --keys keys.txt --output out/sample.txt",
        "-n 3 --shards @list.txt --output out/sample.txt",
        "-n 3 --shards shards/00000.parquet --output out/sample.txt",
        "-n 3 --store a.store --field llm/short --output out/sample.txt",
    ),
    "embed": tuple(
        f"--model clip {source} --field-prefix new --store new.store --progress False"
        for source in (
            "--shards @list.txt --caption-fields short", "--captions table.csv --caption-fields short long",
            "--captions table.parquet --caption-fields long", "--captions table.jsonl --caption-fields long",
        )
    ),
    "store info": ("a.store", "z.store --json"),
    "store keys": ("a.store --field llm/short", "z.store --field llm/long --json"),
    "store get": (
        "a.store 000000001 --field llm/short",
        "z.store --keys keys.txt --field llm/short --npy out/v.npy",
    ),
    "store search": ("a.store --field llm/short --key 000000001 --k 3", "z.store --field llm/short --key 000000001"),
    "store stats": ("a.store --field llm/short --png out/h.png", "z.store --field llm/long --json"),
    "store coverage": (
        "a.store --shards @list.txt --fields llm/short --write-missing out/m.txt",
        "z.store --captions table.csv --fields llm/long llm/short --json",
    ),
    "store diff": ("a.store z.store", "z.store a.store --json"),
    "store verify": ("a.store", "z.store"),
    "store repair": ("a.store", "z.store"),
    "store merge": ("a.store --output new.store", "z.store a.store --output new.store"),
    "store convert": ("a.store --output new.store --backend zarr", "z.store --output new.store --dtype float16"),
    "store compact": ("a.store --output new.store", "z.store --output new.store"),
    "store drop": ("a.store --field llm/short", "z.store --field llm/short"),
    "vectors import sidecar": (
        "vectors/sidecar/00000_text_embeddings.tar --shards shards/00000.tar --model m --store new.store",
    ),
    "vectors import merged": ("vectors/merged/00000.tar --caption-fields short --model m --store new.store",),
    "vectors import dpt": (
        "vectors/features.dpt --caption-fields short long --model m --store new.store",
        "vectors/features.dpt --caption-fields short long --shards @list.txt --model m --store new.store",
    ),
    "vectors import clip-retrieval": (
        "vectors/clip-retrieval --caption-field short --key-column key --model m --store new.store",
    ),
    "vectors import parquet": ("vectors/parquet/00000.parquet --store new.store --captions table.csv "
                               "--caption-fields short",
                               "vectors/parquet/00000.parquet --store new.store",),
    "vectors import lance": ("vectors/rows.lance --store new.store",),
    "vectors export sidecar": (f"{_VECTORS} {_DATA}",),
    "vectors export merged": (f"{_VECTORS} --shards @list.txt",),
    "vectors export dpt": tuple(f"{_VECTORS}.dpt {more}" for more in ("", "--row-keys keys.txt", "--shards @list.txt")),
    "vectors export clip-retrieval": ("z.store --field llm/short --output out/v",),
    "vectors export parquet": (f"{_VECTORS} --keys keys.txt",),
    "vectors export lance": (_VECTORS,),
    "prompts": ("--classes classes.json --output out/p.jsonl",),
    "eval-captions": ("--sets sets.yaml --output out/t.jsonl",),
    "eval": (
        f"{_EVAL} --sets sets.yaml",
        f"{_EVAL} --checkpoint run --shards shards/00000.tar --captions a=short --zeroshot classes.json",
    ),
    "eval-diff": ("--ours run-result.json --theirs clip-result.json",),
    "report": ("run run-result.json clip-result.json --output out/r.html --markdown out/r.md",),
    "import adapter": tuple(
        f"--weights adapter.{kind} --store e.store --field clip/caption --output out/a"
        for kind in ("safetensors", "pt")
    ),
    "export": (
        "--clip clip --checkpoint run --output out/x",
        "--clip clip --checkpoint run --output out/x.safetensors --layout llm2clip",
    ),
    "bench search": ("--vectors 50 --dim 8 --repeats 1 --folder out",),
    "bench vectors": ("--num-vectors 64 --dim 8 --repeats 1 --folder out",),
    "data pack": ("--folder images --output out/p",),
    "demo-data": ("--output out/d --splits test=3",),
    "demo-download": ("--output out/d --table out/d.csv --urls 3",),
}  # fmt: skip
_FAILING: dict[str, tuple[str, ...]] = {
    "compare": (
        "--output out/c --clip clip --finetune-shards @list.txt --test-shards shards/00000.tar --store a.store "
        "--embedder llm --caption-fields short --eval-captions a=short --finetune-samples 999",
    ),
    "bench embed": ("--model clip --num-captions 0",),
    "bench loader": ("--shards @list.txt --store a.store --fields llm/nothing --rounds 1 --batches 1 --workers 0",),
    "bench store": ("--num-vectors 0 --folder out",),
    "bench train": ("--steps 0 --folder out",),
}
_CHANGES = {
    "store repair": ("a.store", "z.store"),
    "store drop": ("a.store", "z.store"),
    "embed": ("new.store",),
    "store merge": ("new.store",),
    "store convert": ("new.store",),
    "store compact": ("new.store",),
}


def calls() -> list[Call]:
    """All of them, command by command in the order of ``keyclip --help``."""
    found = []
    for words in COMMANDS:
        name = " ".join(words)
        changes = ("out", "cache", *_CHANGES.get(name, ("new.store",) if name.startswith("vectors import") else ()))
        for fails, texts in ((False, CALLS_AS_TEXT), (True, _FAILING)):
            kept = "--finetune-samples" if name == "compare" else ""
            found += [Call(words, tuple(text.split()), changes, fails, kept) for text in texts.get(name, ())]
    return found

"""``keyclip COMMAND ...``: finds the command's module and runs it.

A command is a module with a ``Config`` dataclass and ``run(config) -> int | None``. Modules are imported only when
their command is called, so that ``keyclip --help`` answers at once.
"""

import difflib
import importlib.metadata
import importlib.util
import itertools
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tools import stand_ins

_IMPORTS, _EXPORTS = "tools.commands.vectors.importing", "tools.commands.vectors.exporting"

# command words -> (module, or module:COMMAND where several share one; what it does)
COMMANDS: dict[tuple[str, ...], tuple[str, str]] = {
    ("data", "pack"): ("tools.commands.data.pack", "a folder or table of images and captions into shards"),
    ("data", "check"): ("tools.commands.data.check", "broken images, repeated keys and missing captions in shards"),
    ("data", "index"): ("tools.commands.data.index", "keys, sizes and captions of shards"),
    ("data", "captions"): ("tools.commands.data.captions", "captions from a keyed table for the samples of shards"),
    ("data", "match"): ("tools.commands.data.match", "captions whose keys were lost: keys found by url"),
    ("data", "sample"): ("tools.commands.data.sample", "a random list of sample keys that anyone can draw again"),
    ("embed",): ("tools.commands.embed", "embed captions into a field of a store; again: only what is missing"),
    ("serve",): ("tools.commands.serve", "serve a model over HTTP; keyed captions go into a store"),
    ("store", "info"): ("tools.commands.store.info", "what a store holds and how it was made"),
    ("store", "keys"): ("tools.commands.store.keys", "the sample keys of a field"),
    ("store", "get"): ("tools.commands.store.get", "vectors of some keys: on the terminal, as npy or json"),
    ("store", "search"): ("tools.commands.store.search", "the captions nearest to a text or a key"),
    ("store", "stats"): ("tools.commands.store.stats", "lengths, cosines, near-duplicates, dead dimensions of a field"),
    ("store", "coverage"): ("tools.commands.store.coverage", "which captions of some shards lack a vector, or changed"),
    ("store", "diff"): ("tools.commands.store.diff", "how two stores differ"),
    ("store", "verify"): ("tools.commands.store.checking:VERIFY", "compare everything in a store with its checksums"),
    ("store", "repair"): ("tools.commands.store.checking:REPAIR", "drop damaged blocks; embed fills them again"),
    ("store", "merge"): ("tools.commands.store.copying:MERGE", "several stores into one"),
    ("store", "convert"): ("tools.commands.store.copying:CONVERT", "a store into another backend or dtype"),
    ("store", "compact"): ("tools.commands.store.copying:COMPACT", "a store into one without holes"),
    ("store", "drop"): ("tools.commands.store.drop", "remove a field, or blocks of it"),
    ("browse",): ("tools.commands.browse", "look through a store and its images in a web browser"),
    ("vectors", "import", "sidecar"): (f"{_IMPORTS}:SIDECAR", "LLM2CLIP's tars of vectors into a store"),
    ("vectors", "import", "merged"): (f"{_IMPORTS}:MERGED", "image tars that hold vectors into a store"),
    ("vectors", "import", "dpt"): (f"{_IMPORTS}:DPT", "evaluation features saved by torch into a store"),
    ("vectors", "import", "clip-retrieval"): (f"{_IMPORTS}:CLIP_RETRIEVAL", "clip-retrieval's folders into a store"),
    ("vectors", "import", "parquet"): (f"{_IMPORTS}:PARQUET", "Parquet files of keyed vectors into a store"),
    ("vectors", "import", "lance"): (f"{_IMPORTS}:LANCE", "a Lance dataset of keyed vectors into a store"),
    ("vectors", "export", "sidecar"): (f"{_EXPORTS}:SIDECAR", "vectors as tars next to image tars"),
    ("vectors", "export", "merged"): (f"{_EXPORTS}:MERGED", "copies of image tars with the vectors in them"),
    ("vectors", "export", "dpt"): (f"{_EXPORTS}:DPT", "evaluation features as torch saves them"),
    ("vectors", "export", "clip-retrieval"): (f"{_EXPORTS}:CLIP_RETRIEVAL", "a field as clip-retrieval's folder"),
    ("vectors", "export", "parquet"): (f"{_EXPORTS}:PARQUET", "fields as Parquet files"),
    ("vectors", "export", "lance"): (f"{_EXPORTS}:LANCE", "fields as a Lance dataset"),
    ("prompts",): ("tools.commands.evaluate.prompts", "class prompts of a zero-shot task as keyed captions, for embed"),
    ("eval-captions",): ("tools.commands.evaluate.eval_captions", "captions and prompts of evaluation sets, for embed"),
    ("eval",): ("tools.commands.evaluate.eval", "retrieval, classification, composition, probes and drift of a model"),
    ("eval-diff",): ("tools.commands.evaluate.eval_diff", "whether two arms differ by more than chance"),
    ("mteb",): ("tools.commands.evaluate.mteb", "MTEB's image tasks for a checkpoint, texts from a store"),
    ("clip-benchmark",): ("tools.commands.evaluate.clip_benchmark", "LAION's CLIP_benchmark for a checkpoint"),
    ("report",): ("tools.commands.report", "one self-contained HTML file that compares runs"),
    ("compare",): ("tools.commands.compare", "the paper's arms over seeds, with equal budgets, from one store"),
    ("import", "adapter"): ("tools.commands.import_adapter", "an adapter of LLM2CLIP or ProCLIP as a run of stage 1"),
    ("export",): ("tools.commands.export", "a checkpoint as a transformers folder, or under LLM2CLIP's names"),
    ("bench", "store"): ("tools.bench.store", "the store compared with other ways to keep vectors, as ratios"),
    ("bench", "search"): ("tools.bench.search", "exact search compared with a plain matrix product"),
    ("bench", "vectors"): ("tools.bench.vectors", "imports and exports compared with a copy of the same bytes"),
    ("bench", "embed"): ("tools.bench.embed", "the embedder compared with the usual ways, as ratios"),
    ("bench", "loader"): ("tools.bench.loader", "the joined loader compared with packed tars and plain decoding"),
    ("bench", "train"): ("tools.bench.train", "stage 1 from the store or an online teacher; stage 2's wait for data"),
    ("demo",): ("tools.commands.demo", "the whole chain on this machine: CLIP, LLM2CLIP, stage 1 and ProCLIP compared"),
    ("demo-data",): ("tools.commands.demo_data", "render captioned scenes into webdataset shards"),
    ("demo-download",): ("tools.commands.demo_download", "captioned scenes as if img2dataset had downloaded them"),
}

# first words -> (module with a main(argv) of its own, its lines in the list of commands)
OTHERS: dict[str, tuple[str, dict[str, str]]] = {
    "train": (
        "tools.commands.train",
        {
            "train pretrain": "a small CLIP from scratch, a stand-in offline",
            "train stage1": "the adapter learns CLIP's text space from the store",
            "train stage2": "image tower and adapter learn from joined pairs",
        },
    ),
    "completion": (
        "tools.commands.completion",
        {"completion": "a script that completes commands and flags: bash, zsh, fish"},
    ),
}

TRAINING = "keyclip train STAGE --gpus N ... or deepspeed --num_gpus N --module trainer STAGE ..."


def usage(group: tuple[str, ...] = ()) -> str:
    """The list of commands, or of the commands in a group such as ``("store",)``."""
    lines = {" ".join(words): what for words, (_, what) in COMMANDS.items() if words[: len(group)] == group}
    for words, (_, more) in OTHERS.items():
        lines |= more if group in ((), (words,)) else {}
    width = max(map(len, lines))
    shown = "\n".join(f"  {words:{width}}  {what}" for words, what in lines.items())
    prog = " ".join(["keyclip", *group])
    text = f"usage: {prog} COMMAND ... ({' '.join(['keyclip', *group, 'COMMAND'])} --help explains one)\n\n{shown}\n"
    if group:
        return text
    return (
        f"{text}\ntraining: {TRAINING}\n"
        "flags that every command has: --help, --config FILE, --allow-pipe; keyclip --version\n"
        "exit status: 0 done; 1 an error, or a check found something; 2 wrong usage; 130 interrupted\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``keyclip``; returns the exit status."""
    if foreign := _foreign_package():
        print(f"keyclip: error: {foreign}", file=sys.stderr)
        return 1
    from store.common.command import exit_status

    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None and _shows_help(words):  # nothing else is done in this process
        stand_ins.install()
    return exit_status(lambda: _dispatch(words))


def _shows_help(words: list[str]) -> bool:
    """Whether the command line asks for a help text, or for a completion script, which is made from them."""
    return words[:1] == ["completion"] or bool({"-h", "--help"} & set(itertools.takewhile("--".__ne__, words)))


def _dispatch(argv: list[str]) -> int:
    from store.common.command import run_command

    if argv == ["--version"]:
        print(f"keyclip {_version()}")
        return 0
    if argv and argv[0] in OTHERS:
        return int(importlib.import_module(OTHERS[argv[0]][0]).main(argv[1:]))
    for length in (3, 2, 1):
        if (words := tuple(argv[:length])) in COMMANDS:
            command = pkgutil.resolve_name(COMMANDS[words][0])
            return run_command(command.Config, command.run, argv[length:], f"keyclip {' '.join(words)}")
    length = 0
    while length < len(argv) and any(words[: length + 1] == tuple(argv[: length + 1]) for words in COMMANDS):
        length += 1
    group, rest = tuple(argv[:length]), argv[length:]
    if not rest or rest[0] in ("-h", "--help"):
        print(usage(group), end="")
        return 0 if rest else 2
    names = {words[length] for words in COMMANDS if words[:length] == group} | (set() if group else {*OTHERS})
    near = difflib.get_close_matches(rest[0], sorted(names), 2)
    prog = " ".join(["keyclip", *group])
    hint = f"did you mean {' or '.join(f'{prog} {name}' for name in near)}?" if near else f"{prog} --help lists them"
    print(f"keyclip: error: there is no command {' '.join([*group, rest[0]])!r:.80}; {hint}", file=sys.stderr)
    return 2


def _foreign_package() -> str | None:
    """An error message if Python finds another package under the name of one of ours, such as a ``store.py``."""
    root = Path(__file__).resolve().parents[1]
    for name in ("store", "embedder", "trainer", "tools"):
        found = importlib.util.find_spec(name)
        origin = Path(found.origin).resolve() if found is not None and found.origin else None
        if origin is None or origin.parents[1] != root:
            return (
                f"the Python package {name!r} comes from {str(origin)!r}, not from keyclip; start keyclip in another "
                "folder, or remove that folder from PYTHONPATH"
            )
    return None


def _version() -> str:
    try:
        return importlib.metadata.version("keyclip")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())

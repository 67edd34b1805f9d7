"""Values that nobody means: for flags, settings, json and the environment."""

from random import Random
from typing import Any

CANARY = "canary"
"""A file that appears in the working directory's parent if anything in a value is executed."""

_TOUCH = f"touch ../{CANARY}"
NUMBERS = (
    "-1", "0", "1", "9" * 30, str(2**31), str(2**63), str(2**64), str(-(2**63) - 1), "1e3", "1e400", "nan", "inf",
    "-inf", "-0.0", "0x10", "1_0", "\u0663", "1.5", "",
)  # fmt: skip
TEXTS = (
    "", " ", "a", "-", "--", "=", "a=b=c", "=x", "x=", "*", "[", "~", "/", "..", ".", "{", "{0..99999999999}",
    "{a,b}{c,d}" * 30, "{0..9}" * 12, "@", "@list.txt", "@keys.txt", "@nothing", "@out", "x" * 5000, "a\\b",
    "\u202eabc",
    "\x1b[31mred", "\udcff\udcfe", "a\nb", "a\rb", "\t", "%s%n", "%ff", "{caption}", "{}", "{0.__class__}",
    f"$({_TOUCH})", f"`{_TOUCH}`", f"; {_TOUCH}", f"| {_TOUCH}", f"pipe:{_TOUCH}", f"shards/00000.tar; {_TOUCH}",
    "file:///nothing", "http://127.0.0.1:9/x.tar", "memory://x", "nothing/at/all", "\N{GRINNING FACE}", "cuda:99",
    "meta", "True", "None", "null", "a/../b", "a//b", "llm/short", "llm/nothing", "clip", "NaN",
)  # fmt: skip
PATHS = (
    "out/new", "out/none/new.txt", "out", ".", "", "shards", "shards/00000.tar", "keys.txt", "classes.json", "a.store",
    "z.store", "a.store/store.json", "clip", "clip/model.safetensors", "run", "run/log.jsonl", "clip-result.json",
    "table.csv", "table.parquet", "vectors/features.dpt", "vectors/rows.lance", "adapter.pt", "pipe", "loop", "zero",
    "null", "dangling", "n" * 300, "d/" * 40 + "x", "keys.txt/x", "null/x", "pipe/x", "out/x.parquet", "out/x.jsonl",
    "out/x.html", "out/x.dpt", "out/../out/y", "images/0.jpg", "sets.yaml", "list.txt",
)  # fmt: skip


def flag_values(random: Random) -> list[str]:
    """What follows a flag: mostly one value, sometimes none or several."""
    pool = random.choice((NUMBERS, TEXTS, PATHS))
    count = random.choice((1, 1, 1, 1, 1, 1, 0, 2, 3))
    return [random.choice(pool) for _ in range(count)]


def json_value(random: Random, depth: int = 0) -> Any:
    """A json value that is unusual in its type, size or depth."""
    simple = [
        None, True, False, 0, -1, 2**31, 2**63, 2**64, 10**40, -(10**40), 1e308, 1.5, float("nan"), float("inf"), "",
        "a", "\ud800", "\0", "\x1b[2J", "x" * 3000, "1", "NaN", f"$({_TOUCH})", f"pipe:{_TOUCH}", "../../x", [], {},
    ]  # fmt: skip
    choice = random.randrange(len(simple) + 4)
    if choice < len(simple) or depth > 2:
        return random.choice(simple)
    if choice == len(simple):
        return [json_value(random, depth + 1) for _ in range(random.randrange(4))]
    if choice == len(simple) + 1:
        return {str(json_value(random, 3)): json_value(random, depth + 1) for _ in range(random.randrange(4))}
    nested: Any = []
    for _ in range(random.choice((50, 150))):
        nested = [nested] if random.random() < 0.5 else {"a": nested}
    return nested


ENVIRONMENTS: tuple[dict[str, str], ...] = (
    {"RANK": "x", "WORLD_SIZE": "y", "LOCAL_RANK": "z"},
    {"RANK": "5", "WORLD_SIZE": "2", "LOCAL_RANK": "-1"},
    {"RANK": "", "WORLD_SIZE": "", "LOCAL_RANK": ""},
    {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "a"},
    {"XDG_CACHE_HOME": "keys.txt"},
    {"XDG_CACHE_HOME": "null/x"},
    {"XDG_CACHE_HOME": "\udcff"},
    {"HOME": "nothing", "XDG_CACHE_HOME": ""},
    {"TMPDIR": "nothing"},
    {"COLUMNS": "0", "TERM": "nothing"},
    {"COLUMNS": "-3"},
    {"CUDA_VISIBLE_DEVICES": "x"},
    {"HF_HOME": "keys.txt"},
    {"OMP_NUM_THREADS": "x"},
)
YAML_TEXTS = (
    "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)),
    "[" * 5000, "{a: " * 5000, "- " * 3000 + "x", "a: b: c", "\t", "%YAML 9.9\n---\na: 1", "a: 1\na: 2", "--- a\n--- b",
    f"a: !!python/object/apply:os.system ['{_TOUCH}']", "!!binary |\n  AAAA", "a: !!timestamp 2001-99-99",
    "? [a, b]\n: c",
    "\ufeffa: 1", "a: \x00", "a: \ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "<<: {a: 1}", "<<: 3",
    "&x a: *x", "a: &a\n  b: *a", "null", "3", "[]", "", "sets: 3", "sets: {}", "sets: []", "sets: {a: 3}",
    "sets: {a: {layout: jsonl}}", "sets: {a: {layout: nothing}}", "sets: {a: {layout: [1]}}", "root: 3\nsets: {a: {}}",
    f"sets: {{a: {{layout: class-folders, images: 'pipe:{_TOUCH}', classes: ./classes.json}}}}",
    f"sets: {{a: {{layout: jsonl, annotations: photos.jsonl, images: 'pipe:{_TOUCH}'}}}}",
    "sets: {a: {layout: jsonl, annotations: photos.jsonl, images: '{0..99999999999}'}}",
    "sets: {a: {layout: jsonl, annotations: zero, images: images}}",
    "sets: {a: {layout: jsonl, annotations: photos.jsonl, images: images, limit: -3}}",
)  # fmt: skip
LISTS = (
    "@list.txt\n", "@keys.txt\n", "@nothing\n", f"pipe:{_TOUCH}\n", f"shards/00000.tar\npipe:{_TOUCH}\n",
    f"$({_TOUCH})\n", "{0..99999999999}\n", "{0..9}" * 15 + "\n", "\0\n", "\ufeffshards/00000.tar\n", "\udcff\n",
    "shards/00000.tar\n" * 3, "", "\n\n", "zero\n", "shards\n", "x" * 100_000 + "\n", "{\n", "shards/*.tar\n",
)  # fmt: skip

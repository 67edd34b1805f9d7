"""``keyclip store diff``: how two stores differ."""

import json
from dataclasses import asdict, dataclass

import store
from store.common.errors import FieldNotFoundError
from store.common.settings import Cosine, Positional
from tools.commands.store.base import first_of
from tools.query.differences import MAX_EXAMPLES, FieldDifference, compare
from tools.query.printing import printable, progress_bar


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Compare two stores field by field: how vectors were made, which keys they have, captions and vectors.

    Exit status 1 if anything differs.

    Example:
        keyclip store diff cc3m.store cc3m-int8.store --cosine 0.999
    """

    a: Positional[str]
    """Folder or URL of a store."""
    b: Positional[str]
    """Folder or URL of another one."""
    fields: tuple[str, ...] = ()
    """Fields to compare; all by default."""
    cosine: Cosine = 0.9999
    """Vectors of one key differ if their cosine is less, or if one is more than 1 % longer than the other."""
    json: bool = False
    """Print json."""


def run(config: Config) -> int:
    """Print the differences."""
    a, b = store.open(config.a), store.open(config.b)
    in_a, in_b = set(a.survey()), set(b.survey())
    if absent := [name for name in config.fields if name not in in_a | in_b]:
        there = ", ".join(map(repr, sorted(in_a | in_b)))
        raise FieldNotFoundError(f"neither store has a field {absent[0]!r}; there are {there or 'none'}")
    wanted = set(config.fields) or in_a | in_b
    only_a, only_b = sorted((in_a - in_b) & wanted), sorted((in_b - in_a) & wanted)
    progress = progress_bar(config.json)
    shared = sorted(in_a & in_b & wanted)
    found = [compare(a.field(name), b.field(name), config.cosine, progress) for name in shared]
    same = not only_a and not only_b and all(one.same for one in found)
    if config.json:
        fields = {one.field: asdict(one) for one in found}
        print(json.dumps({"same": same, "only_in_a": only_a, "only_in_b": only_b, "fields": fields}))
    else:
        for name, place in [(name, a.path) for name in only_a] + [(name, b.path) for name in only_b]:
            print(printable(f"{name}: only in {place}"))
        for one in found:
            _show(one)
        print("the stores are the same" if same else "the stores differ")
    return 0 if same else 1


def _show(one: FieldDifference) -> None:
    cosine = "" if one.least_cosine is None else f", least cosine {one.least_cosine:.6f}"
    print(f"{printable(one.field)}: {one.num_shared:,} keys in both, {one.num_identical:,} vectors identical{cosine}")
    for clause in one.spec:
        print(f"  {printable(clause)}")
    for keys, what in (
        (one.only_in_a, "keys only in the first"),
        (one.only_in_b, "keys only in the second"),
        (one.captions, "captions differ"),
        (one.vectors, "vectors differ"),
    ):
        if keys.count:
            print(f"  {keys.count:,} {what}: {first_of(keys.examples, MAX_EXAMPLES, keys.count)}")

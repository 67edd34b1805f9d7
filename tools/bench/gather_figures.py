"""The figures of ``keyclip bench store`` as tables, and the bars that they must clear."""

from collections.abc import Iterator, Sequence
from typing import Any

from tools.bench.bars import Bar, bar_table

LIMIT, LMDB, ZARR, TAR, LANCE = "np.memmap take", "keyclip lmdb", "keyclip zarr", "tar sidecar", "lance take"


def bars(result: dict[str, Any]) -> list[Bar]:
    """The bars that the figures at hand can decide."""
    return [*_gather_bars(result), *_size_bars(result["sizes"])]


def _gather_bars(result: dict[str, Any]) -> Iterator[Bar]:
    rates = {each["name"]: each["vectors_per_second"] for each in result["contenders"]}
    random = rates[LMDB]["random"]
    yield Bar(what="lmdb, random keys / memmap take", measured=random / rates[LIMIT]["random"], target=0.8)
    if TAR in rates:
        yield Bar(what="lmdb, random keys / tar sidecar", measured=random / rates[TAR]["ordered"], target=25)
    if LANCE in rates:
        yield Bar(what="lmdb, random keys / lance take", measured=random / rates[LANCE]["random"], target=5)
    for pattern, target in (("ordered", 0.4), ("window", 0.2)):
        ratio = rates[ZARR][pattern] / rates[LIMIT][pattern]
        yield Bar(what=f"zarr, {pattern} keys / memmap take", measured=ratio, target=target)
    for each in result["contenders"]:
        if each["name"] in (LMDB, ZARR):
            ratio = each["bytes_per_vector"] / (2 * result["dim"])
            yield Bar(what=f"{each['name']}, bytes on disk / payload", measured=ratio, target=1.03, at_most=True)


def _size_bars(sizes: Sequence[dict[str, Any]]) -> Iterator[Bar]:
    if len(sizes) < 2:
        return
    small, large = sizes[0], sizes[-1]
    ratio = large["vectors_per_second"] / small["vectors_per_second"]
    compared = f"{large['num_keys']:,} keys / {small['num_keys']:,} keys"
    yield Bar(what=f"gather, {compared}", measured=ratio, target=0.8)
    at = f"at {large['num_keys']:,} keys"
    yield Bar(what=f"open {at}", measured=large["open_seconds"], target=0.2, at_most=True, unit=" s")
    megabytes = large["resident_bytes_beyond_page_cache"] / 1e6
    yield Bar(what=f"memory of a reader {at}", measured=megabytes, target=300, at_most=True, unit=" MB")


def report(result: dict[str, Any]) -> str:
    """All tables for people."""
    lines = [f"Gathers of 1,024 of {result['num_vectors']:,} vectors, {result['dim']}-d float16; vectors/s (/ limit)"]
    lines.append(f"{'':22}{'random':>18}{'ordered':>18}{'window 10k':>18}{'bytes / payload':>18}")
    limit = next(each["vectors_per_second"] for each in result["contenders"] if each["name"] == LIMIT)
    for each in result["contenders"]:
        rates = [each["vectors_per_second"].get(pattern) for pattern in limit]
        cells = [f"{r:,.0f} ({r / limit[p]:.2f})" if r else "-" for r, p in zip(rates, limit, strict=True)]
        payload = each["bytes_per_vector"] / (2 * result["dim"])
        lines.append(f"{each['name']:22}" + "".join(f"{cell:>18}" for cell in cells) + f"{payload:18.3f}")
    lines += [f"skipped: {name}" for name in result["skipped"]]
    lines += ["", *_cold_table(result["cold"]), "", *_size_table(result)]
    lines += ["", *bar_table(bars(result))]
    return "\n".join(lines)


def _cold_table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield f"{'Cold page cache, random keys':32}{'first batch':>14}{'vectors/s':>14}{'read from disk':>16}"
    for row in rows:
        read = f"{row['bytes_read'] / 1e6:,.0f} MB"
        yield f"{row['name']:32}{row['first_batch_seconds']:12.3f} s{row['vectors_per_second']:14,.0f}{read:>16}"


def _size_table(result: dict[str, Any]) -> Iterator[str]:
    if not result["sizes"]:
        return
    yield f"keyclip lmdb by size, {result['size_dim']}-d {result['size_dtype']}, random keys"
    head = f"{'keys':>12}{'vectors/s':>12}{'places known':>14}"
    yield head + f"{'open':>11}{'first get':>11}{'memory':>10}{'bytes / payload':>17}"
    for row in result["sizes"]:
        rates = f"{row['vectors_per_second']:12,.0f}{row['vectors_per_second_places_known']:14,.0f}"
        seconds = f"{1e3 * row['open_seconds']:8.1f} ms{1e3 * row['first_get_seconds']:8.1f} ms"
        memory = f"{row['resident_bytes_beyond_page_cache'] / 1e6:.0f} MB"
        payload = row["bytes_per_vector"] / row["payload_bytes_per_vector"]
        yield f"{row['num_keys']:12,}{rates}{seconds}{memory:>10}{payload:17.3f}"

"""Shards behind a real HTTP server and behind commands: streamed, still joined by key."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import pytest

from store.common.errors import ConfigError, DamagedShardError, MissingKeysError, ShardNotFoundError, StaleCaptionError
from store.common.settings import build
from tests.trainer.conftest import KEYS
from tests.trainer.examples import CAPTION_DIM, captions_of, make_store, sample_members, vectors, write_shard, write_tar
from tests.trainer.launching import deepspeed
from trainer.data.loader import batches, make_plan
from trainer.data.pairs import PairData
from trainer.data.streaming import PairStream, is_streamed
from trainer.images.transform import BrokenImageError
from trainer.model.towers import load_image_tower
from trainer.stage2 import Stage2, Stage2Config

SHORT = vectors("llm/short", 24, CAPTION_DIM)


class Handler(SimpleHTTPRequestHandler):
    """Serves files; ``cut/NAME`` promises the whole file and breaks off in its middle."""

    def do_GET(self) -> None:
        if not self.path.startswith("/cut/"):
            return super().do_GET()
        content = (Path(self.directory) / self.path.removeprefix("/cut/")).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        self.close_connection = True
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """Address and folder of a server; its six shards hold four of :data:`KEYS` each."""
    folder = tmp_path_factory.mktemp("served")
    for number in range(6):
        write_shard(folder / f"{number:05d}.tar", KEYS[4 * number : 4 * number + 4])
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", folder
        running.shutdown()


@pytest.fixture
def streamed(settings, server) -> dict[str, Any]:
    """Settings of stage 2 with shards that stand behind the server."""
    return settings | {"shards": (f"{server[0]}/{{00000..00005}}.tar",), "fields": ("llm/short",)}


def make_stream(settings: dict[str, Any]) -> PairStream:
    config = build(Stage2Config, settings)
    return PairStream(config.data, load_image_tower(config.clip))


def load(data: PairStream, steps: range, rank: int = 0, ranks: int = 1, workers: int = 0, batch: int = 4, **settings):
    plan = make_plan(sum(source.epoch_size for source in data.sources), batch, ranks)
    options = {"seed": 0, "window": 1, "accumulation": 1, "pin_memory": False, **settings}
    return list(batches(data, plan, steps, rank=rank, ranks=ranks, workers=workers, **options))


def keys_of(loaded) -> list[int]:
    """Numbers of the keys whose vectors are in the batches."""
    rows = np.concatenate([batch["caption"].numpy() for batch in loaded])
    found = [np.flatnonzero((row == SHORT).all(axis=1)) for row in rows]
    assert all(len(at) == 1 for at in found)
    return [int(at[0]) for at in found]


def test_shards_that_cannot_be_addressed_are_streamed_and_others_are_not(settings, streamed, shards):
    assert isinstance(Stage2(build(Stage2Config, streamed)).data, PairStream)
    assert isinstance(Stage2(build(Stage2Config, settings)).data, PairData)
    assert is_streamed(build(Stage2Config, settings | {"shards": (shards[0], f"pipe:cat {quote(shards[1])}")}).data)


def test_a_pass_holds_every_sample_once_in_an_order_of_its_own(streamed):
    loaded = load(make_stream(streamed), range(18))
    passes = [keys_of(loaded[6 * nth : 6 * nth + 6]) for nth in range(3)]
    assert [sorted(keys) for keys in passes] == [list(range(24))] * 3
    assert len({tuple(keys) for keys in [*passes, range(24)]}) == 4


def test_images_are_those_of_the_same_key(streamed, settings, server):
    """As the local loader gives them: whole pictures, without random crops."""
    more = {"shards": (f"{server[1]}/*.tar",), "min_crop": 1.0, "fields": ("llm/short",)}
    local = build(Stage2Config, settings | more)
    tower = load_image_tower(local.clip)
    addressed = PairData(local.data, tower, 0).load(np.arange(24), 0, np.arange(24))
    loaded = load(make_stream(streamed | {"min_crop": 1.0}), range(6))
    images = np.concatenate([batch["image"].numpy() for batch in loaded]).astype(float)
    for image, key in zip(images, keys_of(loaded), strict=True):
        apart = np.abs(addressed["image"].numpy().astype(float) - image).mean(axis=(1, 2, 3))
        assert apart.argmin() == key


def test_a_small_buffer_keeps_the_shards_apart_and_a_large_one_mixes_them(streamed):
    kept, mixed = (keys_of(load(make_stream(streamed | {"stream_buffer": size}), range(6))) for size in (1, 100))
    changes = [sum(a // 4 != b // 4 for a, b in pairwise(keys)) for keys in (kept, mixed)]  # of the shard
    assert changes[0] < 14 < changes[1]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_ranks_and_workers_divide_the_shards(streamed, workers):
    data = make_stream(streamed)
    seen = [keys_of(load(data, range(6), rank, 2, workers, batch=4)) for rank in range(2)]
    assert sorted(seen[0] + seen[1]) == list(range(24))


def test_the_same_run_gives_the_same_batches(streamed):
    one, other = (load(make_stream(streamed), range(5)) for _ in range(2))
    assert all((a["image"] == b["image"]).all() for a, b in zip(one, other, strict=True))
    assert keys_of(one) == keys_of(other) != keys_of(load(make_stream(streamed), range(5), seed=1))


def test_a_continued_run_begins_at_the_shard_where_it_stopped(streamed):
    """Half of the pass is done: its first three shards; the other three come first, each sample once."""
    data = make_stream(streamed | {"stream_buffer": 1})
    before, after = keys_of(load(data, range(3))), keys_of(load(data, range(3, 6)))
    assert len(set(before) | set(after)) >= 20  # a buffer's sample may differ
    assert sorted(after) == sorted(set(after))


def test_what_is_left_out_is_counted(streamed, tmp_path):
    keys = tmp_path / "keys.txt"
    keys.write_text("\n".join(KEYS[:22]))
    members = [member for key in KEYS[:8] for member in sample_members(key)]
    members[3] = (members[3][0], b"torn")  # the image of the second
    members = [member for member in members if member[0] != f"{KEYS[5]}.jpg"]
    shard = write_tar(tmp_path / "a.tar", [*members, *sample_members("unknown"), *sample_members(KEYS[23])])
    keys.write_text("\n".join([*KEYS[:8], "unknown"]))
    more = {"shards": (f"pipe:cat {quote(shard)}",), "missing": "skip", "broken": "skip", "keys": keys}
    loaded = load(make_stream(streamed | more), range(3), batch=2)
    assert sorted(keys_of(loaded)) == [0, 2, 3, 4, 6, 7]
    left_out: Counter[str] = Counter()
    for batch in loaded:
        left_out.update(batch["left_out"])
    expected = {"broken image": 1, "without image": 1, "without a vector": 1, "not in the key list": 1}
    assert {reason: number for reason, number in left_out.items() if number} == expected


def test_errors_arrive_as_themselves(streamed, server, tmp_path):
    def fails(error: type[Exception], message: str, *shards: str, workers: int = 0, **more: Any) -> None:
        with pytest.raises(error, match=message):
            load(make_stream(streamed | {"shards": shards, **more}), range(12), workers=workers)

    address, folder = server
    fails(DamagedShardError, r"cut/00000\.tar' cannot be read as a tar", f"{address}/cut/00000.tar", workers=1)
    fails(DamagedShardError, r"none\.tar' cannot be read as a tar", f"{address}/none.tar")
    fails(DamagedShardError, "cannot be read as a tar", f"pipe:head -c 3000 {quote(str(folder))}/00000.tar")
    fails(DamagedShardError, "exit 3", f"pipe:cat {quote(str(folder))}/00000.tar; exit 3")
    fails(ShardNotFoundError, "'nowhere://a.tar' cannot be opened", "nowhere://a.tar")
    unknown = write_shard(tmp_path / "unknown.tar", ["unknown"])
    fails(MissingKeysError, "1 of 1 keys have no vector in field 'llm/short'", f"pipe:cat {quote(unknown)}")
    fails(ConfigError, "1 shards of dataset 'captions', first .*, hold no sample to train on; left out: "
          "{'without a vector': 1}", f"pipe:cat {quote(unknown)}", missing="skip")  # fmt: skip
    stale = write_shard(tmp_path / "stale.tar", KEYS[:1], captions_of("another"))
    fails(StaleCaptionError, f"the caption of sample '{KEYS[0]}' is not the one", f"pipe:cat {quote(stale)}")
    torn = write_tar(tmp_path / "torn.tar", [(f"{key}.jpg", b"torn") for key in KEYS])
    fails(BrokenImageError, "sample '0000000..' of shard .pipe:cat .* or with --broken skip", f"pipe:cat {quote(torn)}")
    fails(BrokenImageError, "1000 images in a row are broken, last", f"pipe:cat {quote(torn)}", broken="skip")


def test_fewer_shards_than_loader_processes_are_refused(streamed):
    message = r"dataset 'captions' has 6 shards to stream to 8 loader processes \(ranks x workers\)"
    with pytest.raises(ConfigError, match=message):
        load(make_stream(streamed), range(1), ranks=4, workers=2)


def test_datasets_are_mixed_by_their_samples(streamed, server, tmp_path):
    """24 samples at weight 1 beside 24 at weight 0.5: two to one."""
    address, _ = server
    store_path = make_store(tmp_path / "b.store", KEYS[::-1])  # its vectors are those of other keys
    file = tmp_path / "datasets.yaml"
    shards = f"shards: '{address}/{{00000..00005}}.tar'"
    file.write_text(f"a: {{{shards}}}\nb: {{{shards}, store: '{store_path}', weight: 0.5}}\n")
    data = make_stream({**streamed, "shards": (), "datasets": file})
    assert [source.epoch_size for source in data.sources] == [24, 12]
    loaded = load(data, range(50), batch=6)
    assert len(set(keys_of(loaded))) == 24
    counts = np.bincount(keys_of(loaded), minlength=24)
    assert counts.sum() == 300
    assert 8 <= counts.min() <= counts.max() <= 17


@pytest.mark.slow
def test_a_run_trains_on_streams_under_the_launcher_and_says_what_holds(streamed, server):
    arguments: list[object] = []
    for name, value in (streamed | {"workers": 1, "threads": 1, "epochs": 2, "log_every": 1}).items():
        arguments += [f"--{name.replace('_', '-')}", *(value if isinstance(value, tuple) else [value])]
    done = deepspeed("trainer", "stage2", *arguments)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    assert "dataset captions: 24 samples; streamed, so their number is that of the stored vectors" in said
    log = [json.loads(line) for line in (streamed["output"] / "log.jsonl").read_text().splitlines()]
    assert [row["epoch_counts"]["trained_on"] for row in log if "epoch_counts" in row] == [24, 24]

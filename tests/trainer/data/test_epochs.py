"""What a run says and logs of its epochs."""

from trainer.data.epochs import EpochCounts, begin_sentences, epoch_sentence
from trainer.data.loader import make_plan
from trainer.data.order import Source

SOURCES = [Source("cc3m", [20, 11], 0.5, {"without image": 0, "without a vector": 2}), Source("cc12m", [14])]
PLAN = make_plan(30, 8)  # 16 and 14: 3 steps an epoch, 6 left over


def test_counts_add_up_to_the_samples_of_the_epoch():
    counts = EpochCounts(PLAN, SOURCES)
    assert counts.add(1, {"broken image": 1}) == {"epoch_left_out": {"broken image": 1}}
    assert counts.add(2, {"broken image": 0}) == {"epoch_left_out": {"broken image": 1}}
    end = counts.add(3, {"broken image": 2, "without a vector": 1})["epoch_counts"]
    assert end == {
        "epoch": 1,
        "trained_on": 20,
        "left_out": {"without a vector": 1, "broken image": 3},
        "left_over": 6,
        "datasets": {
            "cc3m": {"samples": 31, "weight": 0.5, "without image": 0, "without a vector": 2},
            "cc12m": {"samples": 14, "weight": 1.0},
        },
    }
    assert end["trained_on"] + sum(end["left_out"].values()) + end["left_over"] == 30


def test_every_epoch_is_counted_anew():
    counts = EpochCounts(PLAN, SOURCES)
    counts.add(3, {"broken image": 5})
    assert counts.add(4, {}) == {"epoch_left_out": {}}
    assert counts.add(6, {})["epoch_counts"]["trained_on"] == 24


def test_a_continued_epoch_goes_on_counting():
    before = EpochCounts(PLAN, SOURCES).add(4, {"broken image": 2})
    end = EpochCounts(PLAN, SOURCES, {"step": 4, **before}).add(6, {"broken image": 1})["epoch_counts"]
    assert (end["epoch"], end["left_out"]) == (2, {"broken image": 3})


def test_a_run_continued_at_an_epochs_end_begins_to_count():
    before = EpochCounts(PLAN, SOURCES).add(3, {"broken image": 2})
    assert EpochCounts(PLAN, SOURCES, {"step": 3, **before}).add(4, {}) == {"epoch_left_out": {}}


def test_the_end_of_an_epoch_in_words():
    end = EpochCounts(PLAN, SOURCES).add(6, {"broken image": 3})["epoch_counts"]
    assert epoch_sentence(end) == (
        "epoch 2: 21 samples trained on; 3 left out: broken image; "
        "6 left over, which filled no batch (other ones every epoch)"
    )
    assert (
        epoch_sentence(EpochCounts(make_plan(8, 8), []).add(1, {})["epoch_counts"]) == "epoch 1: 8 samples trained on"
    )


def test_the_begin_in_words():
    assert begin_sentences("stage2", 0, 6, PLAN, SOURCES, 2).splitlines() == [
        "dataset cc3m: 31 samples; 2 left out: without a vector; weight 0.5: 16 an epoch",
        "dataset cc12m: 14 samples",
        "stage2 starts: 30 samples, batch 8 on 2 ranks, 6 steps, 3 an epoch, "
        "6 left over in each (other ones every time)",
    ]
    assert begin_sentences("stage1", 2, 6, make_plan(8, 8), [], 1).startswith("stage1 continues at step 2: 8 samples")

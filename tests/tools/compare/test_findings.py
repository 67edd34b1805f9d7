"""What a demonstration says of itself follows from its result files."""

import json

from tools.compare.findings import sentences


def write(folder, name, recall, accuracy, drift):
    ways = ("image_to_text", "text_to_image")
    content = {
        "retrieval": {
            name: {way: {"R@1": recall} for way in ways} for name in ("long, shown", "long, others", "short, others")
        },
        "zeroshot_sets": {name: {"top1": accuracy} for name in ("classes", "classes, others")},
        "drift_sets": {"alt": {way: {"mean_rank": drift} for way in ways}},
    }
    file = folder / f"{name}.json"
    file.write_text(json.dumps(content))
    return file


def test_every_claim_is_counted_over_seeds_and_a_level_or_lost_one_is_said_to_be_so(tmp_path):
    lines = sentences(
        {
            "clip": [write(tmp_path, "clip", 0.1, 0.9, 3)],
            "llm2clip": [write(tmp_path, f"l{seed}", 0.5, 0.2 + seed / 10, 9) for seed in range(2)],
            "proclip": [write(tmp_path, f"p{seed}", 0.5, 0.3, 4) for seed in range(2)],
        }
    )
    title = "long captions of topics that stage 2 showed, R@1 in % (mean of both ways)"
    assert f"{title}: CLIP 10.0, LLM2CLIP 50.0, ProCLIP 50.0" in lines
    assert "  LLM2CLIP is better than CLIP in 2 of 2 seeds: as in the paper" in lines
    assert "  ProCLIP is better than LLM2CLIP in 0 of 2 seeds: NOT as in the paper" in lines  # level in retrieval
    assert "  ProCLIP is better than LLM2CLIP in 1 of 2 seeds: NOT as in the paper" in lines  # zero-shot
    assert lines[-1] == "  ProCLIP is better than LLM2CLIP in 2 of 2 seeds: as in the paper"  # drift: lower is better
    assert not any("self-distillation" in line for line in lines)

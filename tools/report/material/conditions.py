"""Under which conditions the numbers were measured, in sentences: base model, data, budgets, test sets and seeds."""

from collections.abc import Mapping, Sequence

from tools.report.material.average import seeds_in_words
from tools.report.material.inputs import Material, Result, Run
from tools.report.material.provenance import base_model, num_samples, training

_WEB = "may hold images like the test images"
PRETRAINING = {
    "openai/": f"OpenAI's CLIP was pretrained on 400 million pairs from the web that are not public: they {_WEB}.",
    "laion": f"This CLIP was pretrained on LAION's pairs from the web: they {_WEB}.",
    "datacomp": f"This CLIP was pretrained on DataComp's pairs from the web: they {_WEB}.",
    "siglip": f"SigLIP was pretrained on WebLI, pairs from the web that are not public: they {_WEB}.",
    "eva02": f"EVA02-CLIP was pretrained on Merged-2B, pairs from the web: they {_WEB}.",
}
UNKNOWN = "What this CLIP's pretraining has seen is not known here; --pretraining SENTENCE says it in the report."


def conditions(material: Material, arms: Sequence[Result], pretraining: str | None = None) -> list[str]:
    """Sentences on what was compared: base models and their pretraining, data, budgets, test sets, seeds.

    Args:
        material: runs and results.
        arms: the results' means over seeds.
        pretraining: a sentence on what the CLIP's pretraining has seen; by default what is known of it.
    """
    models = {arm.clip: base_model(arm) for arm in arms}
    names = [f"{clip} ({models[clip]})" if models[clip] else clip for clip in dict.fromkeys(arm.clip for arm in arms)]
    found: list[str] = []
    if names:
        known = (text for key, text in PRETRAINING.items() if key in names[0].lower())
        found = [f"Base model: {', '.join(names)}.", pretraining or next(known, UNKNOWN)]
    found += [text for text in (_data(arms), _budgets(material.runs, arms), _test_sets(arms)) if text]
    if any(arm.num_seeds > 1 for arm in arms):
        found.append(f"Each arm was trained with {seeds_in_words(arms)}: values are means ± standard deviation.")
    elif any(arm.checkpoint for arm in arms):
        found.append("Each arm was trained once, with one seed: how far another seed would move it is not known.")
    return found


def doubts(results: Sequence[Result]) -> list[str]:
    """What speaks against comparing these results."""
    found = []
    if len({(tuple(result.shards), result.num_images) for result in results}) > 1:
        counts = ", ".join(f"{result.name}: {result.num_images:,} images" for result in results)
        found.append(f"These results were not measured on the same images ({counts}); do not compare them.")
    if len({result.clip for result in results}) > 1:
        found.append("These results start from different CLIP models: compare the arms of one base model.")
    return found


def chance(results: Sequence[Result]) -> str:
    """How far chance alone moves a recall on this many queries (standard error of a share, at its worst near 50 %)."""
    fewest = min(result.num_images for result in results)
    points = 100 * 2 * (0.25 / max(1, fewest)) ** 0.5
    return (
        f"With {fewest:,} images, chance alone moves a single recall or accuracy by up to ±{points:.1f} points "
        "(two standard errors, at 50 %); smaller differences say little on their own."
    )


def _data(arms: Sequence[Result]) -> str:
    counts = sorted({count for arm in arms if (count := num_samples(arm)) is not None})
    recipes = sorted({str(recipe) for arm in arms if (recipe := training(arm).get("recipe"))})
    named = f", by the recipe {', '.join(recipes)}" if recipes else ""
    if not counts:
        return ""
    sizes = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    return f"Fine-tuned on {sizes} samples{named}."


def _budgets(runs: Sequence[Run], arms: Sequence[Result]) -> str:
    """Whether the stage-2 runs have seen as many samples: from the logs, or else from the steps of the checkpoints."""
    last = {run.name: run.log[-1] for run in runs if _is_stage2(run.config)}
    if len(last) > 1 and all("samples" in line for line in last.values()):
        return _equal({name: int(line["samples"]) for name, line in last.items()}, "samples in stage 2")
    entries = {arm.name: training(arm) for arm in arms}
    steps = {name: entry["step"] for name, entry in entries.items() if _is_stage2(entry) and entry.get("step")}
    return _equal(steps, "steps in stage 2") if len(steps) > 1 else ""


def _is_stage2(entry: Mapping[str, object]) -> bool:
    return str(entry.get("stage")) in ("2", "stage2")


def _equal(counts: Mapping[str, int], what: str) -> str:
    if len(set(counts.values())) == 1:
        return f"Equal budgets: every tuned arm was given {next(iter(counts.values())):,} {what}."
    listed = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return f"Budgets are not equal: {what}: {listed}."


def _test_sets(arms: Sequence[Result]) -> str:
    sizes: dict[str, int] = {}
    for arm in arms:
        for name, entry in (arm.data.get("sets") or {}).items():
            if not entry.get("part") and (count := entry.get("num_images")):
                sizes[name] = count
    if not sizes:
        return f"Evaluated on {max(arm.num_images for arm in arms):,} test images." if arms else ""
    if len(sizes) > 6:
        low, high = min(sizes.values()), max(sizes.values())
        return f"Evaluated on {len(sizes)} test sets of {low:,} to {high:,} images."
    return f"Evaluated on {', '.join(f'{name} ({count:,} images)' for name, count in sizes.items())}."

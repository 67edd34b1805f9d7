"""The arms of a comparison: what each trains and from where, and the groups of arms that the paper's tables compare."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from store.common.errors import ConfigError
from store.common.settings import settings_of

Settings = Mapping[str, object]
STAGES = ("stage1", "stage2")


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to tune a CLIP.

    Attributes:
        name: of its folder and its result, such as ``proclip@lambda_reg=2e-4``; also what ``--arms`` takes.
        title: what tables call it.
        stage1: settings of its stage 1 that not all arms have; None where it has no stage 1.
        stage2: the same for stage 2.
    """

    name: str
    title: str
    stage1: Settings | None = None
    stage2: Settings | None = None

    @property
    def stage1_name(self) -> str | None:
        """The folder of its stage 1: arms that train the same one share it."""
        return None if self.stage1 is None else _name("stage1", self.stage1)


_LIT = {"lock_image": True, "lambda_reg": 0, "layer_decay": 1}  # a locked tower takes no layer-wise rates
ARMS = {
    arm.name: arm
    for arm in (
        Arm("clip", "CLIP"),
        Arm("lit", "LiT", stage2=_LIT),
        Arm("llm2clip", "LLM2CLIP", stage2={"lambda_reg": 0}),
        Arm("stage1", "stage 1 only", stage1={}),
        Arm("no-distillation", "without self-distillation", stage1={}, stage2={"lambda_reg": 0}),
        Arm("no-structure", "without structure loss", stage1={"structure": False}, stage2={"structure": False}),
        Arm("fixed", "ProCLIP, fixed teacher", stage1={}, stage2={"teacher": "fixed"}),
        Arm("proclip", "ProCLIP", stage1={}, stage2={"teacher": "ema"}),
    )
}

# tables and figures of the paper; what varies beyond the arms has flags of its own: --clip, --model, --finetune-samples
GROUPS: dict[str, tuple[str, ...]] = {
    "paper": tuple(ARMS),
    "table5": ("clip", "llm2clip", "stage1@structure=False", "stage1", "no-distillation", "proclip"),
    "table6": ("clip", "llm2clip", "proclip"),
    "table7": tuple(f"proclip@lambda_reg={value}" for value in ("0", "2e-4", "4e-4", "6e-4", "1e-3")),
    "table14": ("llm2clip", "proclip", "proclip@num_blocks=12"),
    "figure6": ("clip", "proclip"),
}

# what all arms of a comparison share
_SHARED = {
    "output", "store", "fields", "teacher_fields", "shards", "keys", "datasets", "data", "missing", "clip", "stage1",
    "seed", "arm", "max_steps", "epochs", "eval_every", "eval_sets", "eval_store", "eval_field",
}  # fmt: skip


def expand(words: Iterable[str]) -> list[Arm]:
    """The arms that words name, each once: names of arms or groups, or an arm with settings of its own.

    ``proclip@num_blocks=12,stage2.learning_rate=2e-5`` is ProCLIP with these settings in place of the comparison's. A
    setting counts for every stage of the arm that has it; ``stage1.`` or ``stage2.`` before it picks one.

    Raises:
        ConfigError: no such arm or group, or a setting that the arm's stages do not have or that all arms share.
    """
    names = [name for word in words for name in GROUPS.get(word, (word,))]
    return list({name: _parse(name) for name in names}.values())


def flags(settings: Settings) -> list[str]:
    """The settings as words of a command line."""
    return [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def _parse(text: str) -> Arm:
    base, _, rest = text.partition("@")
    if base not in ARMS:
        raise ConfigError(f"no arm {base!r}; there are {', '.join(ARMS)}, and the groups {', '.join(GROUPS)}")
    if not rest:
        return ARMS[base]
    arm, stages = ARMS[base], {"stage1": ARMS[base].stage1, "stage2": ARMS[base].stage2}
    for part in rest.split(","):
        name, equals, value = part.partition("=")
        stage, dot, setting = name.rpartition(".")
        having = [s for s in ([stage] if dot else STAGES) if stages.get(s) is not None and setting in _settings(s)]
        if not equals or not having or setting in _SHARED or "/" in value:
            raise ConfigError(
                f"arm {text!r} sets {part!r}; expected SETTING=VALUE with a setting of a stage that {base!r} trains, "
                f"and none that all arms share ({', '.join(sorted(_SHARED))})"
            )
        stages |= {s: {**(stages[s] or {}), setting: value} for s in having}
    return Arm(text, f"{arm.title} ({rest.replace(',', ', ')})", stages["stage1"], stages["stage2"])


def _settings(stage: str) -> set[str]:
    """The names of a stage's settings."""
    from trainer.stage1 import Stage1Config
    from trainer.stage2 import Stage2Config

    return set(settings_of({"stage1": Stage1Config, "stage2": Stage2Config}[stage]))


def _name(base: str, settings: Settings) -> str:
    return base + ("@" if settings else "") + ",".join(f"{name}={value}" for name, value in settings.items())

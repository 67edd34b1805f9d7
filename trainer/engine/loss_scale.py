"""DeepSpeed's dynamic loss scale under fp16 and ZeRO: its state in a checkpoint.

Gradients of a scaled loss that overflow make DeepSpeed leave the step out and lower the scale; a stretch of steps
without overflow raises it. Written against DeepSpeed 0.19.8, which without ZeRO does not scale the loss though it
divides the gradients; ``RunConfig`` refuses that.
"""

from typing import Any

from store.common.errors import CheckpointError, KeyclipError


class DivergedError(KeyclipError, ArithmeticError):
    """The loss is not finite."""


_NAMES = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")


def loss_scale_state(engine: Any) -> dict[str, float] | None:
    """The scale, the counters that change it next, and the number of steps left out; None except under fp16."""
    scaler = _scaler(engine)
    if scaler is None:
        return None
    return {name: getattr(scaler, name) for name in _NAMES} | {"skipped_steps": engine.skipped_steps}


def set_loss_scale_state(engine: Any, state: dict[str, float] | None) -> None:
    """Restore :func:`loss_scale_state`; without a state, DeepSpeed's start values remain."""
    scaler = _scaler(engine)
    if scaler is None or state is None:
        return
    if absent := [name for name in (*_NAMES, "skipped_steps") if name not in state]:
        raise CheckpointError(f"the checkpoint's loss_scale has no {absent[0]!r}; give another checkpoint")
    for name in _NAMES:
        setattr(scaler, name, state[name])
    engine.skipped_steps = int(state["skipped_steps"])


def take_step(engine: Any) -> bool:
    """Make the engine's step; returns whether it changed the weights.

    It does not between micro-batches, nor under fp16 where the gradient overflows on some rank: then nothing that
    follows the weights may move either.

    Raises: DivergedError: the gradient overflows though the scale cannot be lowered any more.
    """
    try:
        engine.step()
    except Exception as error:
        if "loss scale already at minimum" not in str(error):  # DeepSpeed raises a bare Exception
            raise
        raise DivergedError(
            "the gradient overflows in fp16 even unscaled: the loss diverges; lower learning_rate, or use bf16"
        ) from error
    return bool(engine.was_step_applied())


def _scaler(engine: Any) -> Any:
    """The object that holds the scale; None where gradients are not scaled."""
    scaler = getattr(engine.optimizer, "loss_scaler", None)
    return scaler if hasattr(scaler, "last_overflow_iter") else None

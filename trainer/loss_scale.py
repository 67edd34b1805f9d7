"""DeepSpeed's dynamic loss scale under fp16: what a checkpoint must hold of it. Written against DeepSpeed 0.19.8.

Gradients of a scaled loss that overflow make DeepSpeed leave the step out and lower the scale; a stretch of steps
without overflow raises it.
"""

from typing import Any

from trainer.log import DivergedError

_NAMES = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")


def loss_scale_state(engine: Any) -> dict[str, float] | None:
    """The scale and when it changes next, as plain numbers, with the number of steps left out; None but under fp16."""
    scaler = _scaler(engine)
    if scaler is None:
        return None
    state = {name: getattr(scaler, name) for name in _NAMES if getattr(scaler, name, None) is not None}
    return state | {"skipped_steps": engine.skipped_steps}


def set_loss_scale_state(engine: Any, state: dict[str, float] | None) -> None:
    """Restore :func:`loss_scale_state`; what this ZeRO stage does not keep is left alone."""
    scaler = _scaler(engine)
    if scaler is None or state is None:
        return
    for name in _NAMES:
        if name in state and hasattr(scaler, name):
            setattr(scaler, name, state[name])
    engine.skipped_steps = int(state["skipped_steps"])


def take_step(engine: Any) -> bool:
    """The engine's step; whether it changed the weights.

    It does not between micro-batches, and under fp16 where the gradient overflows: then nothing that follows the
    weights may move either.

    Raises:
        DivergedError: the gradient overflows though the scale cannot be lowered any more.
    """
    scaler = _scaler(engine)
    before, skipped = (scaler.cur_scale if scaler else None), engine.skipped_steps
    try:
        engine.step()
    except Exception as error:
        if "loss scale already at minimum" not in str(error):  # with ZeRO, DeepSpeed raises a bare Exception
            raise
        raise DivergedError(_DIVERGED) from error
    if before == 1 and engine.skipped_steps > skipped:  # without ZeRO, it would go on for ever
        raise DivergedError(_DIVERGED)
    return bool(engine.was_step_applied())


_DIVERGED = "the gradient overflows in fp16 even unscaled: the loss diverges; lower learning_rate, or use bf16"


def _scaler(engine: Any) -> Any:
    """What holds the scale: another object with ZeRO than without; None where gradients are not scaled."""
    optimizer = engine.optimizer
    scaler = getattr(optimizer, "loss_scaler", None) or getattr(optimizer, "loss_scale_config", None)
    return scaler if getattr(scaler, "last_overflow_iter", None) is not None else None

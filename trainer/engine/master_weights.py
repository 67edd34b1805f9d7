"""What the optimiser really owns: float32 master weights and Adam moments, whatever DeepSpeed wraps around them.

DeepSpeed keeps them in three places. Without ZeRO: in the module's parameters (float32), or in a copy beside
half-precision ones. With ZeRO 1 and 2: in flat partitions, of which each rank owns one. Written against
DeepSpeed 0.19.8.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True)
class Fragment:
    """The piece of one parameter's master weight that this rank owns.

    Attributes:
        start: position of the piece's first value in the flattened parameter.
        values: flat float32 view of the master weight's piece.
        state: the base optimiser's state entry that holds the piece's moments.
        moment: maps a moment tensor of that entry to the flat view of this piece.
        partitioned: whether other ranks own the rest (else every rank owns the whole).
    """

    start: int
    values: torch.Tensor
    state: dict[str, Any]
    moment: Callable[[torch.Tensor], torch.Tensor]
    partitioned: bool


def fragment(engine: Any, parameter: nn.Parameter) -> Fragment | None:
    """This rank's piece of the parameter's master weight; None where it owns none of it."""
    optimizer = engine.optimizer
    if hasattr(optimizer, "single_partition_of_fp32_groups"):  # ZeRO 1 and 2
        mapping = parameter._hp_mapping  # type: ignore[attr-defined]
        if mapping is None:
            return None
        flat = optimizer.single_partition_of_fp32_groups[mapping.param_group_index]
        address, within = mapping.get_hp_fragment_address(), mapping.lp_fragment_address

        def narrow(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.data.view(-1).narrow(0, address.start, address.numel)

        return Fragment(within.start, narrow(flat), _state(optimizer.optimizer, flat), narrow, True)
    master = parameter
    base = optimizer
    if hasattr(optimizer, "fp32_groups"):  # half precision without ZeRO
        master = _copy_of(optimizer, parameter)
        base = optimizer.optimizer

    def flatten(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.data.view(-1)

    return Fragment(0, flatten(master), _state(base, master), flatten, False)


def _copy_of(optimizer: Any, parameter: nn.Parameter) -> nn.Parameter:
    for halves, masters in zip(optimizer.fp16_groups, optimizer.fp32_groups, strict=True):
        for half, master in zip(halves, masters, strict=True):
            if half is parameter:
                return master
    raise LookupError("the parameter is not among the optimiser's")


def _state(optimizer: torch.optim.Optimizer, key: torch.Tensor) -> dict[str, Any]:
    """The optimiser's state entry, made as AdamW makes it at its first step where it is not there yet."""
    state = optimizer.state[key]
    if "exp_avg" not in state:
        state["step"] = torch.tensor(0.0)
        for name in MOMENTS:
            state[name] = torch.zeros_like(key)
    return state


def full_state(engine: Any, parameter: nn.Parameter, wanted: bool = True) -> dict[str, torch.Tensor]:
    """Master weight and moments of one parameter, whole: float32 CPU tensors of its shape.

    A collective call: every rank must make it for the same parameters in the same order. On ranks where it is not
    ``wanted`` nothing is copied to the CPU, and nothing returned.
    """
    if not wanted and not _is_partitioned(engine):
        return {}
    piece = fragment(engine, parameter)
    names = ("master", *MOMENTS)
    whole = parameter.new_zeros(len(names), parameter.numel(), dtype=torch.float32)
    if piece is not None:
        stop = piece.start + piece.values.numel()
        for row, name in zip(whole, names, strict=True):
            row[piece.start : stop] = piece.values if name == "master" else piece.moment(piece.state[name])
    if _is_partitioned(engine):
        dist.all_reduce(whole)
    if not wanted:
        return {}
    return {name: row.view(parameter.shape).cpu() for name, row in zip(names, whole, strict=True)}


def set_full_state(engine: Any, parameter: nn.Parameter, values: dict[str, torch.Tensor], step: int) -> None:
    """Set what :func:`full_state` returns, the parameter itself, and Adam's step count."""
    piece = fragment(engine, parameter)
    parameter.data.copy_(values["master"])
    if piece is None:
        return
    stop = piece.start + piece.values.numel()
    piece.values.copy_(values["master"].view(-1)[piece.start : stop])
    for name in MOMENTS:
        piece.moment(piece.state[name]).copy_(values[name].view(-1)[piece.start : stop])
    piece.state["step"] = torch.full_like(torch.as_tensor(piece.state["step"]), float(step))


def start_master_weights(engine: Any, weights: dict[nn.Parameter, torch.Tensor]) -> None:
    """Start from these float32 weights (parameter -> tensor of its shape), with Adam at step 0.

    DeepSpeed makes half-precision master weights from the already rounded parameters, and without ZeRO it has taken a
    step by then, with a gradient of zero: weights decayed, Adam's bias correction one step ahead.
    """
    for parameter, values in weights.items():
        zeros = torch.zeros_like(values)
        set_full_state(engine, parameter, {"master": values} | dict.fromkeys(MOMENTS, zeros), step=0)


def adam_step(engine: Any, parameters: Iterator[nn.Parameter]) -> int:
    """The step count that Adam's bias correction uses, from the first parameter of which this rank owns a piece."""
    for parameter in parameters:
        if (piece := fragment(engine, parameter)) is not None:
            return int(piece.state["step"])
    return 0


def clamp_master(engine: Any, parameter: nn.Parameter, low: float, high: float) -> None:
    """Hold a parameter in [low, high], in its master weight as in the module.

    Clamping the module's parameter alone does not last: the next step writes the master weight over it.
    """
    piece = fragment(engine, parameter)
    if piece is not None:
        piece.values.clamp_(low, high)
    parameter.data.clamp_(low, high)


def master_value(engine: Any, parameter: nn.Parameter) -> torch.Tensor:
    """The float32 master weight of one parameter, whole, on every rank and on its device. A collective call."""
    if parameter.dtype == torch.float32:
        return parameter.detach()
    piece = fragment(engine, parameter)
    whole = parameter.new_zeros(parameter.numel(), dtype=torch.float32)
    if piece is not None:
        whole[piece.start : piece.start + piece.values.numel()] = piece.values
    if _is_partitioned(engine):
        dist.all_reduce(whole)
    return whole.view(parameter.shape)


def _is_partitioned(engine: Any) -> bool:
    return hasattr(engine.optimizer, "single_partition_of_fp32_groups")

"""The optimiser's float32 master weights and Adam moments, whatever DeepSpeed wraps around them.

DeepSpeed keeps them in three places. Without ZeRO: in the module's parameters (float32), or in a copy of half-precision
ones. With ZeRO 1 and 2: in flat partitions, of which each rank owns one. Written against DeepSpeed 0.19.8, whose own
``safe_get_full_fp32_param`` returns nothing without ZeRO and hangs on ranks that own no fragment.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True)
class Fragment:
    """The piece of one parameter's master weight that this rank owns; without ZeRO the whole of it.

    Attributes:
        start: position of the piece's first value in the flattened parameter.
        values: flat float32 view of the master weight's piece.
        state: the base optimiser's state entry that holds the piece's moments.
        moment: maps a moment tensor of that entry to the flat view of this piece.
    """

    start: int
    values: torch.Tensor
    state: dict[str, Any]
    moment: Callable[[torch.Tensor], torch.Tensor]

    def of(self, whole: torch.Tensor) -> torch.Tensor:
        """The values of this piece in a tensor of the parameter's size."""
        return whole.view(-1)[self.start : self.start + self.values.numel()]


def fragment(engine: Any, parameter: nn.Parameter) -> Fragment | None:
    """This rank's piece of the parameter's master weight; None where it owns none of it."""
    optimizer = engine.optimizer
    if _is_partitioned(engine):
        mapping = parameter._hp_mapping  # type: ignore[attr-defined]
        if mapping is None:
            return None
        flat = optimizer.single_partition_of_fp32_groups[mapping.param_group_index]
        address = mapping.get_hp_fragment_address()

        def narrow(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.data.view(-1).narrow(0, address.start, address.numel)

        state = _state(optimizer.optimizer, flat)
        return Fragment(mapping.lp_fragment_address.start, narrow(flat), state, narrow)
    master, base = parameter, optimizer
    if hasattr(optimizer, "fp32_groups"):  # half precision without ZeRO
        pairs = zip(chain(*optimizer.fp16_groups), chain(*optimizer.fp32_groups), strict=True)
        master = next(copy for half, copy in pairs if half is parameter)
        base = optimizer.optimizer

    def flatten(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.data.view(-1)

    return Fragment(0, flatten(master), _state(base, master), flatten)


def _is_partitioned(engine: Any) -> bool:
    """Whether other ranks own parts of the master weights: ZeRO 1 and 2."""
    return hasattr(engine.optimizer, "single_partition_of_fp32_groups")


def _state(optimizer: torch.optim.Optimizer, key: torch.Tensor) -> dict[str, Any]:
    """The optimiser's state entry; before the first step it is made as AdamW makes it."""
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
        for row, name in zip(whole, names, strict=True):
            piece.of(row).copy_(piece.values if name == "master" else piece.moment(piece.state[name]))
    if _is_partitioned(engine):
        dist.all_reduce(whole)
    if not wanted:
        return {}
    return {name: row.view(parameter.shape).cpu() for name, row in zip(names, whole, strict=True)}


def set_full_state(engine: Any, parameter: nn.Parameter, values: dict[str, torch.Tensor], step: int) -> None:
    """Set the values that :func:`full_state` returns, the parameter itself, and Adam's step count."""
    piece = fragment(engine, parameter)
    parameter.data.copy_(values["master"])
    if piece is None:
        return
    piece.values.copy_(piece.of(values["master"]))
    for name in MOMENTS:
        piece.moment(piece.state[name]).copy_(piece.of(values[name]))
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
    pieces = (fragment(engine, parameter) for parameter in parameters)
    return next((int(piece.state["step"]) for piece in pieces if piece is not None), 0)


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
        piece.of(whole).copy_(piece.values)
    if _is_partitioned(engine):
        dist.all_reduce(whole)
    return whole.view(parameter.shape)

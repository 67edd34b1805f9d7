"""DeepSpeed: the ranks, the engine and the optimiser's settings."""

import gc
import logging
import math
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import nn

from store.common.errors import ConfigError
from store.common.ranks import Ranks
from trainer.engine.master_weights import start_master_weights
from trainer.engine.rendezvous import PortInUseError, forget_meeting, num_local_ranks, prepare_environment
from trainer.model.layers import has_weight_decay
from trainer.settings.config import OptimConfig, RunConfig


def start_ranks(threads: int | None) -> tuple[int, int, torch.device]:
    """Join the ranks that the launcher started (one rank without a launcher): rank, number of ranks, device.

    ``threads`` are the CPU threads of each rank; by default the cores divided by the ranks of this machine.

    Raises: ConfigError: the launcher's variables do not fit each other; PortInUseError: the port to meet at is taken.
    """
    import deepspeed
    from deepspeed.utils import logger

    logger.setLevel(logging.WARNING)
    cuda = torch.cuda.is_available()
    # DeepSpeed would compile an operation for inference on CPUs under a lock file: a process killed in there leaves the
    # lock behind, and every later start waits for it for ever
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if not dist.is_initialized():
        prepare_environment()
        try:
            deepspeed.init_distributed("nccl" if cuda else "gloo", auto_mpi_discovery=False, verbose=False)
        except RuntimeError as error:  # torch's DistNetworkError
            if "EADDRINUSE" not in str(error):
                raise
            raise PortInUseError(os.environ["MASTER_PORT"]) from error
    ranks = Ranks.from_environment()
    torch.set_num_threads(threads or max(1, (os.cpu_count() or 1) // num_local_ranks(dist.get_world_size())))
    device = torch.device("cuda", ranks.local_rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    dist.barrier()
    forget_meeting(ranks)
    return dist.get_rank(), dist.get_world_size(), device


def stop_ranks() -> None:
    """Leave the ranks; without it, gloo's threads abort the process at exit."""
    if dist.is_initialized():
        dist.destroy_process_group()
        gc.collect()  # engines refer to groups and to each other


def leave(status: int) -> NoReturn:
    """End this process at once, without the interpreter's clean-up.

    An object that still refers to a group of ranks keeps its gloo threads alive. Now and then such a thread outlives
    the group in the clean-up and aborts a process that is done (``terminate called without an active exception``).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]], weight_decay: float, lr_scale: Callable[[str], float] | None = None
) -> list[dict[str, Any]]:
    """AdamW's groups: no weight decay on biases, norms, positional and class embeddings and the temperature.

    ``lr_scale`` gives each parameter, by name, its share of the learning rate; a group keeps it as ``lr_scale``.
    """
    members: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in named:
        if parameter.requires_grad:
            scale = 1.0 if lr_scale is None else lr_scale(name)
            members.setdefault((scale, not has_weight_decay(name, parameter)), []).append(parameter)
    return [
        {"params": members[scale, free], "weight_decay": 0.0 if free else weight_decay, "lr_scale": scale}
        for scale, free in sorted(members)
    ]


def set_learning_rate(engine: Any, rate: float) -> None:
    """Give every group its share of the learning rate."""
    for group in engine.optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]


def make_engine(
    module: nn.Module, config: RunConfig, ranks: int, lr_scale: Callable[[str], float] | None = None
) -> Any:
    """The DeepSpeed engine around a module whose forward returns ``(loss, report)``.

    Raises: ConfigError: the device cannot compute in fp16.
    """
    import deepspeed
    from deepspeed.accelerator import get_accelerator

    optim = config.optim
    optimizer = torch.optim.AdamW(
        parameter_groups(module.named_parameters(), optim.weight_decay, lr_scale),
        lr=optim.learning_rate,
        betas=(optim.beta1, optim.beta2),
        eps=optim.epsilon,
    )
    settings: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": config.batch_size // (ranks * config.accumulation),
        "gradient_accumulation_steps": config.accumulation,
        "gradient_clipping": optim.grad_clip,
        "zero_optimization": {"stage": config.zero_stage},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }
    if config.precision != "fp32":
        settings[config.precision] = {"enabled": True}
    if config.precision == "fp16" and not get_accelerator().is_fp16_supported():
        raise ConfigError("precision fp16 is beyond this device; use fp32 or bf16")
    exact = float32_copies(module, config.precision)
    engine, *_ = deepspeed.initialize(model=module, optimizer=optimizer, config=settings)
    if exact:
        start_master_weights(engine, exact)
    return engine


def float32_copies(module: nn.Module, precision: str) -> dict[nn.Parameter, torch.Tensor]:
    """The trained weights on the CPU, before DeepSpeed rounds them; none in fp32, where it does not."""
    if precision == "fp32":
        return {}
    return {p: p.detach().to("cpu", torch.float32, copy=True) for p in module.parameters() if p.requires_grad}


def gradient_norm(engine: Any) -> torch.Tensor | None:
    """Norm of the whole gradient before the step in float32 without ZeRO, where DeepSpeed does not report it.

    None elsewhere, and between micro-batches.
    """
    if engine.zero_optimization() or engine.fp16_enabled() or engine.bfloat16_enabled():
        return None
    if not engine.is_gradient_accumulation_boundary():
        return None
    return nn.utils.get_total_norm([p.grad for p in engine.module.parameters() if p.grad is not None])


def learning_rate_at(step: int, optim: OptimConfig, total_steps: int) -> float:
    """Linear warm-up, then a cosine to zero; ``step`` counts from 0."""
    if step < optim.warmup_steps:
        return optim.learning_rate * (step + 1) / optim.warmup_steps
    progress = (step - optim.warmup_steps) / max(1, total_steps - optim.warmup_steps)
    return optim.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def length_sentence(optim: OptimConfig, step: int, planned: int, total_steps: int) -> str:
    """A line on how another length than planned changes the steps from ``step`` on; empty where it is the same."""
    if planned == total_steps:
        return ""
    before, now = (learning_rate_at(step, optim, steps) for steps in (planned, total_steps))
    return (
        f"the run was planned for {planned} steps and continues to {total_steps}: the learning rate of each further "
        f"step is as in a run of {total_steps} steps from the start; the rate of step {step + 1} is {now:.3g} in place "
        f"of {before:.3g}\n"
    )

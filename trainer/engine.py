"""DeepSpeed: the ranks, the engine and the optimiser's settings."""

import logging
import math
import os
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from store.errors import ConfigError
from trainer.config import RunConfig
from trainer.master_weights import start_master_weights


def start_ranks(config: RunConfig) -> tuple[int, int, torch.device]:
    """Join the ranks that the launcher started (one rank without a launcher): rank, number of ranks, device."""
    import deepspeed
    from deepspeed.utils import logger

    logger.setLevel(logging.WARNING)
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}.items():
        os.environ.setdefault(name, value)
    if os.environ["WORLD_SIZE"] == "1":
        os.environ.setdefault("MASTER_PORT", str(_free_port()))
    cuda = torch.cuda.is_available()
    # DeepSpeed would compile an operation for inference on CPUs under a lock file: a process killed in there leaves the
    # lock behind, and every later start waits for it for ever
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if not dist.is_initialized():
        deepspeed.init_distributed("nccl" if cuda else "gloo", verbose=False)
    local_rank = int(os.environ["LOCAL_RANK"])
    local_ranks = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("LOCAL_SIZE", dist.get_world_size())))
    torch.set_num_threads(config.threads or max(1, (os.cpu_count() or 1) // max(1, local_ranks)))
    if cuda:
        torch.cuda.set_device(local_rank)
    return dist.get_rank(), dist.get_world_size(), torch.device("cuda", local_rank) if cuda else torch.device("cpu")


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stop_ranks() -> None:
    """Leave the ranks; without it, gloo's threads abort the process at exit."""
    if dist.is_initialized():
        dist.destroy_process_group()


def parameter_groups(named: Iterable[tuple[str, nn.Parameter]], weight_decay: float) -> list[dict[str, Any]]:
    """AdamW's groups: no weight decay on biases, norms, embeddings of one vector and the temperature."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for _, parameter in named:
        if parameter.requires_grad:
            (decayed if parameter.ndim >= 2 else free).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def make_engine(module: nn.Module, config: RunConfig, ranks: int) -> Any:
    """The DeepSpeed engine around a module whose forward returns ``(loss, report)``."""
    import deepspeed

    optimizer = torch.optim.AdamW(
        parameter_groups(module.named_parameters(), config.weight_decay),
        lr=config.learning_rate,
        betas=(0.9, config.beta2),
    )
    settings: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": config.batch_size // (ranks * config.accumulation),
        "gradient_accumulation_steps": config.accumulation,
        "gradient_clipping": config.grad_clip,
        "zero_optimization": {"stage": config.zero_stage},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }
    if config.precision != "fp32":
        settings[config.precision] = {"enabled": True}
    if config.precision == "fp16" and not torch.cuda.is_available():
        raise ConfigError("precision fp16 needs a GPU; use fp32 or bf16 on the CPU")
    trained = {p: p.detach().to("cpu", torch.float32, copy=True) for p in module.parameters() if p.requires_grad}
    engine, *_ = deepspeed.initialize(model=module, optimizer=optimizer, config=settings)
    if config.precision != "fp32":
        start_master_weights(engine, trained)
    return engine


def learning_rate_at(step: int, config: RunConfig, total_steps: int) -> float:
    """Linear warm-up, then a cosine to zero; ``step`` counts from 0."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

"""The rank of this process, as its launcher sets it in the environment."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from store.common.errors import ConfigError

T = TypeVar("T")

# rank, number of ranks, rank on its machine. Slurm's step count is set only under srun: a batch script that starts one
# process must not believe that it is one of many.
_LAUNCHERS = {
    "torchrun or deepspeed": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    "Slurm's srun": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
    "Open MPI's mpirun": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
}


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among all that the launcher started."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    """Rank on this machine: the number of its GPU."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Ranks":
        """What torchrun, deepspeed, srun or mpirun set; without a launcher the only rank.

        Raises:
            ConfigError: a variable is no whole number, or the variables contradict each other.
        """
        for launcher, (rank, size, local) in _LAUNCHERS.items():
            if rank in environment and size in environment:
                names = (rank, size, *([local] if local in environment else []))
                ranks = cls(*(whole_number(environment, name, launcher) for name in names))
                if not 0 <= ranks.rank < ranks.world_size or ranks.local_rank < 0:
                    raise ConfigError(f"{rank}={ranks.rank} does not fit {size}={ranks.world_size} (from {launcher})")
                return ranks
        return cls()

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This rank's part of a sequence: every item belongs to exactly one rank."""
        return items[self.rank :: self.world_size]


def whole_number(environment: Mapping[str, str], name: str, launcher: str) -> int:
    """The value of a launcher's variable. Raises ConfigError if it is no whole number."""
    try:
        return int(environment[name])
    except ValueError as error:
        raise ConfigError(
            f"the environment variable {name} is {environment[name]!r}; expected a whole number, as {launcher} sets "
            "it: unset it, or start the command by its launcher"
        ) from error

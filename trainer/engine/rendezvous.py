"""Where the ranks of a run meet: the environment variables that torch reads, checked or completed."""

import os
import socket
import tempfile
import time
from pathlib import Path

from store.common.errors import ConfigError
from store.common.ranks import Ranks, whole_number

DEFAULT_PORT = "29500"  # of DeepSpeed's launcher, also where another training of the machine has it
LAUNCHER = "the launcher"
_WAIT_SECONDS = 60


class PortInUseError(ConfigError):
    """The port where the ranks would meet belongs to another process."""

    def __init__(self, port: str) -> None:
        super().__init__(
            f"port {port}, where the ranks would meet, is in use: another training runs on this machine; give the "
            "launcher another one, such as `deepspeed --master_port 29511 ...`"
        )


def prepare_environment() -> Ranks:
    """Set RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT as torch reads them, whatever the launcher.

    Raises: ConfigError: the launcher's variables are no numbers, contradict each other, or name no place to meet.
    """
    ranks = Ranks.from_environment()
    if ranks.world_size == 1:
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        os.environ.setdefault("MASTER_PORT", str(free_port()))
    elif absent := [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise ConfigError(
            f"{ranks.world_size} ranks are started and {' and '.join(absent)} not set, so that they cannot meet: "
            "export the first machine's name and a free port of it, or start by deepspeed or torchrun"
        )
    port = whole_number(os.environ, "MASTER_PORT", LAUNCHER)
    if not 0 < port < 65536:
        raise ConfigError(f"the environment variable MASTER_PORT is {port}; expected a port, 1 to 65535")
    os.environ |= {
        "RANK": str(ranks.rank), "WORLD_SIZE": str(ranks.world_size), "LOCAL_RANK": str(ranks.local_rank)
    }  # fmt: skip
    # DeepSpeed's launcher on one machine, with the port that it takes by default
    if ranks.world_size > 1 and os.environ.get("CROSS_SIZE") == "1" and os.environ["MASTER_PORT"] == DEFAULT_PORT:
        os.environ["MASTER_PORT"] = _chosen_port(ranks)
    return ranks


def num_local_ranks(ranks: int) -> int:
    """How many of the ranks are on this machine: LOCAL_WORLD_SIZE of torchrun, LOCAL_SIZE of deepspeed, else all."""
    for name in ("LOCAL_WORLD_SIZE", "LOCAL_SIZE"):
        if name in os.environ:
            return max(1, whole_number(os.environ, name, LAUNCHER))
    return ranks


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _chosen_port(ranks: Ranks) -> str:
    """A free port that rank 0 chooses and writes to a file, named after the ranks' common parent, for the others."""
    file = meeting_file()
    if ranks.rank == 0:
        port = str(free_port())
        temporary = Path(f"{file}.tmp")
        temporary.unlink(missing_ok=True)
        temporary.touch(mode=0o600, exist_ok=False)
        temporary.write_text(port, encoding="ascii")
        temporary.replace(file)
        return port
    until = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < until:
        if file.exists() and file.stat().st_uid == os.getuid():
            return file.read_text(encoding="ascii")
        time.sleep(0.02)
    raise ConfigError(f"rank 0 did not start within {_WAIT_SECONDS} s; its own message says why")


def meeting_file() -> Path:
    """A name that is unique by the launcher's process number and its start, in ticks since the machine's."""
    parent = os.getppid()
    began = Path(f"/proc/{parent}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    return Path(tempfile.gettempdir()) / f"keyclip-{os.getuid()}-{parent}-{began}"


def forget_meeting(ranks: Ranks) -> None:
    """Remove the file that :func:`prepare_environment` wrote; for rank 0, when all ranks have met."""
    if ranks.rank == 0 and ranks.world_size > 1 and "CROSS_SIZE" in os.environ:
        meeting_file().unlink(missing_ok=True)

"""The processes that train one model together: which of them this one is, and how they find one another."""

import datetime
import os
import re
import socket
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vae_cli.errors import ConfigError, RanksError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store  # where torch.distributed takes it from, unknown to mypy

PATIENCE_MINUTES = 10
"""After which a rank no longer waits for the others."""
_HINT = "torchrun sets it; unset WORLD_SIZE to train in one process"


@dataclass(frozen=True)
class Ranks:
    """The place of this process among the ranks, and on its node."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @staticmethod
    def of_environment() -> "Ranks":
        """As torchrun and others set the variables. Raises ConfigError naming the one that is wrong."""
        world_size = _number("WORLD_SIZE", 1)
        rank = _number("RANK", 0 if world_size == 1 else None)
        if world_size < 1 or rank >= world_size:
            raise ConfigError(f"RANK: {rank} is no rank of WORLD_SIZE {world_size}; {_HINT}")
        return Ranks(rank, world_size, _number("LOCAL_RANK", 0), max(1, _number("LOCAL_WORLD_SIZE", world_size)))

    def cores(self) -> int:
        """This rank's share of the cores that the processes on its node may use."""
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, usable // self.local_size)

    def address(self) -> tuple[str, int]:
        """Host and port of rank 0, for more than one rank. Raises ConfigError as `of_environment`."""
        if self.world_size == 1:
            return "", 0
        if not (host := os.environ.get("MASTER_ADDR", "").strip()):
            raise ConfigError(f"MASTER_ADDR: not set, the host of rank 0 of {self.world_size}; {_HINT}")
        if not 0 < (port := _number("MASTER_PORT", None)) < 1 << 16:
            raise ConfigError(f"MASTER_PORT: {port} is no port; {_HINT}")
        return host, port


def _number(name: str, default: int | None) -> int:
    text = os.environ.get(name)
    if text is None and default is not None:
        return default
    if text is None or not re.fullmatch(r"[0-9]{1,9}", text.strip()):
        raise ConfigError(f"{name}: {'not set' if text is None else f'{text!r} is no number'}; {_HINT}")
    return int(text)


def meet(ranks: Ranks, address: tuple[str, int]) -> Generator[str, None, "Store | None"]:
    """Waits until all ranks are there, and says once for whom; signals are heeded meanwhile.

    Returns what they find one another by, None for a single one. Raises RanksError when the others do not come.
    """
    if ranks.world_size == 1:
        return None
    names = [str(rank) for rank in range(ranks.world_size)]
    store: Store | None = None
    begun, has_told, problem = time.monotonic(), False, ""
    while True:
        missing = [0] if ranks.rank else [rank for rank in range(ranks.world_size) if rank != ranks.rank]
        try:
            if store is None:
                store = _open_store(ranks, address)
                store.set(names[ranks.rank], "")
            if store.check(names):
                return store
            missing = [rank for rank, name in enumerate(names) if not store.check([name])]
        except (OSError, RuntimeError) as error:  # nobody listens yet, or rank 0 has gone again
            store, problem = None, f" ({getattr(error, 'strerror', None) or type(error).__name__})"
        seconds = time.monotonic() - begun
        others = f"rank {', '.join(map(str, missing[:8]))}{' …' if len(missing) > 8 else ''}"
        where = f"rank {ranks.rank} of {ranks.world_size}: "
        if seconds > 60 * PATIENCE_MINUTES:
            what = f"{others} did not come to {address[0]}:{address[1]} in {PATIENCE_MINUTES} minutes{problem}"
            raise RanksError(f"{where}{what};", f"start all ranks, with the MASTER_ADDR of rank 0; {_HINT}")
        if seconds > 1 and not has_told:
            has_told = True
            yield f"{where}waiting for {others} at {address[0]}:{address[1]}, {PATIENCE_MINUTES} minutes at most"
        time.sleep(0.1)


def _open_store(ranks: Ranks, address: tuple[str, int]) -> "Store":
    """Rank 0's own store, or torchrun's. Raises ConfigError for a port that is taken, OSError while nobody listens."""
    from torch._C._distributed_c10d import PrefixStore, TCPStore
    from torch.distributed import DistNetworkError

    host, port = address
    prefix = f"vae/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"  # torchrun may keep its store when it restarts us
    seconds = datetime.timedelta(seconds=10)
    if ranks.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        try:
            own = TCPStore("localhost", port, ranks.world_size, True, seconds, wait_for_workers=False)
            return PrefixStore(prefix, own)
        except DistNetworkError as error:
            raise ConfigError(f"MASTER_PORT: {port} cannot be listened on; is another training using it?") from error
    with closing(socket.create_connection(address, timeout=2)):
        pass  # the store itself would wait in silence, deaf to signals
    return PrefixStore(prefix, TCPStore(host, port, ranks.world_size, False, seconds, wait_for_workers=False))

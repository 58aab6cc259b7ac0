"""Ranks as threads of one process."""

import threading
from collections.abc import Callable

import torch


def together(job: Callable[[int, "torch.distributed.HashStore"], object], num: int) -> list[object]:
    """What the job returns on each of `num` ranks, or raises; each rank is a thread of that name."""
    store, results = torch.distributed.HashStore(), list[object]([None] * num)

    def work(rank: int) -> None:
        try:
            results[rank] = job(rank, store)
        except Exception as error:
            results[rank] = error

    threads = [threading.Thread(target=work, args=(rank,), name=str(rank), daemon=True) for rank in range(num)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a rank waits for ever"
    return results

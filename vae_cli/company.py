"""What ranks tell one another beside their collectives, through the store in which they have met.

That each of them lives, so that one may take hours while the others wait; and, on each node, who does what of the work
that is done once a node: its ranks share a disk.
"""

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from vae_cli.errors import RanksError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

BEAT_SECONDS = 1.0
SILENCE_SECONDS = 180.0
"""After which a rank that gives no sign of life is taken for lost."""
GRACE_SECONDS = 10.0
"""In which a rank that has heard of such a loss may end by itself: within a collective it hears nothing."""
_POLL_SECONDS = 0.05
_LEFT = 1 << 40  # beats of a rank that has done its part
_STOP, _FINISHED, _ENDED = "stop", "finished", "ended"


class Company:
    """All ranks; its `with` block is as long as they work together. A single rank has no store, and is its own node.

    position, size: of this rank among those of its node, and how many those are. on_loss: ends the process, called
    in a thread when another rank has been lost and this one does not notice. on_stop: called on rank 0 in a thread when
    another rank has passed on that it was asked to stop.
    """

    position, size = 0, 1

    def __init__(
        self, store: "Store | None" = None, rank: int = 0, world_size: int = 1,
        *, on_loss: Callable[[str], object] = lambda what: None, on_stop: Callable[[], object] = lambda: None,
    ) -> None:  # fmt: skip
        self.node = node_name()
        self.problem = ""
        """What has happened to another rank, if anything."""
        self._task = 0
        self._store, self._rank, self._over = store, rank, threading.Event()
        self._on_loss, self._on_stop = on_loss, on_stop
        self._watched = range(1, world_size) if rank == 0 else range(1)
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        if store is not None:
            store.set(f"node/{rank}", self.node)
            keys, begun = [f"node/{other}" for other in range(world_size)], time.monotonic()
            while not store.check(keys):
                if time.monotonic() - begun > SILENCE_SECONDS:
                    raise RanksError(f"rank {rank}: another rank has gone again; start all of them anew")
                time.sleep(_POLL_SECONDS)
            nodes = [store.get(key).decode() for key in keys]
            self.position, self.size = nodes[:rank].count(self.node), nodes.count(self.node)

    def __enter__(self) -> Self:
        if self._store is not None:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._store is None:
            return
        self._over.set()
        self._thread.join(BEAT_SECONDS)  # it may wait for an answer that does not come
        with suppress(RuntimeError):  # rank 0 may be the one that has gone
            self._store.add(f"alive/{self._rank}", _LEFT)
            if kind is not None:
                self._tell_end(f"rank {self._rank} on {self.node} has ended, and tells why")

    def begin(self) -> None:
        """What is said and heard from here on concerns a new task; all ranks of a node have the same ones in turn."""
        self._task += 1

    def say(self, key: str, text: str = "") -> None:
        """Something that the other ranks of this node may hear. Of each task a key is used once."""
        self._say(f"{self.node}/{self._task}/{key}", text)

    def hear(self, key: str) -> str:
        """What a rank of this node says of the key, once it does. Signals are heeded meanwhile.

        Raises RanksError when another rank is lost.
        """
        return self._hear(f"{self.node}/{self._task}/{key}")

    def once_a_node(self, key: str, make: Callable[[], str]) -> str:
        """What `make` returns on the first rank of this node, which alone calls it."""
        if self.position > 0:
            return self.hear(key)
        made = make()
        self.say(key, made)
        return made

    def finished(self) -> None:
        """Rank 0 has done what it does alone at the end."""
        self._say(_FINISHED)

    def await_end(self, stop: Callable[[], bool]) -> None:
        """Wait for rank 0's `finished`, and let it know when `stop` says that this rank was asked to stop."""
        self._hear(_FINISHED, lambda: self._say(_STOP) if stop() else None)

    def _say(self, key: str, text: str = "") -> None:
        if self._store is not None:
            self._store.set(f"said/{key}", text)

    def _hear(self, key: str, meanwhile: Callable[[], object] = lambda: None) -> str:
        assert self._store is not None, "a single rank has nobody to listen to"
        while not self._store.check([f"said/{key}"]):
            if self.problem:
                raise RanksError(f"rank {self._rank}: cannot go on with the other ranks: {self.problem}")
            meanwhile()
            time.sleep(_POLL_SECONDS)
        return self._store.get(f"said/{key}").decode()

    def _tell_end(self, what: str) -> None:
        """The first such word counts: others end because of that."""
        assert self._store is not None
        self._store.compare_set(_ENDED, "", what)

    def _beat(self) -> None:
        """Give signs of life, look for those of others, and pass on what is said to all."""
        assert self._store is not None
        heard, is_stop_passed_on = dict[int, tuple[int, float]](), False
        while not self._over.wait(BEAT_SECONDS) and not self.problem:
            try:
                self._store.add(f"alive/{self._rank}", 1)
                for rank in self._watched:
                    beats, now = self._store.add(f"alive/{rank}", 0), time.monotonic()
                    if beats >= _LEFT or heard.get(rank, (-1, now))[0] != beats:
                        heard[rank] = beats, now
                    elif now - heard[rank][1] > SILENCE_SECONDS:
                        self._tell_end(f"rank {rank} has given no sign of life for {SILENCE_SECONDS:.0f} s")
                if self._store.check([_ENDED]):
                    self.problem = self._store.get(_ENDED).decode()
                elif self._rank == 0 and not is_stop_passed_on and self._store.check([f"said/{_STOP}"]):
                    is_stop_passed_on = True
                    self._on_stop()
            except RuntimeError as error:
                self.problem = f"rank 0, where all meet, has gone ({type(error).__name__})"
        if self.problem and not self._over.wait(GRACE_SECONDS):
            self._on_loss(self.problem)


def node_name() -> str:
    """Of this machine; launchers number the nodes, several of which may be on one machine."""
    number = os.environ.get("GROUP_RANK", "")
    return f"{socket.gethostname()}{f' (node {number})' if number else ''}"

"""Who of the ranks is alive: each leaves a sign in the store that all of them reach, and looks for those of others.

A collective that waits for a rank that is gone would wait for very long, or fail with the address of a socket. Here the
number of that rank is found, every rank ends with it, and it takes seconds.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress

import torch.distributed as dist
from torch.distributed.distributed_c10d import Store

from sightword.errors import SightwordError

BEAT = 0.5  # seconds between signs of life
SILENCE = 60.0  # seconds without one after which a rank counts as gone
# The same once a collective has failed, which says that somebody is gone.
SILENCE_IN_TROUBLE = 5.0
_GRACE = 15.0  # seconds that the work has to end by itself, once it is known that a rank is gone
_VERDICT, _TROUBLE = "verdict", "trouble"


class Watch:
    """store: of the main thread. second: another connection to it, for the thread that looks after the ranks: the first
    may be held by a call that waits. The first rank looks at all others and tells them; they look at it."""

    def __init__(self, store: Store, second: Store, rank: int, size: int) -> None:
        self.store, self.second, self.rank, self.size = store, second, rank, size
        self.verdict = ""
        self.steps = 0  # how far this rank is, for the others to see
        self._meetings = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
        self._thread.start()

    def meet(self) -> None:
        """Wait for all ranks, however long they take. Raises SightwordError when one is gone."""
        self._meetings += 1
        key, pause = f"meet/{self._meetings}", 0.001
        self.store.add(key, 1)
        while self.store.add(key, 0) < self.size:
            if self.verdict:
                raise SightwordError(self.verdict)
            time.sleep(pause)
            pause = min(2 * pause, BEAT / 5)

    def explain(self, failure: BaseException) -> BaseException:
        """What to end with after `failure`: itself, which the others are told, or that another rank is gone."""
        if not _of_another(failure):
            if not self.verdict:
                reason = str(failure).strip().splitlines() or [type(failure).__name__]
                self._tell(f"rank {self.rank} of {self.size} ended: {reason[0]}")
            self._let_others_read()
            return failure
        deadline = time.monotonic() + SILENCE_IN_TROUBLE + 10 * BEAT
        with suppress(RuntimeError):  # where the store is gone as well, the other thread will say so
            self.store.set(_TROUBLE, "yes")
        while not self.verdict and time.monotonic() < deadline:
            time.sleep(BEAT / 10)
        self._let_others_read()
        return SightwordError(self.verdict or self._who_is_behind(str(failure).strip().splitlines()[0]))

    def leave(self) -> None:
        """The end. The store may live in the first rank: that one stays until the others need it no more."""
        self._stopped.set()
        self._thread.join()
        with suppress(RuntimeError):
            self.store.add("left", int(self.rank > 0))
            deadline = time.monotonic() + SILENCE_IN_TROUBLE
            while self.rank == 0 and self.store.add("left", 0) < self.size - 1 and time.monotonic() < deadline:
                time.sleep(0.01)

    def _look(self) -> None:
        watched = range(1, self.size) if self.rank == 0 else range(1)
        last = dict.fromkeys(watched, (b"", time.monotonic()))
        beat = 0
        while not self.verdict and not self._stopped.wait(BEAT):
            beat += 1
            try:
                self.second.set(f"alive/{self.rank}", f"{beat} {self.steps}")
                if self.second.check([_VERDICT]):
                    self.verdict = self.second.get(_VERDICT).decode()
                    break
                patience = SILENCE_IN_TROUBLE if self.second.check([_TROUBLE]) else SILENCE
                for other, (before, at) in last.items():
                    sign = self._sign(other)
                    if sign != before:
                        last[other] = (sign, time.monotonic())
                    elif time.monotonic() - at > patience:
                        self._tell(
                            f"rank {other} of {self.size} is gone: no sign of life for {patience:.0f} seconds (killed? "
                            "out of memory?). The run goes on from its last snapshot with the same command"
                        )
            except RuntimeError:
                self.verdict = (
                    f"the meeting point of the {self.size} ranks is gone: rank 0, or torchrun on its machine, has ended"
                )
        if self.verdict and not self._stopped.wait(_GRACE):
            # The work hangs in a call that nothing can wake.
            print(f"sightword: {self.verdict}", file=sys.stderr, flush=True)
            os._exit(1)

    def _sign(self, rank: int) -> bytes:
        key = f"alive/{rank}"
        return self.second.get(key) if self.second.check([key]) else b""

    def _tell(self, verdict: str) -> None:
        """The first to tell is believed."""
        try:
            self.verdict = self.second.compare_set(_VERDICT, "", verdict).decode()
        except RuntimeError:
            self.verdict = verdict

    def _let_others_read(self) -> None:
        if self.rank == 0:  # the store may live in this process
            time.sleep(4 * BEAT)

    def _who_is_behind(self, reason: str) -> str:
        """All are alive, and one did not come."""
        steps = {rank: int((self._sign(rank) or b"0 0").split()[1]) for rank in range(self.size)}
        behind = [str(rank) for rank, done in steps.items() if done == min(steps.values())]
        return f"rank {self.rank} of {self.size} waited in vain; furthest behind: rank {', '.join(behind)} ({reason})"


def _of_another(failure: BaseException) -> bool:
    """Whether a call of all ranks failed, and so the fault is elsewhere."""
    words = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe")
    return isinstance(failure, dist.DistError) or (
        isinstance(failure, RuntimeError) and any(word in str(failure) for word in words)
    )

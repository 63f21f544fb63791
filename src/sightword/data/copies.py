"""Files that are open, and copies of what cannot be read where it lies: a bounded number of each, shared by threads."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import BinaryIO, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

_AGAIN = 60.0  # seconds after which what could not be had is tried again

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """The `most` things that were asked for last. Each is made once, by the first thread that asks; the others wait for
    it. What could not be made is not tried again for a minute: its error is raised instead."""

    def __init__(self, make: Callable[[K], V], most: int) -> None:
        self._make, self._most = make, most
        self._lock = threading.Lock()
        self._found: OrderedDict[K, tuple[float, Future[V]]] = OrderedDict()

    def hold(self, most: int) -> None:
        """From now on so many, if that is more than before."""
        with self._lock:
            self._most = max(self._most, most)

    def __call__(self, key: K) -> V:
        with self._lock:
            begun, future = self._found.get(key, (0.0, None))
            failed = future is not None and future.done() and future.exception() is not None
            mine = future is None or (failed and time.monotonic() > begun + _AGAIN)
            if future is None or mine:
                future = Future[V]()
                self._found[key] = time.monotonic(), future
            self._found.move_to_end(key)
            while len(self._found) > self._most:
                # A thread that still uses what goes here holds on to it.
                self._found.popitem(last=False)
        if mine:
            try:
                future.set_result(self._make(key))
            except BaseException as error:
                future.set_exception(error)
        return future.result()


class Copy(NamedTuple):
    """A file without a name, which is gone when nobody holds it; where each thing in it begins, and its size. faults:
    what is wrong with some, by their number."""

    file: BinaryIO
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    faults: dict[int, str]

    def read(self, number: int) -> bytes:
        return os.pread(self.file.fileno(), int(self.sizes[number]), int(self.starts[number]))

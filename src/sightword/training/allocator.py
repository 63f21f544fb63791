"""Memory that is freed on a CPU goes back to the machine, where a run is to save memory.

glibc raises the size from which it maps memory (and so can give it back) up to 32 MiB, as larger pieces are freed; what
is smaller stays in a heap that fills with holes. A run with checkpointed blocks held three times what lived in it. With
the size fixed it holds that, and each large tensor costs fresh pages: some time, so that other runs are left alone.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

_M_MMAP_THRESHOLD = -3
GIVEN_BACK = 1 << 20  # bytes, from which on
KEPT = 32 << 20  # the same where nothing is fixed


def give_memory_back() -> None:
    """For the rest of the process. Nothing happens where the C library is another."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, GIVEN_BACK)

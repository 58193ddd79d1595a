"""The C library's heap, kept small: glibc gives each thread an arena of its own, and each keeps what it once had.

Steps make arrays of megabytes on several threads, one after another; freed, they stay with their arena. Two arenas
hold what is in use and little more: blending two full tiles takes 570 MiB instead of 750, in the same time
(benchmarks/results/peers.md).
"""

import ctypes
from typing import Final

_M_ARENA_MAX: Final = -8
"""glibc's name for it in <malloc.h>."""

_ARENAS: Final = 2


def keep_small() -> None:
    """To be called as a process begins, before it has threads; without glibc nothing happens."""
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
    except (AttributeError, OSError):
        return

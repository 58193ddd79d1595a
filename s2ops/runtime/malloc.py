"""Memory allocator settings (glibc malloc arenas): limit the memory that freed arrays keep occupied.

glibc gives each thread an arena of its own, and freed memory stays with its arena. Steps allocate arrays of megabytes
on several threads. With two arenas, blending two full tiles takes 570 MiB instead of 750 MiB, in the same time
(benchmarks/results/peers.md).
"""

import ctypes
from typing import Final

_M_ARENA_MAX: Final = -8
"""Number of the option M_ARENA_MAX in glibc's <malloc.h>."""

_MAX_ARENAS: Final = 2


def limit_malloc_arenas() -> None:
    """Limit the number of arenas. Call it at the start of a process, before it has threads; a no-op without glibc."""
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _MAX_ARENAS)
    except (AttributeError, OSError):
        return

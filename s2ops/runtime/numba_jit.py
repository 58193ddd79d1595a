"""Numba's part in s2ops/runtime/jit.py, which loads it when the first loop over pixels runs: it takes half a second."""

import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from numba import njit
from numba.core import event

from s2ops.runtime import jit_cache
from s2ops.telemetry import counters

P = ParamSpec("P")
R = TypeVar("R")

jit_cache.use()


def made(function: Callable[P, R]) -> Callable[P, R]:
    """The function as machine code, made for the types of each call and kept on disk where there is a folder for it.

    A division by zero gives an infinity, as in NumPy: the check for it would keep loops from being vectorised.
    """
    try:
        return cast("Callable[P, R]", njit(function, nogil=True, cache=True, error_model="numpy"))
    except RuntimeError:  # neither the package's folder nor the user's can be written: a read-only container
        return cast("Callable[P, R]", njit(function, nogil=True, error_model="numpy"))


class _Compiling(event.Listener):
    """Counts processor time of compiling: once on each machine, it says nothing of what a tile takes."""

    def __init__(self) -> None:
        self._thread = threading.local()

    def on_start(self, _: object) -> None:
        """A function; one that it calls may be compiled within."""
        depth = getattr(self._thread, "depth", 0)
        if depth == 0:
            self._thread.start = time.thread_time()
        self._thread.depth = depth + 1

    def on_end(self, _: object) -> None:
        """It is machine code, or cannot be made any."""
        self._thread.depth -= 1
        if self._thread.depth == 0:
            counters.add("compile_cpu_s", time.thread_time() - self._thread.start)


event.register("numba:compile", _Compiling())  # type: ignore[no-untyped-call]

"""Loops over pixels as machine code (Numba): for what NumPy would do in many passes over memory.

A compiled function runs without Python's lock, so threads share the cores. No fast-math: an optimiser that may reorder
sums would make pixels depend on the processor.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """The function as machine code, made when first called and kept on disk where there is a folder for it."""
    try:
        return cast("Callable[P, R]", njit(function, nogil=True, cache=True))
    except RuntimeError:  # neither the package's folder nor the user's can be written: a read-only container
        return cast("Callable[P, R]", njit(function, nogil=True))

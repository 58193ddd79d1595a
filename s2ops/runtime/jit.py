"""Loops over pixels as machine code (Numba): for what NumPy would do in many passes over memory.

A compiled function runs without Python's lock, so threads share the cores. No fast-math: an optimiser that may reorder
sums would make pixels depend on the processor. Numba is loaded when the first of them is called: a pod that plans,
groups or publishes needs none.
"""

import threading
from collections.abc import Callable
from functools import update_wrapper
from types import FunctionType
from typing import Generic, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")

_one_at_a_time = threading.RLock()


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """The function as machine code, made when first called."""
    loop: _Loop[P, R] = _Loop(cast("FunctionType", function))
    return loop


class _Loop(Generic[P, R]):
    """Stands for the machine code until the first call, and calls it from then on."""

    def __init__(self, function: FunctionType) -> None:
        self._function = function
        self._code: Callable[P, R] | None = None
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return (self._code or self.code())(*args, **kwargs)

    def code(self) -> Callable[P, R]:
        """Numba's function. Those that it calls by name must be Numba's too, so they take their names' places."""
        with _one_at_a_time:
            if self._code is None:
                from s2ops.runtime.numba_jit import made  # noqa: PLC0415 -- see above

                known = self._function.__globals__
                for name in self._function.__code__.co_names:
                    called = known.get(name)
                    if isinstance(called, _Loop):
                        known[name] = called.code()
                self._code = cast("Callable[P, R]", made(self._function))
            return self._code

"""JIT compilation (Numba) of kernels: loops over pixels that NumPy could only do in many passes over memory.

`compile_kernel` imports Numba and compiles at the first call, not at import: pods that plan, group or publish import
modules with kernels, but never call one, and importing Numba takes half a second. Compiled functions run without
Python's lock, so threads share the cores. Fast-math is off: an optimizer that may reorder sums would make pixels depend
on the processor.
"""

import threading
from collections.abc import Callable
from functools import cache, update_wrapper
from types import FunctionType
from typing import Any, Generic, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")

_compile_lock = threading.RLock()


def compile_kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function by Numba at its first call, for the argument types of each call.

    The function may call other kernels of its module, and use its module's constants. A division by zero gives an
    infinity, as in NumPy. The machine code is cached on disk (`jit_cache.py`).
    """
    return Kernel(function)


class Kernel(Generic[P, R]):
    """A function that is compiled at its first call."""

    def __init__(self, function: Callable[P, R]) -> None:
        self._function = cast("FunctionType", function)
        self._dispatcher: Callable[P, R] | None = None
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the compiled function."""
        return (self._dispatcher or self.dispatcher)(*args, **kwargs)

    @property
    def dispatcher(self) -> Callable[P, R]:
        """Numba's function, which is created when it is first needed."""
        with _compile_lock:
            if self._dispatcher is None:
                self._dispatcher = _create_dispatcher(_replace_kernels(self._function))
            return self._dispatcher


def _replace_kernels(function: FunctionType) -> FunctionType:
    """Copy a function with Numba's functions in place of the kernels that it calls; its module stays as it is."""
    names = {name: function.__globals__.get(name) for name in function.__code__.co_names}
    dispatchers = {name: called.dispatcher for name, called in names.items() if isinstance(called, Kernel)}
    if not dispatchers:
        return function
    namespace = {**function.__globals__, **dispatchers}
    copy = FunctionType(function.__code__, namespace, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__module__, copy.__qualname__ = function.__module__, function.__qualname__  # names of the cache's files
    return copy


def _create_dispatcher(function: FunctionType) -> Any:
    from numba import njit  # noqa: PLC0415 -- half a second, see above

    _prepare_numba()
    try:
        return njit(function, nogil=True, cache=True, error_model="numpy")
    except RuntimeError:  # neither the package's folder nor the user's is writable: a read-only container
        return njit(function, nogil=True, error_model="numpy")


@cache
def _prepare_numba() -> None:
    """Use the cache that a container image ships, and count compile time, once per process."""
    from s2ops.runtime.compile_timer import register_compile_timer  # noqa: PLC0415 -- imports Numba
    from s2ops.runtime.jit_cache import use_shipped_cache  # noqa: PLC0415 -- imports Numba

    use_shipped_cache()
    register_compile_timer()

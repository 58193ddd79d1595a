"""Accounting of JIT compile time: processor time that is paid once per machine and is not part of a tile's cost."""

import threading
import time

from numba.core import event

from s2ops.telemetry import counters


class CompileTimer(event.Listener):
    """Adds the processor time of compilation to the counter `compile_cpu_s`."""

    def __init__(self) -> None:
        self._thread = threading.local()

    def on_start(self, _: object) -> None:
        """Start the clock; functions that a function calls are compiled within its own compilation."""
        depth = getattr(self._thread, "depth", 0)
        if depth == 0:
            self._thread.start = time.thread_time()
        self._thread.depth = depth + 1

    def on_end(self, _: object) -> None:
        """Stop the clock at the end of the outermost compilation, which may have failed."""
        self._thread.depth -= 1
        if self._thread.depth == 0:
            counters.add("compile_cpu_s", time.thread_time() - self._thread.start)


def register_compile_timer() -> None:
    """Count the compile time of all kernels of this process from now on."""
    event.register("numba:compile", CompileTimer())  # type: ignore[no-untyped-call]

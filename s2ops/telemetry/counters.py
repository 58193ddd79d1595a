"""Process counters (bytes, requests, CPU seconds); a step's run record contains their increase during the step.

The Prometheus metrics (metrics.py) are sums over a whole run instead.
"""

from collections import defaultdict
from collections.abc import Mapping
from threading import Lock
from typing import Final, Literal

CounterName = Literal[
    "gets", "puts", "rasters", "records_read", "records_written", "rasters_written", "scratch_read", "scenes_read",
    "network_cpu_s", "network_px", "compile_cpu_s",
]  # fmt: skip
"""Names of the counters.

- gets, puts: requests to the store; rasters: rasters that were put.
- records_read, records_written, rasters_written: bytes.
- scratch_read: bytes of scratch files that were read again; they are not input.
- scenes_read: bytes of scenes that lie on this machine.
- network_cpu_s: CPU time inside ONNX Runtime.
- network_px: pixels of windows passed to networks; a window counts once for each network that reads it.
- compile_cpu_s: CPU time of JIT compilation that no earlier run had left in the cache.
"""

_COUNTS: Final[dict[str, float]] = defaultdict(float)
_LOCK: Final = Lock()


def add(name: CounterName, amount: float) -> None:
    """Add to a counter. Thread-safe."""
    with _LOCK:
        _COUNTS[name] += amount


def get_totals() -> dict[str, float]:
    """Return the totals since the process started."""
    with _LOCK:
        return dict(_COUNTS)


def compute_increase(before: Mapping[str, float]) -> dict[str, float]:
    """Compute the increase since the totals `before`, sorted by name; counters without increase are left out."""
    totals = sorted(get_totals().items())
    return {name: value - before.get(name, 0) for name, value in totals if value > before.get(name, 0)}

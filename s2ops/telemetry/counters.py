"""What this process has done so far, counted where it is done, so that a step's run record can say its part.

Prometheus' metrics (metrics.py) are sums over a whole run; these are read before and after a step.
"""

from collections import defaultdict
from collections.abc import Mapping
from threading import Lock
from typing import Final, Literal

Name = Literal[
    "gets", "puts", "rasters", "records_read", "records_written", "rasters_written", "scratch_read", "scenes_read",
    "network_cpu_s", "network_px", "compile_cpu_s",
]  # fmt: skip
"""gets, puts: requests to the store. rasters: rasters put. ..._read, ..._written: bytes. scratch_read: bytes of scratch
files read again, which are no input. scenes_read: bytes of scenes that lie on this machine. network_cpu_s: processor
time inside ONNX Runtime. network_px: pixels of windows given to networks; those of land cover, three in one, count
once. compile_cpu_s: processor time of making machine code that no earlier run had left on disk."""

_COUNTS: Final[dict[str, float]] = defaultdict(float)
_LOCK: Final = Lock()


def add(name: Name, amount: float) -> None:
    """Count. Thread-safe."""
    with _LOCK:
        _COUNTS[name] += amount


def now() -> dict[str, float]:
    """The totals since the process began."""
    with _LOCK:
        return dict(_COUNTS)


def since(before: Mapping[str, float]) -> dict[str, float]:
    """What came after `before`, sorted by name; what is 0 is left out."""
    return {name: value - before.get(name, 0) for name, value in sorted(now().items()) if value > before.get(name, 0)}

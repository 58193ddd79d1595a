"""Read traffic of this process: bytes and requests by GDAL over the network, bytes from local files.

rasterio has no API for GDAL's network statistics. They are read by `ctypes` from the GDAL library that rasterio has
loaded; if it is not found or lacks the function, the network figures are 0.
"""

import ctypes
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from s2ops.telemetry import counters

NETWORK_STATS_OPTION: Final = ("CPL_VSIL_NETWORK_STATS_ENABLED", "YES")
"""Environment variable that makes GDAL count; GDAL reads it once, before its first request."""


@dataclass(frozen=True)
class Traffic:
    """Totals since the process started."""

    bytes: Mapping[str, int] = field(default_factory=dict)
    """"network": bytes read by GDAL, 0 unless it counts; "files": bytes of read calls, 0 where Linux does not count."""
    requests: Mapping[str, int] = field(default_factory=dict)
    """Requests of GDAL by HTTP method."""

    def subtract(self, before: "Traffic") -> "Traffic":
        """Compute the increase since `before`."""
        return Traffic(_subtract(self.bytes, before.bytes), _subtract(self.requests, before.requests))


def read_traffic() -> Traffic:
    """Read the present totals."""
    found = {"files": _read_file_bytes("self")}
    methods = json.loads(_load_network_stats_function()() or b"{}").get("methods", {})
    found["network"] = sum(int(one.get("downloaded_bytes", 0)) for one in methods.values())
    return Traffic(found, {method: int(one["count"]) for method, one in methods.items() if "count" in one})


def _subtract(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {name: more for name, value in now.items() if (more := value - before.get(name, 0)) > 0}


@contextmanager
def count_scene_bytes() -> Iterator[None]:
    """Count the bytes that this thread reads from files within the `with` block as pixels of scenes.

    Other reads of the process do not count: each new thread that opens a raster makes GDAL open PROJ's database
    again, and at 120 m that is more than the scenes are.
    """
    before = _read_file_bytes("thread-self")
    try:
        yield
    finally:
        counters.add("scenes_read", _read_file_bytes("thread-self") - before)


def _read_file_bytes(process: str) -> int:
    """Read `rchar` of /proc/PROCESS/io."""
    try:
        text = Path(f"/proc/{process}/io").read_text()
    except OSError:  # not Linux, or a sandbox
        return 0
    return int(text.split("rchar:")[1].split()[0])


@cache
def _load_network_stats_function() -> Callable[[], bytes | None]:
    """Load GDAL's C function VSINetworkStatsGetAsSerializedJSON from the library found in this process's memory map."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
        path = next(line.split()[-1] for line in lines if "libgdal" in line)
        library = ctypes.CDLL(path)
        get_json, free = library.VSINetworkStatsGetAsSerializedJSON, library.VSIFree
    except (OSError, StopIteration, AttributeError):
        return lambda: None
    get_json.argtypes, get_json.restype, free.argtypes = [ctypes.c_void_p], ctypes.c_void_p, [ctypes.c_void_p]

    def read_json() -> bytes | None:
        pointer = get_json(None)
        if not pointer:
            return None
        try:
            return ctypes.string_at(pointer)
        finally:
            free(pointer)

    return read_json

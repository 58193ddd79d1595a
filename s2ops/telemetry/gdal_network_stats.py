"""Bytes that this process has read so far: over the network by GDAL, and from the files of this machine."""

import ctypes
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from s2ops.telemetry import counters

ENABLED: Final = ("CPL_VSIL_NETWORK_STATS_ENABLED", "YES")
"""Environment variable that makes GDAL count; it looks once, before its first request."""


@dataclass(frozen=True)
class Traffic:
    """Totals since the process began."""

    bytes: Mapping[str, int] = field(default_factory=dict)
    """network: by GDAL, 0 unless it counts; files: by read calls, where Linux says so."""
    requests: Mapping[str, int] = field(default_factory=dict)
    """GDAL's requests by method."""

    def since(self, before: "Traffic") -> "Traffic":
        """What came after `before`."""
        return Traffic(_less(self.bytes, before.bytes), _less(self.requests, before.requests))


def traffic() -> Traffic:
    """The totals now."""
    found = {"files": _file_bytes("self")}
    methods = json.loads(_network_json()() or b"{}").get("methods", {})
    found["network"] = sum(int(one.get("downloaded_bytes", 0)) for one in methods.values())
    return Traffic(found, {method: int(one["count"]) for method, one in methods.items() if "count" in one})


def _less(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {name: more for name, value in now.items() if (more := value - before.get(name, 0)) > 0}


@contextmanager
def scene_files() -> Iterator[None]:
    """Count what this thread reads from files meanwhile as pixels of scenes.

    Apart from all else that a process reads: each new thread that opens a raster makes GDAL open PROJ's database anew,
    and at 120 m that is more than the scenes are.
    """
    before = _file_bytes("thread-self")
    try:
        yield
    finally:
        counters.add("scenes_read", _file_bytes("thread-self") - before)


def _file_bytes(whose: str) -> int:
    try:
        text = Path(f"/proc/{whose}/io").read_text()
    except OSError:  # not Linux, or a sandbox
        return 0
    return int(text.split("rchar:")[1].split()[0])


@cache
def _network_json() -> Callable[[], bytes | None]:
    """GDAL's C function for its statistics: rasterio has no door to it, but has loaded the library that it lies in."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
        path = next(line.split()[-1] for line in lines if "libgdal" in line)
        library = ctypes.CDLL(path)
        ask, free = library.VSINetworkStatsGetAsSerializedJSON, library.VSIFree
    except (OSError, StopIteration, AttributeError):
        return lambda: None
    ask.argtypes, ask.restype, free.argtypes = [ctypes.c_void_p], ctypes.c_void_p, [ctypes.c_void_p]

    def answer() -> bytes | None:
        pointer = ask(None)
        if not pointer:
            return None
        try:
            return ctypes.string_at(pointer)
        finally:
            free(pointer)

    return answer

"""Resource usage of a step: wall time, CPU time, peak memory and traffic, measured around its code."""

import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from s2ops.telemetry import counters
from s2ops.telemetry.gdal_network_stats import Traffic, read_traffic


@dataclass
class ResourceUsage:
    """Resources that a step used; set when the `with` block of `measure_usage` ends."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    """CPU time of all threads, in seconds."""
    peak_rss_mib: float = 0.0
    traffic: Traffic = field(default_factory=Traffic)
    counts: Mapping[str, float] = field(default_factory=dict)
    """Increase of the process counters (counters.py)."""


@contextmanager
def measure_usage() -> Iterator[ResourceUsage]:
    """Measure the `with` block; the kernel's peak memory is reset first, so that each step has its own peak."""
    _reset_peak()
    usage, start, cpu = ResourceUsage(), time.perf_counter(), time.process_time()
    traffic, counts = read_traffic(), counters.get_totals()
    try:
        yield usage
    finally:
        usage.wall_s = round(time.perf_counter() - start, 3)
        usage.cpu_s = round(time.process_time() - cpu, 3)
        usage.traffic, usage.counts = read_traffic().subtract(traffic), counters.compute_increase(counts)
        usage.peak_rss_mib = round(_read_peak_kib() / 1024, 1)


def _reset_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")  # 5: reset VmHWM (proc(5)); Linux only, and not in every sandbox
    except OSError:
        return


def _read_peak_kib() -> int:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

"""Time, peak memory and traffic of a step, measured from outside its code."""

import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from s2ops.telemetry import counters
from s2ops.telemetry.gdal_network_stats import Traffic, traffic


@dataclass
class Usage:
    """What a step took; filled when the `with` block ends."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    """Processor time of all threads."""
    peak_rss_mib: float = 0.0
    traffic: Traffic = field(default_factory=Traffic)
    counts: Mapping[str, float] = field(default_factory=dict)
    """See tally.py."""


@contextmanager
def measured() -> Iterator[Usage]:
    """Measure the block. The kernel's high-water mark is set back first, so each step shows its own peak."""
    _reset_peak()
    usage, start, cpu, before, counts = Usage(), time.perf_counter(), time.process_time(), traffic(), counters.now()
    try:
        yield usage
    finally:
        usage.wall_s = round(time.perf_counter() - start, 3)
        usage.cpu_s = round(time.process_time() - cpu, 3)
        usage.traffic, usage.counts = traffic().since(before), counters.since(counts)
        usage.peak_rss_mib = round(_peak_kib() / 1024, 1)


def _reset_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")  # 5: reset VmHWM (proc(5)); Linux only, and not in every sandbox
    except OSError:
        return


def _peak_kib() -> int:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

"""Resource usage of a command: wall time, CPU time of the process and its children, peak memory of the largest one.

Linux keeps the peak memory of a process over `exec`, so a child starts with its parent's peak. Each command is
therefore started by a small process: this file as a script.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple


class ProcessUsage(NamedTuple):
    """Wall time and CPU time in seconds, peak resident memory in MiB."""

    wall: float
    cpu: float
    rss: float


def measure_command(command: Sequence[str]) -> ProcessUsage | None:
    """Run a command once and measure it, start and imports included; return None if it fails."""
    answer = subprocess.run([sys.executable, "-I", __file__, *command], stdout=subprocess.PIPE, check=False)
    return ProcessUsage(*json.loads(answer.stdout)) if answer.returncode == 0 else None


def measure_alternately(commands: Mapping[str, Sequence[str]], runs: int) -> dict[str, ProcessUsage | None]:
    """Return the medians over `runs` rounds, each of which runs every command once.

    Rounds alternate because a machine's speed changes within minutes. A command that fails is not run again; its
    result is None.
    """
    found: dict[str, list[ProcessUsage]] = {name: [] for name in commands}
    for turn in range(runs):
        for name, command in commands.items():
            usage = measure_command(command) if len(found[name]) == turn else None
            if usage is not None:
                found[name].append(usage)
            print(f"{name}: {usage or 'failed'}", file=sys.stderr, flush=True)
    return {name: _compute_median(usages) if len(usages) == runs else None for name, usages in found.items()}


def _compute_median(usages: Sequence[ProcessUsage]) -> ProcessUsage:
    return ProcessUsage(*(median(figures) for figures in zip(*usages, strict=True)))


def render_table(rows: dict[str, ProcessUsage | None], base: str) -> str:
    """Return a Markdown table with ratios to the row `base`; commands that did not run are marked as skipped."""
    reference = rows[base]
    if reference is None:
        raise SystemExit(f"Cannot compute ratios: the command {base} failed; see its error message above.")
    lines = [
        f"| method | wall s | CPU s | peak MiB | wall / {base} | CPU / {base} |", "|---|---|---|---|---|---|"
    ]  # fmt: skip
    for name, row in rows.items():
        if row is None:
            lines.append(f"| {name} | skipped: not installed, or it failed | | | | |")
            continue
        ratios = f"{row.wall / reference.wall:.2f} | {row.cpu / reference.cpu:.2f}"
        lines.append(f"| {name} | {row.wall:.1f} | {row.cpu:.1f} | {row.rss:.0f} | {ratios} |")
    return "\n".join(lines)


def _run(command: Sequence[str]) -> None:
    """Start the command, wait, print [wall s, CPU s, MiB]; exit with 1 if it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(1)
    print(json.dumps([time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))


if __name__ == "__main__":
    _run(sys.argv[1:])

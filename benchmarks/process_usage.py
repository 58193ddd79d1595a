"""Run a command and say what it took: wall time, CPU time of it and its children, peak memory of the largest.

A process begins with the peak memory of the one that started it (Linux keeps it over `exec`), so each command is
started by a small one: this file as a script.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple


class Took(NamedTuple):
    """Seconds and MiB."""

    wall: float
    cpu: float
    rss: float


def took(command: Sequence[str]) -> Took | None:
    """One process, start and imports included; None where it fails."""
    answer = subprocess.run([sys.executable, "-I", __file__, *command], stdout=subprocess.PIPE, check=False)
    return Took(*json.loads(answer.stdout)) if answer.returncode == 0 else None


def alternately(commands: Mapping[str, Sequence[str]], runs: int) -> dict[str, Took | None]:
    """Medians over `runs` rounds in which each command runs once: a machine's speed changes within minutes.

    None where a command fails, which is not run again.
    """
    found: dict[str, list[Took]] = {name: [] for name in commands}
    for turn in range(runs):
        for name, command in commands.items():
            took_now = took(command) if len(found[name]) == turn else None
            if took_now is not None:
                found[name].append(took_now)
            print(f"{name}: {took_now or 'failed'}", file=sys.stderr, flush=True)
    return {name: _middle(runs_of) if len(runs_of) == runs else None for name, runs_of in found.items()}


def _middle(found: Sequence[Took]) -> Took:
    return Took(*(median(figures) for figures in zip(*found, strict=True)))


def table(rows: dict[str, Took | None], base: str) -> str:
    """A Markdown table with ratios to the row `base`; what could not run is said so."""
    reference = rows[base]
    if reference is None:
        raise SystemExit(f"{base} failed: nothing to compare with")
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
    """Start the command, wait, print [wall, CPU, MiB]; exits with 1 where it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(1)
    print(json.dumps([time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))


if __name__ == "__main__":
    _run(sys.argv[1:])

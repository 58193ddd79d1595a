"""Helpers of tests that run the whole chain: a small world, the command line in a process, checksums of a run."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.simulate.writer import simulate

NEIGHBOUR_TILES = ("32TQS", "33TUM")
"""Neighbours in two UTM zones."""

TILE_ROW = ("32TPS", *NEIGHBOUR_TILES)
"""Three tiles in a row: the middle one overlaps both others, which do not overlap."""

DATES = [date(2023, 6, 2) + timedelta(days=10 * number) for number in range(3)]


def make_world(folder: Path, tiles: Sequence[str] = NEIGHBOUR_TILES, dates: Sequence[date] = DATES) -> Path:
    """Simulate a world at 120 m, and return the path of its catalog."""
    return simulate(folder, [parse_tile(name) for name in tiles], dates, 120, seed=5, cloudiness=0.2)


def write_config(
    path: Path,
    catalog: Path | str,
    out: Path,
    tiles: Sequence[str] = NEIGHBOUR_TILES,
    extra: str = "",
    max_dates: int = 2,
) -> Path:
    """Write a run configuration over a world; one or two dates suffice for tests that are not about land cover."""
    cover = "" if "landcover:" in extra else f"landcover: {{max_dates: {max_dates}}}\n"
    path.write_text(
        f"region: {{tiles: [{', '.join(tiles)}]}}\n"
        "dates: {start: 2023-06-01, end: 2023-07-31}\n"
        f"catalog: {catalog}\nmax_cloud: 95\nresolution: 120\nout: {out}\n{cover}{extra}"
    )
    return path


def build_command(*words: object) -> list[str]:
    """Build a command line of s2ops, as another process calls it in this environment."""
    return [sys.executable, "-c", "from s2ops.cli import main; main()", *map(str, words)]


def run_s2ops(*words: object, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever its exit code."""
    return subprocess.run(
        build_command(*words), capture_output=True, text=True, check=False, timeout=900, env={**os.environ, **settings}
    )


def compute_checksums(out: Path) -> dict[str, str]:
    """Compute the SHA-256 of all outputs except measured times (`run/`, `report/`) and groups (`plan/groups/`)."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not {"run", "report", "groups"} & set(path.relative_to(out).parts[:2])
    }


def copy_world(world: Path, to: Path) -> Path:
    """Copy a world, so that a test may break it, and return the path of its catalog."""
    shutil.copytree(world, to)
    return to / "catalog.json"

"""What the tests of the whole chain share: a small world, the command line in a process, the bytes of a run."""

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
"""The middle one overlaps both others, which do not overlap."""

DATES = [date(2023, 6, 2) + timedelta(days=10 * number) for number in range(3)]


def make_world(folder: Path, tiles: Sequence[str] = NEIGHBOUR_TILES, dates: Sequence[date] = DATES) -> Path:
    """A world at 120 m; gives the path of its catalog."""
    return simulate(folder, [parse_tile(name) for name in tiles], dates, 120, seed=5, cloudiness=0.2)


def write_config(
    path: Path, catalog: Path | str, out: Path, tiles: Sequence[str] = NEIGHBOUR_TILES, extra: str = "", looks: int = 2
) -> Path:
    """A run configuration over the world; two looks a tile, or one, are enough where land cover is not the matter."""
    cover = "" if "landcover:" in extra else f"landcover: {{max_dates: {looks}}}\n"
    path.write_text(
        f"region: {{tiles: [{', '.join(tiles)}]}}\n"
        "dates: {start: 2023-06-01, end: 2023-07-31}\n"
        f"catalog: {catalog}\nmax_cloud: 95\nresolution: 120\nout: {out}\n{cover}{extra}"
    )
    return path


def build_command(*words: object) -> list[str]:
    """The command line of this environment, as another process would call it."""
    return [sys.executable, "-c", "from s2ops.cli import main; main()", *map(str, words)]


def run_s2ops(*words: object, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; never raises."""
    return subprocess.run(
        build_command(*words), capture_output=True, text=True, check=False, timeout=900, env={**os.environ, **settings}
    )


def compute_checksums(out: Path) -> dict[str, str]:
    """SHA-256 of every output but run times (`run/`, `report/`) and the groups of a cluster (`plan/groups/`)."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not {"run", "report", "groups"} & set(path.relative_to(out).parts[:2])
    }


def copy_world(world: Path, to: Path) -> Path:
    """A copy of a world that a test may break; gives its catalog."""
    shutil.copytree(world, to)
    return to / "catalog.json"

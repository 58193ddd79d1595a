"""World checks: measures, on real scenes, where the land-cover map is wrong outside the places of training.

`python -m s2ops.evaluation.world_checks --models FOLDER` judges candidate weights in some three minutes on two cores;
`--only sea,dusk` runs a part. Thresholds stand in `world_gates.py`; the command ends with 1 if a figure is behind its
gate, or if a gate has no figure although all checks ran.
"""

import argparse
import os
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final, get_args

from s2ops.config import DEFAULT_NETWORKS, NetworkChoice
from s2ops.errors import ConfigError
from s2ops.evaluation import world_conditions, world_ground, world_stability
from s2ops.evaluation.real_scenes import check_folder
from s2ops.evaluation.simulated_scenes import FigureCollection
from s2ops.evaluation.world_gates import find_gate, find_missing_figures, format_checks
from s2ops.evaluation.world_maps import WorldMaps
from s2ops.single_image import ImageOptions

CHECKS: Final[dict[str, Callable[[FigureCollection, WorldMaps], None]]] = {
    "sea": world_ground.score_sea,
    "narrow-water": world_ground.score_narrow_water,
    "dry-ground": world_ground.score_dry_ground,
    "sand": world_ground.score_sand,
    "fields": world_ground.score_fields,
    "chips": world_ground.score_chips,
    "snow": world_conditions.score_snow,
    "dusk": world_conditions.score_dusk,
    "window-shift": world_stability.score_window_shift,
    "exeter": world_stability.score_exeter,
    "boadella": world_stability.score_boadella,
    "zurich": world_stability.score_zurich,
}
"""Scoring functions by name."""


def score_world(
    tally: FigureCollection,
    root: Path,
    models: str | None = None,
    only: Collection[str] = (),
    networks: NetworkChoice = DEFAULT_NETWORKS,
    report: Callable[[str], None] = lambda _: None,
) -> None:
    """Run the world checks.

    Args:
        tally: Collection to add the figures to.
        root: Folder of the real data.
        models: Folder or URI of the weights, or None for the package's own.
        only: Names of the checks to run; all if empty.
        networks: Networks that classify land cover.
        report: Called with the name of each check before it starts.

    Raises:
        ConfigError: If `only` names an unknown check, or a data set is missing.
    """
    unknown = [name for name in only if name not in CHECKS]
    if unknown:
        raise ConfigError(f"Unknown world check: {', '.join(unknown)}; choose from {', '.join(CHECKS)}.")
    check_folder(root)
    with TemporaryDirectory() as folder:
        maps = WorldMaps(
            root, Path(folder), ImageOptions(models=models, networks=networks, threads=os.cpu_count() or 1)
        )
        for name, check in CHECKS.items():
            if not only or name in only:
                report(name)
                check(tally, maps)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m s2ops.evaluation.world_checks", description="Run world checks.")
    parser.add_argument("--data", type=Path, default=os.environ.get("S2OPS_REAL_DATA"), help="folder of the real data")
    parser.add_argument("--models", help="folder or URI of the weights; default: those of the package")
    parser.add_argument("--only", default="", help=f"comma-separated checks; default: all of {', '.join(CHECKS)}")
    parser.add_argument("--networks", choices=get_args(NetworkChoice), default=DEFAULT_NETWORKS, help="networks")
    given = parser.parse_args()
    if given.data is None:
        parser.error("no real data: give --data or set S2OPS_REAL_DATA")
    tally, start = FigureCollection(), perf_counter()
    only = [name for name in given.only.split(",") if name]
    try:
        score_world(
            tally, given.data, given.models, only, given.networks, lambda name: print(f"check {name}", file=sys.stderr)
        )
    except ConfigError as error:
        parser.error(str(error))
    print(*format_checks(tally.figures), sep="\n")
    print(f"{perf_counter() - start:.0f} s", file=sys.stderr)
    missing = [] if only else find_missing_figures(tally.figures)
    for name in missing:
        print(f"no figure: {name}")
    if missing or not all(find_gate(figure).is_within_gate(figure) for figure in tally.figures):
        sys.exit(1)


if __name__ == "__main__":
    main()

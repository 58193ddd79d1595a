"""Balance of a region of 20,000 tiles: time and memory of the solver, and recovery of known brightness errors.

    python benchmarks/bench_balance.py [--side 142] [--noise 0.4]

The region is a square of side x side tiles. Each tile has a brightness error of 4 levels (6 %) and a slope of 1 level
between centre and edge, both normally distributed and independent per band; pieces of overlaps carry noise. Overlaps
are made in memory, because reading 20,000 composites takes a time of its own.
"""

import argparse
import resource
import time
from itertools import product

import numpy as np

from s2ops.mosaic.balance.color_balance import balance_colors
from s2ops.mosaic.balance.illumination_gradient import LandTrend
from s2ops.mosaic.balance.overlap_statistics import Overlap, Piece, TilePosition

PITCH_HALF_TILES = 1.8214
"""Distance between the centres of neighbours, in half tiles."""


def simulate_region(side: int, noise: float) -> tuple[dict[str, np.ndarray], list[Overlap]]:
    """Draw the errors of all tiles, (4, 3) coefficients in levels each, and the overlaps that result from them."""
    rng = np.random.default_rng(0)
    places = list(product(range(side), range(side)))
    names = {place: f"{place[0]:03}{place[1]:03}" for place in places}
    errors = {place: rng.normal(0, [4, 1, 1], (4, 3)) for place in places}
    overlaps = []
    for here in places:
        for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
            there = (here[0] + down, here[1] + right)
            if there not in names:
                continue
            pieces = []
            for part in (-0.75, -0.25, 0.25, 0.75) if 0 in {down, right} else (0.0,):
                a = TilePosition(0.91 * down if down else part, 0.91 * right if right else part)
                b = TilePosition(a.y - PITCH_HALF_TILES * down, a.x - PITCH_HALF_TILES * right)
                levels = errors[there] @ [1, b.x, b.y] - errors[here] @ [1, a.x, a.y] + rng.normal(0, noise, 4)
                pieces.append(Piece(a, b, tuple(levels), (100.0,) * 4, 1000))
            overlaps.append(Overlap(names[here], names[there], tuple(pieces)))
    return {names[place]: errors[place] for place in places}, overlaps


def main() -> None:
    """Balance the simulated region; print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=142)
    parser.add_argument("--noise", type=float, default=0.4)
    given = parser.parse_args()
    true_errors, overlaps = simulate_region(given.side, given.noise)
    lands = {name: LandTrend((90.0,) * 4, (0.0,) * 4, (0.0,) * 4, 1.0) for name in true_errors}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    wall, cpu = time.perf_counter(), time.process_time()
    result = balance_colors(true_errors, overlaps, lands)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    errors = np.array([result.corrections[name].coefficients + true_errors[name] for name in true_errors])
    errors -= errors.mean(axis=0)
    residuals = np.array([overlap.compute_residual(result.corrections) for overlap in overlaps])
    print("| tiles | overlaps | wall s | CPU s | peak MiB (before) | level error | slope error | left in overlaps |")
    print("|---|---|---|---|---|---|---|---|")
    print(
        f"| {len(true_errors)} | {len(overlaps)} | {wall:.1f} | {cpu:.1f} | {peak:.0f} ({before:.0f}) "
        f"| {errors[..., 0].std():.2f} | {errors[..., 1:].std():.2f} | {np.abs(residuals).mean():.2f} |"
    )


if __name__ == "__main__":
    main()

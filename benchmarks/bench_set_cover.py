"""The smallest cover of cloudy stacks: the branch and bound of s2ops/selection/set_cover.py beside HiGHS.

    python benchmarks/bench_set_cover.py [--limit-s 20] [--stacks 40:0.2 150:0.4]

A stack is so many masks of 343 x 343 pixels, clouds of several scales, each with at least that part of cloud and at
most 0.8. HiGHS gets the integer program of docs/explanation/select.md with rows on demand: first those that the fewest scenes see,
then, again and again, those that its answer leaves uncovered at the highest price, until there are none. CPU seconds.
"""

import argparse
import time

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import hstack, identity

from s2ops.constants import Bool, Float64
from s2ops.selection.set_cover import CoverElements, merge_pixels, solve_set_cover

SIDE = 343
MOST = 12
"""Scenes a list may have."""
PENALTY = 2000.0
"""Of the whole tile uncovered, in scenes: `min_gain` of 0.0005."""
ROWS = 500
"""Elements that HiGHS gets at first, and more each time."""


def stack(scenes: int, least: float) -> tuple[Bool, Float64]:
    """Masks (scene, y, x) and costs (scene,)."""
    dice = np.random.default_rng(3)
    masks = []
    for _ in range(scenes):
        field = sum(gaussian_filter(dice.normal(size=(SIDE, SIDE)), s) * s for s in (3, 12, 30))
        masks.append(field > np.quantile(field, dice.uniform(least, 0.8)))
    return np.stack(masks), 1 + np.arange(scenes) / scenes


def by_highs(parts: CoverElements, cost: Float64, limit_s: float) -> tuple[float, float]:
    """Objective of the best list and a lower bound."""
    scenes, end = len(cost), time.monotonic() + limit_s
    price = PENALTY * parts.weight
    rows = np.argsort(parts.seen.sum(axis=1), kind="stable")[:ROWS]
    best, bound = float(price.sum()), 0.0
    while (left := end - time.monotonic()) > 0:
        count = len(rows)
        covers = hstack([parts.seen[rows].astype(float), identity(count)]).tocsr()
        size = np.r_[np.ones(scenes), np.zeros(count)]
        found = milp(
            np.r_[cost, price[rows]],
            integrality=size,
            bounds=Bounds(0, 1),
            constraints=[LinearConstraint(covers, lb=1), LinearConstraint(size, ub=MOST)],
            options={"time_limit": left, "mip_rel_gap": 0.0},
        )
        bound = max(bound, found.mip_dual_bound or 0.0)
        if found.x is None:
            break
        missed = ~parts.seen[:, found.x[:scenes] > 0.5].any(axis=1)
        best = min(best, float(cost @ (found.x[:scenes] > 0.5) + price[missed].sum()))
        more = np.setdiff1d(np.flatnonzero(missed), rows)
        if not len(more):
            break
        rows = np.r_[rows, more[np.argsort(-price[more], kind="stable")][:ROWS]]
    return best, bound


def told(objective: float, bound: float, seconds: float) -> str:
    proven = objective - bound < 1e-6
    return f"{objective:.2f} {'proven' if proven else f'(bound {bound:.2f})'} in {seconds:.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit-s", type=float, default=20.0)
    parser.add_argument("--stacks", nargs="*", default=["150:0", "40:0.2", "40:0.4", "150:0.2", "150:0.4"])
    given = parser.parse_args()
    solve_set_cover(np.ones((2, 8, 16), np.bool_), np.ones(2), PENALTY, MOST, 1.0)  # its loop is machine code from here on
    print("| candidates | cloud, each at least | HiGHS, rows on demand | branch and bound | scenes |")
    print("|---|---|---|---|---|")
    for text in given.stacks:
        scenes, least = int(text.split(":")[0]), float(text.split(":")[1])
        clear, cost = stack(scenes, least)
        start = time.process_time()
        mine = solve_set_cover(clear, cost, PENALTY, MOST, given.limit_s)
        took = time.process_time() - start
        start = time.process_time()
        theirs = by_highs(merge_pixels(clear), cost, given.limit_s)
        highs = told(*theirs, time.process_time() - start)
        ours = told(mine.objective, mine.lower_bound, took)
        print(f"| {scenes} | {100 * least:.0f} % | {highs} | {ours} | {mine.selected.sum()} |", flush=True)


if __name__ == "__main__":
    main()

"""Set cover of cloudy scenes: branch and bound of s2ops/selection/set_cover.py beside the MIP solver HiGHS.

    python benchmarks/bench_set_cover.py [--limit-s 20] [--stacks 40:0.2 150:0.4]

A stack SCENES:CLOUD holds masks of 343 x 343 pixels with clouds of several scales; the cloud fraction of each is at
least CLOUD and at most 0.8. HiGHS solves the integer program of docs/explanation/select.md with rows on demand: first
the elements that the fewest scenes cover, then, repeatedly, the uncovered elements with the highest penalty, until all
are covered. Times are CPU seconds.
"""

import argparse
import time

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import hstack, identity

from s2ops.constants import Bool, Float64
from s2ops.selection.set_cover import CoverElements, merge_pixels, solve_set_cover

SIDE_PX = 343
MAX_SCENES = 12
"""Maximum length of a list."""
PENALTY = 2000.0
"""Cost of leaving the whole tile uncovered, in scenes: `min_gain` of 0.0005."""
ROWS_PER_ROUND = 500
"""Number of elements that HiGHS gets at first, and in addition in each round."""


def simulate_stack(scenes: int, min_cloud: float) -> tuple[Bool, Float64]:
    """Simulate masks of clear pixels (scene, y, x) and costs (scene,)."""
    dice = np.random.default_rng(3)
    masks = []
    for _ in range(scenes):
        field = sum(gaussian_filter(dice.normal(size=(SIDE_PX, SIDE_PX)), s) * s for s in (3, 12, 30))
        masks.append(field > np.quantile(field, dice.uniform(min_cloud, 0.8)))
    return np.stack(masks), 1 + np.arange(scenes) / scenes


def solve_with_highs(parts: CoverElements, cost: Float64, limit_s: float) -> tuple[float, float]:
    """Return the objective of the best list that HiGHS found, and a lower bound."""
    scenes, end = len(cost), time.monotonic() + limit_s
    price = PENALTY * parts.weight
    rows = np.argsort(parts.seen.sum(axis=1), kind="stable")[:ROWS_PER_ROUND]
    best, bound = float(price.sum()), 0.0
    while (left := end - time.monotonic()) > 0:
        count = len(rows)
        covers = hstack([parts.seen[rows].astype(float), identity(count)]).tocsr()
        size = np.r_[np.ones(scenes), np.zeros(count)]
        found = milp(
            np.r_[cost, price[rows]],
            integrality=size,
            bounds=Bounds(0, 1),
            constraints=[LinearConstraint(covers, lb=1), LinearConstraint(size, ub=MAX_SCENES)],
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
        rows = np.r_[rows, more[np.argsort(-price[more], kind="stable")][:ROWS_PER_ROUND]]
    return best, bound


def render_result(objective: float, bound: float, seconds: float) -> str:
    """Return a result as the text of a table cell."""
    proven = objective - bound < 1e-6
    return f"{objective:.2f} {'proven' if proven else f'(bound {bound:.2f})'} in {seconds:.2f} s"


def main() -> None:
    """Solve each stack with both solvers; print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit-s", type=float, default=20.0)
    parser.add_argument(
        "--stacks", nargs="*", metavar="SCENES:CLOUD", default=["150:0", "40:0.2", "40:0.4", "150:0.2", "150:0.4"]
    )
    given = parser.parse_args()
    # warm-up: compiles the solver's loop
    solve_set_cover(np.ones((2, 8, 16), np.bool_), np.ones(2), PENALTY, MAX_SCENES, 1.0)
    print("| candidates | cloud, each at least | HiGHS, rows on demand | branch and bound | scenes |")
    print("|---|---|---|---|---|")
    for text in given.stacks:
        scenes, min_cloud = int(text.split(":")[0]), float(text.split(":")[1])
        clear, cost = simulate_stack(scenes, min_cloud)
        start = time.process_time()
        own = solve_set_cover(clear, cost, PENALTY, MAX_SCENES, given.limit_s)
        seconds = time.process_time() - start
        start = time.process_time()
        theirs = solve_with_highs(merge_pixels(clear), cost, given.limit_s)
        highs = render_result(*theirs, time.process_time() - start)
        ours = render_result(own.objective, own.lower_bound, seconds)
        print(f"| {scenes} | {100 * min_cloud:.0f} % | {highs} | {ours} | {own.selected.sum()} |", flush=True)


if __name__ == "__main__":
    main()

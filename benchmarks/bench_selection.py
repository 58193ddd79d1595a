"""Scene selection (set cover) of simulated years in several climates: s2ops beside greedy and newest-until-covered.

    python benchmarks/bench_selection.py [--years 3] [--climates dry temperate]

A year has an overpass every 2.5 days; every second overpass is a neighbouring orbit whose swath ends inside the tile.
Cloud fields have several scales and a mean cover that follows the climate's seasons; scenes above 80 % cloud are left
out, as by `max_cloud`. All three methods select from the same masks on the preview grid, with the same costs.

Greedy takes the scene with the most new pixels per cost until no scene is worth its cost. Newest-until-covered takes
scenes, newest first, until it covers as much as s2ops does. `age` is the mean over scenes, in days before the year's
end. Lists of s2ops that are not proven optimal are reported on stderr.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from s2ops.config import Dates, Selection
from s2ops.constants import Bool, Float64
from s2ops.selection.scene_selection import CostModel, PreviewCandidate, select_scenes

SIDE_PX = 343
"""Side of the preview grid of a tile."""
FIRST_DAY = date(2023, 1, 1)
CLIMATES: dict[str, tuple[float, float, float]] = {
    "dry": (0.15, 0.10, 0.0),
    "temperate": (0.55, 0.15, 0.0),
    "monsoon": (0.50, 0.40, 0.55),
    "wet tropics": (0.75, 0.10, 0.55),
}
"""Mean cloud cover, its amplitude over the year, and the cloudiest time of the year (0 January, 0.5 July)."""


class Outcome(NamedTuple):
    """Figures of one scene list."""

    scenes: float
    covered: float
    age: float
    cost: float
    seconds: float


def simulate_year(climate: str, seed: int) -> list[PreviewCandidate]:
    """Simulate the scenes of a year that have at most 80 % cloud."""
    mean, swing, peak = CLIMATES[climate]
    dice, candidates = np.random.default_rng(seed), []
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    for number in range(146):
        day = int(number * 2.5)
        season = mean + swing * np.cos(2 * np.pi * (day / 365 - peak))
        cover = dice.beta(*(max(share * 1.6, 0.05) for share in (season, 1 - season)))  # mostly clear or mostly cloudy
        if cover > 0.8:
            continue
        field = gaussian_filter(dice.normal(size=(SIDE_PX, SIDE_PX)), dice.choice([8, 20, 40]))
        field = field / field.std() + 0.6 * gaussian_filter(dice.normal(size=(SIDE_PX, SIDE_PX)), 2) * 7
        valid = (x > SIDE_PX * 0.35 + y * 0.25) if number % 2 else np.ones((SIDE_PX, SIDE_PX), np.bool_)
        clear: Bool = (field > np.quantile(field, cover)) & valid
        haze = float(dice.random() ** 6)
        candidates.append(PreviewCandidate(f"S2_{number:03}", FIRST_DAY + timedelta(days=day), haze, clear, valid))
    return candidates


def select_by_s2ops(candidates: list[PreviewCandidate], costs: CostModel) -> list[int]:
    """Select scenes as s2ops does."""
    selection = select_scenes(candidates, costs)
    if selection.status != "optimal":
        print(f"not proven optimal: {selection.objective:.2f}, bound {selection.lower_bound:.2f}", file=sys.stderr)
    return [number for number, candidate in enumerate(candidates) if candidate.id in selection.selected]


def select_greedily(candidates: list[PreviewCandidate], costs: CostModel) -> list[int]:
    """Select the scene with the most new pixels per cost, again and again."""
    uncovered = np.ones((SIDE_PX, SIDE_PX), np.bool_)
    selected: list[int] = []
    while len(selected) < costs.max_scenes:
        gains = np.array([np.count_nonzero(candidate.clear & uncovered) for candidate in candidates]) / uncovered.size
        rates = gains / compute_costs(candidates, costs)
        best = int(rates.argmax())
        if rates[best] < costs.options.min_gain:
            break
        selected.append(best)
        uncovered &= ~candidates[best].clear
    return selected


def select_newest(candidates: list[PreviewCandidate], wanted: float) -> list[int]:
    """Select scenes, newest first, until they cover the fraction `wanted` of the tile."""
    uncovered = np.ones((SIDE_PX, SIDE_PX), np.bool_)
    selected: list[int] = []
    for number in reversed(range(len(candidates))):
        if 1 - uncovered.mean() >= wanted:
            break
        selected.append(number)
        uncovered &= ~candidates[number].clear
    return selected


def compute_costs(candidates: list[PreviewCandidate], costs: CostModel) -> Float64:
    """Return the cost of each candidate."""
    return np.array([costs.compute_cost(candidate).total for candidate in candidates])


def evaluate_list(candidates: list[PreviewCandidate], costs: CostModel, selected: list[int], seconds: float) -> Outcome:
    """Return the figures of a list of candidates (by index)."""
    covered = float(np.any([candidates[number].clear for number in selected], axis=0).mean())
    age = np.mean([(costs.end - candidates[number].date).days for number in selected])
    cost = compute_costs(candidates, costs)[selected].sum() + (1 - covered) / costs.options.min_gain
    return Outcome(len(selected), covered, float(age), float(cost), seconds)


def compare_methods(climate: str, years: int) -> Iterator[tuple[str, Outcome, int]]:
    """Yield method, figures and number of candidates for each year and method."""
    dates = Dates(start=FIRST_DAY, end=date(2023, 12, 31))
    costs = CostModel(dates.start, dates.end, dates.end, 12, Selection())
    for seed in range(years):
        candidates = simulate_year(climate, seed)
        start = time.process_time()
        found = select_by_s2ops(candidates, costs)
        own = evaluate_list(candidates, costs, found, time.process_time() - start)
        yield "s2ops", own, len(candidates)
        start = time.process_time()
        found = select_greedily(candidates, costs)
        yield "greedy", evaluate_list(candidates, costs, found, time.process_time() - start), len(candidates)
        found = select_newest(candidates, own.covered)
        yield "newest until covered", evaluate_list(candidates, costs, found, 0.0), len(candidates)


def main() -> None:
    """Compare the methods in each climate; print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--years", type=int, default=3)
    parser.add_argument("--climates", nargs="*", choices=list(CLIMATES), default=list(CLIMATES))
    given = parser.parse_args()
    print("| climate | candidates | how | scenes | covered % | mean age, days | cost | CPU s, worst |")
    print("|---|---|---|---|---|---|---|---|")
    for climate in given.climates:
        found: dict[str, list[Outcome]] = {}
        counts = []
        for how, one, count in compare_methods(climate, given.years):
            found.setdefault(how, []).append(one)
            counts.append(count)
        for how, all_ in found.items():
            scenes, covered, age, cost, _ = np.mean(all_, axis=0)
            worst = max(one.seconds for one in all_)
            print(
                f"| {climate} | {min(counts)}-{max(counts)} | {how} | {scenes:.1f} | {100 * covered:.2f} | {age:.0f} "
                f"| {cost:.2f} | {worst:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

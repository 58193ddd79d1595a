"""The scene list of simulated years in several climates: s2ops beside greedy and beside newest-until-covered.

    python benchmarks/bench_selection.py [--years 3] [--climates dry temperate]

A year has an overpass every 2.5 days; every other one is a neighbouring orbit whose swath ends inside the tile. Cloud
fields have several scales and a mean cover that follows the climate's seasons; scenes above 80 % cloud are left, as by
`max_cloud`. All three choose from the same masks on the preview grid, and see the same prices.

Greedy takes the scene with the most new pixels per cost until none pays for itself. Newest-until-covered takes scenes
from the youngest on until it sees as much as s2ops does. `age` is the mean over scenes, in days before the year's end.
A list of ours that is not proven is told on stderr.
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
from s2ops.selection.scene_selection import PreviewCandidate, CostModel, select_scenes

SIDE = 343
FIRST = date(2023, 1, 1)
CLIMATES: dict[str, tuple[float, float, float]] = {
    "dry": (0.15, 0.10, 0.0),
    "temperate": (0.55, 0.15, 0.0),
    "monsoon": (0.50, 0.40, 0.55),
    "wet tropics": (0.75, 0.10, 0.55),
}
"""Mean cloud, its swing over the year, and when in the year it is cloudiest (0 January, 0.5 July)."""


class Outcome(NamedTuple):
    scenes: float
    covered: float
    age: float
    cost: float
    seconds: float


def year(climate: str, seed: int) -> list[PreviewCandidate]:
    """All scenes of a year with at most 80 % cloud."""
    mean, swing, peak = CLIMATES[climate]
    dice, looks = np.random.default_rng(seed), []
    y, x = np.mgrid[:SIDE, :SIDE]
    for number in range(146):
        day = int(number * 2.5)
        season = mean + swing * np.cos(2 * np.pi * (day / 365 - peak))
        cover = dice.beta(*(max(share * 1.6, 0.05) for share in (season, 1 - season)))  # mostly clear or mostly not
        if cover > 0.8:
            continue
        field = gaussian_filter(dice.normal(size=(SIDE, SIDE)), dice.choice([8, 20, 40]))
        field = field / field.std() + 0.6 * gaussian_filter(dice.normal(size=(SIDE, SIDE)), 2) * 7
        valid = (x > SIDE * 0.35 + y * 0.25) if number % 2 else np.ones((SIDE, SIDE), np.bool_)
        clear: Bool = (field > np.quantile(field, cover)) & valid
        haze = float(dice.random() ** 6)
        looks.append(PreviewCandidate(f"S2_{number:03}", FIRST + timedelta(days=day), haze, clear, valid))
    return looks


def ours(looks: list[PreviewCandidate], rule: CostModel) -> list[int]:
    choice = select_scenes(looks, rule)
    if choice.status != "optimal":
        print(f"not proven: {choice.objective:.2f}, bound {choice.lower_bound:.2f}", file=sys.stderr)
    return [number for number, look in enumerate(looks) if look.id in choice.selected]


def greedy(looks: list[PreviewCandidate], rule: CostModel) -> list[int]:
    open_, taken = np.ones((SIDE, SIDE), np.bool_), []
    while len(taken) < rule.max_scenes:
        gains = np.array([np.count_nonzero(look.clear & open_) for look in looks]) / open_.size
        rates = gains / prices(looks, rule)
        best = int(rates.argmax())
        if rates[best] < rule.options.min_gain:
            break
        taken.append(best)
        open_ &= ~looks[best].clear
    return taken


def newest(looks: list[PreviewCandidate], wanted: float) -> list[int]:
    """As many from the newest on as it takes to cover `wanted` of the tile."""
    open_, taken = np.ones((SIDE, SIDE), np.bool_), []
    for number in reversed(range(len(looks))):
        if 1 - open_.mean() >= wanted:
            break
        taken.append(number)
        open_ &= ~looks[number].clear
    return taken


def prices(looks: list[PreviewCandidate], rule: CostModel) -> Float64:
    return np.array([rule.compute_cost(look).total for look in looks])


def outcome(looks: list[PreviewCandidate], rule: CostModel, taken: list[int], seconds: float) -> Outcome:
    covered = float(np.any([looks[number].clear for number in taken], axis=0).mean())
    age = np.mean([(rule.end - looks[number].date).days for number in taken])
    cost = prices(looks, rule)[taken].sum() + (1 - covered) / rule.options.min_gain
    return Outcome(len(taken), covered, float(age), float(cost), seconds)


def run(climate: str, years: int) -> Iterator[tuple[str, Outcome, int]]:
    dates = Dates(start=FIRST, end=date(2023, 12, 31))
    rule = CostModel(dates.start, dates.end, dates.end, 12, Selection())
    for seed in range(years):
        looks = year(climate, seed)
        start = time.process_time()
        found = ours(looks, rule)
        mine = outcome(looks, rule, found, time.process_time() - start)
        yield "s2ops", mine, len(looks)
        start = time.process_time()
        found = greedy(looks, rule)
        yield "greedy", outcome(looks, rule, found, time.process_time() - start), len(looks)
        yield "newest until covered", outcome(looks, rule, newest(looks, mine.covered), 0.0), len(looks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=int, default=3)
    parser.add_argument("--climates", nargs="*", choices=list(CLIMATES), default=list(CLIMATES))
    given = parser.parse_args()
    print("| climate | candidates | how | scenes | covered % | mean age, days | cost | CPU s, worst |")
    print("|---|---|---|---|---|---|---|---|")
    for climate in given.climates:
        found: dict[str, list[Outcome]] = {}
        counts = []
        for how, one, count in run(climate, given.years):
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

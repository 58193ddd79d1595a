"""The report's numbers: headline figures, step costs, class areas and what a tile's section shows."""

from collections import defaultdict
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from s2ops.geo.equal_area import compute_covered_km2
from s2ops.report.gather import SeamSummary, RunFacts

STEPS = ("plan", "select", "acquire", "composite", "balance", "blend", "landcover", "publish")


@dataclass(frozen=True, slots=True)
class HeadlineFigure:
    """A headline number."""

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class StepCost:
    """What a step took over all tiles."""

    step: str
    tiles: int
    total_s: float
    median_s: float
    max_s: float
    max_tile: str
    peak_mib: float
    empty: int
    """Tiles that the step found empty."""


def build_headline(facts: RunFacts) -> list[HeadlineFigure]:
    """The run in a row of numbers; those that cannot be told are left out."""
    ground = compute_covered_km2(one.tile for one in facts.tiles)
    figures = [HeadlineFigure(str(len(facts.tiles)), "tile" if len(facts.tiles) == 1 else "tiles", f"{ground:,.0f} km²")]
    looked = sum(one.looked or 0 for one in facts.tiles)
    used = sum(one.used or 0 for one in facts.tiles)
    if any(one.used is not None for one in facts.tiles):
        figures.append(HeadlineFigure(str(used), "scenes in the mosaic", f"of {looked} looked at"))
    holes = [float(one.mosaic["s2ops:holes"]) for one in facts.tiles if one.mosaic and "s2ops:holes" in one.mosaic]
    if holes:
        covered = 100 * (1 - float(np.mean(holes)))
        holed = sum(hole > 0 for hole in holes)
        worst = f"{holed} {'tile' if holed == 1 else 'tiles'} with holes" if holed else "no holes"
        figures.append(HeadlineFigure(f"{_format_rounded_down(covered)} %", "covered", worst))
    figures += _build_seam_figures(facts.edges)
    if facts.usage:
        figures.append(HeadlineFigure(format_duration(sum(one.wall_s for one in facts.usage)), "of work", "all steps and tiles"))
        peak = max(facts.usage, key=lambda one: one.peak_rss_mib)
        figures.append(HeadlineFigure(f"{peak.peak_rss_mib:,.0f} MiB", "peak memory", f"{peak.step} {peak.tile}"))
    return figures


def build_cost_rows(facts: RunFacts) -> list[StepCost]:
    """One row a step, in the chain's order."""
    by_step = defaultdict(list)
    for one in facts.usage:
        by_step[one.step].append(one)
    known = [step for step in STEPS if step in by_step] + sorted(set(by_step) - set(STEPS))
    rows = []
    for step in known:
        used = by_step[step]
        slowest = max(used, key=lambda one: (one.wall_s, one.tile))
        rows.append(
            StepCost(
                step,
                len(used),
                sum(one.wall_s for one in used),
                median(one.wall_s for one in used),
                slowest.wall_s,
                slowest.tile,
                max(one.peak_rss_mib for one in used),
                sum(one.status == "empty" for one in used),
            )
        )
    return rows


def flatten_scores(scores: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Nested scores as (name, value) rows; text and numbers alike."""
    rows: list[tuple[str, str]] = []
    for name, value in scores.items():
        if isinstance(value, dict):
            rows += flatten_scores(value, (*path, str(name)))
        elif not isinstance(value, list):
            rows.append((" / ".join((*path, str(name))), f"{value:.4g}" if isinstance(value, float) else str(value)))
    return rows


def format_duration(seconds: float) -> str:
    """Such as '48 s', '3 min 20 s' or '5 h 12 min'."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _build_seam_figures(edges: SeamSummary) -> list[HeadlineFigure]:
    if edges.before is None or edges.after is None:
        return []
    return [HeadlineFigure(f"{edges.after:.2f}", "worst seam", f"was {edges.before:.2f}; 1 is invisible")]


def _format_rounded_down(percent: float) -> str:
    """Two decimals, never rounded up to 100."""
    return f"{np.floor(percent * 100) / 100:.2f}".removesuffix(".00")

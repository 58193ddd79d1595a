"""Tables and headline figures of the report: coverage, seams, cost per step, scores."""

from collections import defaultdict
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from s2ops.cost.number_formats import format_exact_duration
from s2ops.geo.equal_area import compute_covered_km2
from s2ops.report.gather import RunFacts, SeamSummary
from s2ops.results import StepName


@dataclass(frozen=True, slots=True)
class HeadlineFigure:
    """Headline number with label and note."""

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class StepCost:
    """Resource usage of a step over all tiles."""

    step: str
    tiles: int
    total_s: float
    median_s: float
    max_s: float
    max_tile: str
    peak_mib: float
    empty: int
    """Number of tiles without data."""


def build_headline(facts: RunFacts) -> list[HeadlineFigure]:
    """Build the headline figures of a run; figures without data are left out."""
    ground = compute_covered_km2(one.tile for one in facts.tiles)
    figures = [
        HeadlineFigure(str(len(facts.tiles)), "tile" if len(facts.tiles) == 1 else "tiles", f"{ground:,.0f} km²")
    ]
    looked = sum(one.looked or 0 for one in facts.tiles)
    used = sum(one.used or 0 for one in facts.tiles)
    if any(one.used is not None for one in facts.tiles):
        figures.append(HeadlineFigure(str(used), "scenes in the mosaic", f"of {looked} candidates"))
    holes = [float(one.mosaic["s2ops:holes"]) for one in facts.tiles if one.mosaic and "s2ops:holes" in one.mosaic]
    if holes:
        covered = 100 * (1 - float(np.mean(holes)))
        holed = sum(hole > 0 for hole in holes)
        worst = f"{holed} {'tile' if holed == 1 else 'tiles'} with holes" if holed else "no holes"
        figures.append(HeadlineFigure(f"{_format_rounded_down(covered)} %", "covered", worst))
    figures += _build_seam_figures(facts.edges)
    if facts.usage:
        figures.append(
            HeadlineFigure(
                format_exact_duration(sum(one.wall_s for one in facts.usage)), "of work", "all steps and tiles"
            )
        )
        peak = max(facts.usage, key=lambda one: one.peak_rss_mib)
        figures.append(HeadlineFigure(f"{peak.peak_rss_mib:,.0f} MiB", "peak memory", f"{peak.step} {peak.tile}"))
    return figures


def build_cost_rows(facts: RunFacts) -> list[StepCost]:
    """Build one row per step, in the order of the pipeline."""
    by_step = defaultdict(list)
    for one in facts.usage:
        by_step[one.step].append(one)
    known = [str(step) for step in StepName if step in by_step] + sorted(set(by_step) - set(StepName))
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
    """Flatten nested scores into (name, value) rows; lists are left out."""
    rows: list[tuple[str, str]] = []
    for name, value in scores.items():
        if isinstance(value, dict):
            rows += flatten_scores(value, (*path, str(name)))
        elif not isinstance(value, list):
            rows.append((" / ".join((*path, str(name))), f"{value:.4g}" if isinstance(value, float) else str(value)))
    return rows


def _build_seam_figures(edges: SeamSummary) -> list[HeadlineFigure]:
    """Build the figure of the worst seam; none if no edge was measured."""
    if edges.before is None or edges.after is None:
        return []
    return [HeadlineFigure(f"{edges.after:.2f}", "worst seam", f"was {edges.before:.2f}; 1 is invisible")]


def _format_rounded_down(percent: float) -> str:
    """Format a percentage with two decimals, rounded down so that less than all is never shown as 100."""
    return f"{np.floor(percent * 100) / 100:.2f}".removesuffix(".00")

"""Terminal tables: cost estimate and comparison of a run as text for the command line."""

from collections.abc import Sequence
from typing import Final

from rich.table import Table

from s2ops.cost.comparison import MAX_RELATIVE_ERROR, ComparisonLine
from s2ops.cost.estimate import CostEstimate, ResourceAmounts
from s2ops.cost.number_formats import format_amount, format_decimal_duration
from s2ops.cost.plan import RunPlan

PUBLIC_PRICE_PER_1000_KM2: Final = 0.04
"""Public price in dollars: a monthly mosaic of Arkansas, about 3 h of an A100 (about $5). No other public price is
known."""
GOAL_PRICE_PER_1000_KM2: Final = 0.004
"""Goal for the price of computing 1,000 km2 in dollars."""

_BASIS: Final = {
    "catalog": "from the catalog, every tile searched",
    "sample": "modelled from orbits and clouds, scaled by a search of {} tiles",
    "model": "modelled from orbits and clouds, no catalog search (--search N searches)",
}


def build_step_table(estimate: CostEstimate, currency: str) -> Table:
    """Build a table with one row per step, and the total."""
    table = Table(title=f"{estimate.tiles:,} tiles, {estimate.km2:,.0f} km2")
    scale, cpu_unit = (3600.0, "CPU h") if estimate.amounts.cpu_s >= 3600 else (1.0, "CPU s")
    for name in ("step", "tiles", "done", cpu_unit, "GPU s", "read GB", "written GB", "pods", "wall", currency, "part"):
        table.add_column(name, justify="left" if name == "step" else "right")
    for one in estimate.steps:
        price = sum(one.price.values())
        table.add_row(
            one.step,
            f"{one.tiles:,}",
            f"{one.done_tiles:,}" if one.done_tiles else "",
            *_format_amounts(one.amounts, scale),
            f"{one.pods:,}" if one.pods else "",
            format_decimal_duration(one.wall_s),
            f"{price:,.4f}",
            f"{100 * price / estimate.total_price:.0f} %" if estimate.total_price else "",
        )
    table.add_section()
    table.add_row(
        "all",
        "",
        "",
        *_format_amounts(estimate.amounts, scale),
        f"{sum(one.pods for one in estimate.steps):,}",
        format_decimal_duration(estimate.wall_s),
        f"{estimate.total_price:,.4f}",
        "",
    )
    return table


def _format_amounts(amounts: ResourceAmounts, scale: float) -> tuple[str, str, str, str]:
    gpu = f"{amounts.gpu_s:,.0f}" if amounts.gpu_s else ""
    read, written = f"{amounts.read_bytes / 1e9:,.2f}", f"{amounts.written_bytes / 1e9:,.2f}"
    return f"{amounts.cpu_s / scale:,.1f}", gpu, read, written


def format_summary(plan: RunPlan) -> list[str]:
    """Format the lines below the table: scenes, machines, rates and prices, with their basis."""
    estimate, prices = plan.estimate, plan.prices
    kinds = {name: sum(one.price[name] for one in estimate.steps) for name in estimate.steps[0].price}
    scenes, capacity = estimate.scenes, estimate.capacity
    where = "this machine" if capacity.local else f"groups of {capacity.group} tiles"
    gpus = f", {capacity.gpus} GPU" if estimate.amounts.gpu_s else ""
    per_kind = " + ".join(f"{name} {value:,.4f}" for name, value in kinds.items() if value)
    counts = (
        f"{scenes.candidates:,.0f} candidates, {scenes.selected:,.0f} selected, {scenes.used:,.0f} in the mosaic, "
        f"{scenes.read:,.0f} read, {scenes.dates:,.0f} dates classified"
    )
    whole = f"{estimate.total_price:,.4f} {prices.currency}" + (f" = {per_kind}" if per_kind else "")
    interpolated = "" if estimate.has_measured_rates else "; none was measured at this resolution: interpolated"
    return [
        f"scenes: {counts} ({_BASIS[estimate.basis].format(estimate.searched)})",
        f"machines: {capacity.pods} at once with {capacity.cores} cores each{gpus}; {where}",
        f"rates: {estimate.rates_source}{interpolated}",
        f"price: {whole}; the price file contains the source of each price",
        *_format_landcover_prices(plan),
        _format_most_expensive_step(estimate),
        (
            f"computing 1,000 km2 costs {plan.price_per_1000_km2:.2g} {prices.currency}; "
            f"the goal is {GOAL_PRICE_PER_1000_KM2}, the only public price (a monthly mosaic of Arkansas) is about "
            f"{PUBLIC_PRICE_PER_1000_KM2}"
        ),
    ]


def _format_landcover_prices(plan: RunPlan) -> list[str]:
    """Format the price of the land-cover step by the choice of networks; nothing if no land cover is left to make."""
    if not any(plan.landcover_prices.values()):
        return []
    choices = ", ".join(f"{choice} {price:,.4f}" for choice, price in plan.landcover_prices.items())
    return [f"land cover by networks: {choices} {plan.prices.currency} (landcover: {{networks: ...}})"]


def _format_most_expensive_step(estimate: CostEstimate) -> str:
    total, step = estimate.compute_price, estimate.most_expensive_step
    if not total:
        return "nothing is left to compute"
    part = 100 * step.compute_price / total
    return f"most expensive step: {step.step}, {part:.0f} % of the {total:,.4f} for computing"


def build_comparison_table(lines: Sequence[ComparisonLine]) -> Table:
    """Build a table of predicted and actual values."""
    table = Table(title=f"predicted and actual (goal: within {100 * MAX_RELATIVE_ERROR:.0f} %)")
    for name in ("figure", "predicted", "actual", "error", "goal"):
        table.add_column(name, justify="left" if name == "figure" else "right")
    for one in lines:
        error = "" if one.relative_error is None else f"{100 * one.relative_error:+.0f} %"
        goal = ("met" if one.is_within_goal else "missed") if one.goal else ""
        predicted, actual = format_amount(one.predicted, one.unit), format_amount(one.actual, one.unit)
        table.add_row(one.what, predicted, actual, error, goal)
    return table

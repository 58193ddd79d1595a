"""The plan for a terminal."""

from collections.abc import Sequence
from typing import Final

from rich.table import Table

from s2ops.cost.comparison import WITHIN, Line
from s2ops.cost.estimate import Forecast, Took
from s2ops.cost.plan import Planned

PUBLIC: Final = 0.04
"""Dollars for 1,000 km2: a month's mosaic of Arkansas, some 3 h of an A100 (about $5). The only public figure known."""
GOAL: Final = 0.004

_BASIS: Final = {
    "catalog": "from the catalog, every tile searched",
    "sample": "a model of orbits and clouds, scaled by a search of {} tiles",
    "model": "a model of orbits and clouds, no catalog asked (--search N asks)",
}


def steps(made: Forecast, currency: str) -> Table:
    """One row a step, and their sum."""
    table = Table(title=f"{made.tiles:,} tiles, {made.km2:,.0f} km2")
    scale, cpu_unit = (3600.0, "CPU h") if made.took.cpu_s >= 3600 else (1.0, "CPU s")
    for name in ("step", "tiles", "made", cpu_unit, "GPU s", "read GB", "written GB", "pods", "wall", currency, "part"):
        table.add_column(name, justify="left" if name == "step" else "right")
    for one in made.steps:
        price = sum(one.price.values())
        table.add_row(
            one.step,
            f"{one.tiles:,}",
            f"{one.made:,}" if one.made else "",
            *_took(one.took, scale),
            f"{one.pods:,}" if one.pods else "",
            duration(one.wall_s),
            f"{price:,.4f}",
            f"{100 * price / made.total:.0f} %" if made.total else "",
        )
    table.add_section()
    took = made.took
    table.add_row(
        "all",
        "",
        "",
        *_took(took, scale),
        f"{sum(one.pods for one in made.steps):,}",
        duration(made.wall_s),
        f"{made.total:,.4f}",
        "",
    )
    return table


def _took(took: Took, scale: float) -> tuple[str, str, str, str]:
    gpu = f"{took.gpu_s:,.0f}" if took.gpu_s else ""
    return f"{took.cpu_s / scale:,.1f}", gpu, f"{took.read_bytes / 1e9:,.2f}", f"{took.written_bytes / 1e9:,.2f}"


def words(planned: Planned) -> list[str]:
    """What the table leaves open: scenes, where figures come from, prices."""
    made, prices = planned.forecast, planned.prices
    kinds = {name: sum(one.price[name] for one in made.steps) for name in made.steps[0].price}
    scenes, dearest = made.scenes, made.dearest
    machines = made.machines
    where = "this machine" if machines.local else f"groups of {machines.group} tiles"
    gpus = f", {machines.gpus} GPU" if made.took.gpu_s else ""
    per_kind = " + ".join(f"{name} {value:,.4f}" for name, value in kinds.items() if value)
    counts = (
        f"{scenes.candidates:,.0f} candidates, {scenes.selected:,.0f} selected, {scenes.used:,.0f} in the mosaic, "
        f"{scenes.read:,.0f} read, {scenes.dates:,.0f} dates classified"
    )
    whole = f"{made.total:,.4f} {prices.currency}" + (f" = {per_kind}" if per_kind else "")
    return [
        f"scenes: {counts} ({_BASIS[made.basis].format(made.searched)})",
        f"machines: {machines.pods} at once with {machines.cores} cores each{gpus}; {where}",
        f"rates: {made.rates}" + ("" if made.measured_here else "; none was measured at this resolution: interpolated"),
        f"price: {whole}; the price file says what each rests on",
        *_dearest(made, dearest.step, dearest.compute),
        (
            f"computing 1,000 km2 costs {planned.thousand_km2:.2g} {prices.currency}; the goal is {GOAL}, the only "
            f"public figure, a monthly mosaic of Arkansas, is about {PUBLIC}"
        ),
    ]


def _dearest(made: Forecast, step: str, price: float) -> list[str]:
    if not made.compute:
        return ["nothing is left to compute"]
    return [f"{step} eats most: {100 * price / made.compute:.0f} % of the {made.compute:,.4f} for computing"]


def comparison(lines: Sequence[Line]) -> Table:
    """Predicted beside actual."""
    table = Table(title=f"predicted and actual (goal: within {100 * WITHIN:.0f} %)")
    for name in ("figure", "predicted", "actual", "off", "goal"):
        table.add_column(name, justify="left" if name == "figure" else "right")
    for one in lines:
        off = "" if one.off is None else f"{100 * one.off:+.0f} %"
        goal = ("met" if one.holds else "missed") if one.goal else ""
        table.add_row(one.what, amount(one.predicted, one.unit), amount(one.actual, one.unit), off, goal)
    return table


def amount(value: float, unit: str) -> str:
    """A figure with its unit; bytes in MB or GB."""
    if unit == "B":
        return f"{value / 1e9:,.2f} GB" if value >= 1e9 else f"{value / 1e6:,.1f} MB"
    return f"{value:,.1f} {unit}".rstrip()


def duration(seconds: float) -> str:
    """Such as '48 s', '3 min', '5.2 h' or '12 days'."""
    for size, name in ((86_400 * 2, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / (86_400 if name == 'days' else size):,.1f} {name}"
    return f"{seconds:.0f} s"

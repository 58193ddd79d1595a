"""The report: one HTML file that shows a run to people who would rather look than read.

It needs nothing from outside: pictures are inside as data, there are no fonts, scripts or styles to load. Whatever a
run has not made is said to be missing, so that the report of half a run can be looked at too.
"""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from s2ops.cost.comparison import Line, of_run
from s2ops.cost.terminal_tables import amount
from s2ops.errors import InputError
from s2ops.report import layers, tables
from s2ops.report.gather import RunFacts, gather
from s2ops.report.maps import Canvas
from s2ops.selection.explain import ordered
from s2ops.storage.object_store import Store

MAX_DETAILED: Final = 16
"""Tiles shown with previews and tables, the others with links to their records. The file stays below 15 MB."""

MAX_LISTED: Final = 500
"""Further tiles listed."""

MAX_SEAMS: Final = 30
"""Edges listed, the worst first."""


def build(store: Store, names: Sequence[str]) -> str:
    """The report on the tiles of those names, as HTML. Raises InputError for an empty list."""
    if not names:
        raise InputError("a report needs at least one tile; the run has none")
    return render(store, gather(store, names, MAX_DETAILED))


def render(store: Store, facts: RunFacts) -> str:
    """The page from a run's facts and the rasters in its store."""
    res = int(facts.config.get("resolution", 10))
    canvas = Canvas.around([one.tile for one in facts.tiles], res)
    shown = layers.map_layers(store, facts, canvas)
    environment = Environment(
        loader=PackageLoader("s2ops", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"duration": tables.duration, "ordered": ordered, "amount": amount}
    return environment.get_template("page.html.j2").render(
        facts=facts,
        layers=shown,
        by_id={layer.id: layer for layer in shown},
        canvas=canvas,
        outlines=layers.outlines([one.tile for one in facts.tiles], canvas),
        figures=tables.headline(facts),
        zooms=layers.zooms(store, facts, res),
        seams=facts.edges.worst[:MAX_SEAMS],
        costs=tables.costs(facts),
        failures=facts.failures[:MAX_LISTED],
        planned=_planned(store, [one.tile.name for one in facts.tiles]),
        scores=tables.score_rows(facts.scores),
        strips={one.tile.name: layers.preview_strip(store, one) for one in facts.tiles[:MAX_DETAILED]},
        detailed=facts.tiles[:MAX_DETAILED],
        listed=facts.tiles[MAX_DETAILED : MAX_DETAILED + MAX_LISTED],
        unlisted=max(len(facts.tiles) - MAX_DETAILED - MAX_LISTED, 0),
        res=res,
        version=version("s2ops"),
    )


def _planned(store: Store, names: Sequence[str]) -> list[Line]:
    """What the plan step had said, beside what the run took; empty where either is missing."""
    try:
        return of_run(store, names)
    except InputError:
        return []


__all__ = ["build", "render"]

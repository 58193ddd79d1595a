"""HTML report (summary page, dashboard) of a run: one self-contained file.

Images are embedded as data; no fonts, scripts or styles are loaded. The report states which outputs are missing, so
that it can be built for an incomplete run too.
"""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from s2ops.cost.comparison import ComparisonLine, compare_stored_plan
from s2ops.cost.number_formats import format_amount, format_exact_duration
from s2ops.errors import InputError
from s2ops.records import DECISION_LABELS
from s2ops.report import layers, tables
from s2ops.report.gather import RunFacts, gather_run_facts
from s2ops.report.maps import Canvas
from s2ops.selection.explain import sort_candidates
from s2ops.storage.object_store import Store

MAX_DETAILED: Final = 16
"""Maximum number of tiles shown with previews and tables; with these the file stays below 15 MB."""

MAX_LISTED: Final = 500
"""Maximum number of further tiles, listed with links to their records."""

MAX_SEAMS: Final = 30
"""Maximum number of edges listed, worst first."""


def build_report(store: Store, names: Sequence[str]) -> str:
    """Build the HTML report of a run from its records and rasters.

    Args:
        store: Store of the run.
        names: Names of the tiles.

    Raises:
        InputError: If there is no tile.
    """
    if not names:
        raise InputError("Cannot build a report: the run has no tiles; give the `out` of a run.")
    return render_report(store, gather_run_facts(store, names, MAX_DETAILED))


def render_report(store: Store, facts: RunFacts) -> str:
    """Render the page from the facts of a run and the rasters in its store."""
    res = int(facts.config.get("resolution", 10))
    canvas = Canvas.from_tiles([one.tile for one in facts.tiles], res)
    shown = layers.draw_map_layers(store, facts, canvas)
    environment = Environment(
        loader=PackageLoader("s2ops", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {
        "duration": format_exact_duration,
        "ordered": sort_candidates,
        "amount": format_amount,
        "label": DECISION_LABELS.__getitem__,
    }
    return environment.get_template("page.html.j2").render(
        facts=facts,
        layers=shown,
        by_id={layer.id: layer for layer in shown},
        canvas=canvas,
        outlines=layers.project_outlines([one.tile for one in facts.tiles], canvas),
        figures=tables.build_headline(facts),
        zooms=layers.draw_seam_close_ups(store, facts, res),
        seams=facts.edges.worst[:MAX_SEAMS],
        costs=tables.build_cost_rows(facts),
        failures=facts.failures[:MAX_LISTED],
        planned=_compare_with_plan(store, [one.tile.name for one in facts.tiles]),
        scores=tables.flatten_scores(facts.scores),
        strips={one.tile.name: layers.draw_preview_strip(store, one) for one in facts.tiles[:MAX_DETAILED]},
        detailed=facts.tiles[:MAX_DETAILED],
        listed=facts.tiles[MAX_DETAILED : MAX_DETAILED + MAX_LISTED],
        unlisted=max(len(facts.tiles) - MAX_DETAILED - MAX_LISTED, 0),
        res=res,
        version=version("s2ops"),
    )


def _compare_with_plan(store: Store, names: Sequence[str]) -> list[ComparisonLine]:
    """Compare the predictions of the plan with the run; empty if either is missing."""
    try:
        return compare_stored_plan(store, names)
    except InputError:
        return []


__all__ = ["build_report", "render_report"]

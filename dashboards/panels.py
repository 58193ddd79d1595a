"""Grafana panels of a few kinds, and a dashboard that arranges them in rows of 24 columns."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, TypeAlias

from grafana_foundation_sdk.builders import bargauge, prometheus, stat, text, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders.common import ReduceDataOptions, VizLegendOptions
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    VizOrientation,
)

Panel: TypeAlias = Builder[models.Panel]
Queries: TypeAlias = Mapping[str, str]
"""PromQL by legend. In a legend, {{label}} is replaced by the label's value."""

SOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="${source}")


@dataclass(frozen=True)
class SizedPanel:
    """Panel with its width in columns and its height in grid units."""

    panel: Panel
    width: int
    height: int = 7


def build_number(title: str, why: str, queries: Queries, unit: str, width: int = 4, decimals: int = 0) -> SizedPanel:
    """Build a panel with one large figure per series, at the end of the time range."""
    panel = (
        stat.Panel().title(title).description(why).unit(unit).decimals(decimals).datasource(SOURCE).no_value("none yet")
    )
    return SizedPanel(
        _add_queries(panel.graph_mode(BigValueGraphMode.NONE).reduce_options(_LAST), queries, instant=True), width
    )


def build_time_series(title: str, why: str, queries: Queries, unit: str, width: int = 8) -> SizedPanel:
    """Build a time series panel."""
    panel = timeseries.Panel().title(title).description(why).unit(unit).datasource(SOURCE).min(0).fill_opacity(10)
    return SizedPanel(_add_queries(panel.legend(_LEGEND), queries), width)


def build_bars(
    title: str, why: str, queries: Queries, unit: str, width: int = 8, most: float | None = None
) -> SizedPanel:
    """Build a panel with one bar per series, at the end of the time range."""
    panel = bargauge.Panel().title(title).description(why).unit(unit).datasource(SOURCE).min(0)
    panel = panel.orientation(VizOrientation.HORIZONTAL).reduce_options(_LAST).no_value("none yet")
    return SizedPanel(_add_queries(panel if most is None else panel.max(most), queries, instant=True), width)


def build_text(title: str, markdown: str, width: int = 8) -> SizedPanel:
    """Build a text panel."""
    return SizedPanel(text.Panel().title(title).content(markdown), width)


_LAST: Final = ReduceDataOptions().calcs(["lastNotNull"])
_LEGEND: Final = (
    VizLegendOptions()
    .display_mode(LegendDisplayMode.LIST)
    .placement(LegendPlacement.BOTTOM)
    .show_legend(show_legend=True)
)


def _add_queries(panel: Any, queries: Queries, *, instant: bool = False) -> Panel:
    """Add the queries to a panel; `panel` is any builder of the SDK, which have no common type."""
    for letter, (legend, expression) in zip("ABCDEFGH", queries.items(), strict=False):
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(letter)
        panel = panel.with_target(query.instant() if instant else query.range())
    done: Panel = panel
    return done


def build_board(
    uid: str,
    title: str,
    why: str,
    rows: Mapping[str, Sequence[SizedPanel]],
    boxes: Mapping[str, tuple[str, str]] | None = None,
) -> models.Dashboard:
    """Build a dashboard.

    Args:
        uid: Identifier in Grafana.
        title: Title.
        why: Description.
        rows: Panels by row title.
        boxes: Additional text fields: (label, default) by variable name.
    """
    made = builders.Dashboard(title).uid(uid).description(why).tags(["s2ops"]).timezone("browser").readonly()
    made = made.time("now-6h", "now").refresh("30s").tooltip(models.DashboardCursorSync.CROSSHAIR)
    made = made.with_variable(builders.DatasourceVariable("source").label("Prometheus").type("prometheus"))
    made = made.with_variable(_build_namespace_variable())
    for name, (label, default) in (boxes or {}).items():
        made = made.with_variable(builders.TextBoxVariable(name).label(label).default_value(default))
    ids = count(1)
    for row, panels in rows.items():
        made = made.with_row(builders.Row(row).id(next(ids)))
        for one in panels:
            made = made.with_panel(_place_panel(one, next(ids)))
    made = made.link(
        builders.DashboardLink("s2ops")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags(["s2ops"])
        .keep_time(keep_time=True)
    )
    return made.build()


def _build_namespace_variable() -> builders.QueryVariable:
    variable = builders.QueryVariable("namespace").label("Namespace").datasource(SOURCE)
    variable = variable.query("label_values(s2ops_tiles_total, namespace)").refresh(
        models.VariableRefresh.ON_TIME_RANGE_CHANGED
    )
    return (
        variable.multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(models.VariableOption(selected=True, text="All", value="$__all"))
    )


def _place_panel(one: SizedPanel, number: int) -> Panel:
    panel: Any = one.panel
    placed: Panel = panel.id(number).span(one.width).height(one.height)
    return placed


def to_json(made: models.Dashboard) -> str:
    """Return the JSON that Grafana imports."""
    return json.dumps(made, cls=JSONEncoder, indent=1, sort_keys=True) + "\n"

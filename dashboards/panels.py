"""Panels of few kinds, and a dashboard that puts them into rows of 24 columns."""

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
"""Legend -> PromQL. In legends {{label}} stands for the label's value."""

SOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="${source}")


@dataclass(frozen=True)
class Sized:
    """A panel and its width in columns."""

    panel: Panel
    width: int
    height: int = 7


def number(title: str, why: str, queries: Queries, unit: str, width: int = 4, decimals: int = 0) -> Sized:
    """One big figure a series, now."""
    panel = (
        stat.Panel().title(title).description(why).unit(unit).decimals(decimals).datasource(SOURCE).no_value("none yet")
    )
    return Sized(_with(panel.graph_mode(BigValueGraphMode.NONE).reduce_options(_LAST), queries, instant=True), width)


def lines(title: str, why: str, queries: Queries, unit: str, width: int = 8) -> Sized:
    """Figures over time."""
    panel = timeseries.Panel().title(title).description(why).unit(unit).datasource(SOURCE).min(0).fill_opacity(10)
    return Sized(_with(panel.legend(_LEGEND), queries), width)


def bars(title: str, why: str, queries: Queries, unit: str, width: int = 8, most: float | None = None) -> Sized:
    """One bar a series, now."""
    panel = bargauge.Panel().title(title).description(why).unit(unit).datasource(SOURCE).min(0)
    panel = panel.orientation(VizOrientation.HORIZONTAL).reduce_options(_LAST).no_value("none yet")
    return Sized(_with(panel if most is None else panel.max(most), queries, instant=True), width)


def words(title: str, markdown: str, width: int = 8) -> Sized:
    """Text."""
    return Sized(text.Panel().title(title).content(markdown), width)


_LAST: Final = ReduceDataOptions().calcs(["lastNotNull"])
_LEGEND: Final = (
    VizLegendOptions()
    .display_mode(LegendDisplayMode.LIST)
    .placement(LegendPlacement.BOTTOM)
    .show_legend(show_legend=True)
)


def _with(panel: Any, queries: Queries, *, instant: bool = False) -> Panel:
    """The panel with its queries; `panel` is any of the SDK's builders, which share no type."""
    for letter, (legend, expression) in zip("ABCDEFGH", queries.items(), strict=False):
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(letter)
        panel = panel.with_target(query.instant() if instant else query.range())
    done: Panel = panel
    return done


def board(
    uid: str,
    title: str,
    why: str,
    rows: Mapping[str, Sequence[Sized]],
    boxes: Mapping[str, tuple[str, str]] | None = None,
) -> models.Dashboard:
    """A dashboard: row title -> its panels. `boxes`: variable -> (label, default) of further text fields."""
    made = builders.Dashboard(title).uid(uid).description(why).tags(["s2ops"]).timezone("browser").readonly()
    made = made.time("now-6h", "now").refresh("30s").tooltip(models.DashboardCursorSync.CROSSHAIR)
    made = made.with_variable(builders.DatasourceVariable("source").label("Prometheus").type("prometheus"))
    made = made.with_variable(_namespace())
    for name, (label, default) in (boxes or {}).items():
        made = made.with_variable(builders.TextBoxVariable(name).label(label).default_value(default))
    ids = count(1)
    for row, panels in rows.items():
        made = made.with_row(builders.Row(row).id(next(ids)))
        for one in panels:
            made = made.with_panel(_placed(one, next(ids)))
    made = made.link(
        builders.DashboardLink("s2ops")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags(["s2ops"])
        .keep_time(keep_time=True)
    )
    return made.build()


def _namespace() -> builders.QueryVariable:
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


def _placed(one: Sized, number: int) -> Panel:
    panel: Any = one.panel
    placed: Panel = panel.id(number).span(one.width).height(one.height)
    return placed


def to_json(made: models.Dashboard) -> str:
    """As Grafana reads it."""
    return json.dumps(made, cls=JSONEncoder, indent=1, sort_keys=True) + "\n"

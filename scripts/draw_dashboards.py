"""Draw the dashboards from Prometheus data, without Grafana: the same queries in the same layout.

Usage: draw_dashboards.py PROMETHEUS OUT START END [NAME ...]

START and END are seconds since 1970; writes OUT/dashboard-NAME.png. Prometheus must
still be running, because its data are queried.
"""

import json
import re
import sys
import textwrap
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import dashboards

WIDTH_IN, ROW_IN = 16.0, 0.36
"""Inches of the picture, and of a row of the grid."""

INK, SOFT, LINE, BACK = "#24292e", "#6a737d", "#d8dbe0", "#f4f5f5"
COLOURS = ["#5794f2", "#73bf69", "#f2994a", "#e02f44", "#b877d9", "#37872d", "#e0b400", "#3274d9", "#8f3bb8", "#888888"]


@dataclass(frozen=True)
class Series:
    """Result of a query: values over time with their legend."""

    legend: str
    minutes: list[float]
    """Since the start."""
    values: list[float]


Ask = Callable[[str, str], list[Series]]
"""(query, legend format) -> series."""


def main() -> None:
    """Draw each dashboard to a file."""
    draw_all(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]), sys.argv[5:])


def draw_all(url: str, out: Path, start: float, end: float, names: list[str]) -> None:
    """Draw the named dashboards, or all of them."""
    for name in names or list(dashboards.ALL):
        made = json.loads(dashboards.render_files()[f"{name}.json"])
        values = {f"${one['name']}": str(one.get("query", "")) for one in made["templating"]["list"]}
        values |= {"$namespace": ".*", "$__range": f"{end - start:.0f}s"}

        def ask(query: str, legend: str, given: dict[str, str] = values) -> list[Series]:
            return read_figures(url, fill_variables(query, given), legend, start, end)

        path = out / f"dashboard-{name}.png"
        draw(made, ask, path, (end - start) / 60)
        print(path)


def fill_variables(query: str, values: dict[str, str]) -> str:
    """Replace Grafana's variables; shorten windows of half an hour for a run of minutes."""
    for name in sorted(values, key=len, reverse=True):
        query = query.replace(name, values[name])
    query = query.replace("[30m:10s]", "[2m:1s]")
    return re.sub(r"\[(30m|10m)\]", "[2m]", query).replace("[5m]", "[1m]")


def read_figures(url: str, query: str, legend: str, start: float, end: float) -> list[Series]:
    """Run a query over a time range."""
    words = urllib.parse.urlencode({"query": query, "start": start, "end": end, "step": max(2, (end - start) / 200)})
    with urllib.request.urlopen(f"{url}/api/v1/query_range?{words}", timeout=60) as answer:  # noqa: S310 -- the caller says which
        result = json.load(answer)["data"]["result"]
    return [
        Series(
            re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda name, of=one["metric"]: of.get(name[1], ""), legend).strip(),
            [(float(at) - start) / 60 for at, _ in one["values"]],
            [float(value) for _, value in one["values"]],
        )
        for one in result
    ]


def format_figure(value: float, unit: str) -> str:
    """Return a value with its unit."""
    if value != value:  # noqa: PLR0124 -- not a number: nothing was divided by nothing
        return "-"
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "s":
        return f"{value:.3g} s" if value < 100 else f"{value / 60:.1f} min" if value < 6000 else f"{value / 3600:.1f} h"
    if unit in {"bytes", "Bps"}:
        return f"{value / 1e6:,.0f} MB" if unit == "bytes" else f"{value / 1e6:.2g} MB/s"
    if unit == "currencyUSD":
        return f"${value:.2g}" if value < 1 else f"${value:,.2f}"
    text = f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.3g}"
    return text + {"ms": " ms", "reqps": "/s", "watt": " W"}.get(unit, "")


def draw(made: dict[str, Any], ask: Ask, path: Path, last: float) -> None:
    """Draw all panels of a dashboard in Grafana's layout; `last` is the end in minutes."""
    rows = max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in made["panels"])
    height = rows * ROW_IN + 0.6
    figure = plt.figure(figsize=(WIDTH_IN, height), dpi=72, facecolor=BACK)
    figure.text(0.008, 1 - 0.3 / height, made["title"], fontsize=17, weight="bold", color=INK, va="center")
    figure.text(0.16, 1 - 0.3 / height, made["description"], fontsize=12, color=SOFT, va="center")
    for panel in made["panels"]:
        at = panel["gridPos"]
        top = 1 - (0.6 + at["y"] * ROW_IN) / height
        if panel["type"] == "row":
            figure.text(0.008, top - 0.2 / height, panel["title"], fontsize=12, color=INK, va="center")
            continue
        box = (at["x"] / 24 + 0.004, top - (at["h"] * ROW_IN - 0.08) / height, at["w"] / 24 - 0.008, 0)
        _draw_card(figure, panel, ask, (box[0], box[1], box[2], top - box[1]), last)
    figure.savefig(path)
    plt.close(figure)


def _draw_card(
    figure: Figure, panel: dict[str, Any], ask: Ask, box: tuple[float, float, float, float], last: float
) -> None:
    left, bottom, width, height = box
    figure.add_artist(
        Rectangle(
            (left, bottom), width, height, facecolor="white", edgecolor=LINE, transform=figure.transFigure, zorder=-1
        )
    )
    inch = 1 / figure.get_figheight()
    figure.text(
        left + 0.006, bottom + height - 0.2 * inch, panel["title"], fontsize=11, weight="bold", color=INK, va="center"
    )
    room = int(width * WIDTH_IN * 13.5)  # characters of a line of small print
    note = textwrap.shorten(panel.get("description", ""), room, placeholder=" ...")
    figure.text(left + 0.006, bottom + height - 0.4 * inch, note, fontsize=7.5, color=SOFT, va="center")
    inside = (left + 0.006, bottom + 0.08 * inch, width - 0.012, height - 0.6 * inch)
    if panel["type"] == "text":
        _draw_text(figure, panel["options"]["content"], inside, room)
        return
    unit = panel["fieldConfig"]["defaults"].get("unit", "")
    series = [one for target in panel["targets"] for one in ask(target["expr"], target["legendFormat"]) if one.values]
    if panel["type"] == "timeseries":
        axes = figure.add_axes((inside[0] + 0.036, inside[1] + 0.62 * inch, inside[2] - 0.038, inside[3] - 0.66 * inch))
        _draw_lines(axes, series, unit, last)
        return
    series = [one for one in series if one.minutes[-1] >= last - 0.1]  # these show what is so at the end
    axes = figure.add_axes(inside)
    axes.set_axis_off()
    if not series:
        axes.text(0.5, 0.5, "none yet", ha="center", va="center", color=SOFT, transform=axes.transAxes)
    elif panel["type"] == "bargauge":
        _draw_bars(axes, series, unit, panel["fieldConfig"]["defaults"].get("max"))
    else:
        _draw_figures(axes, series, unit)


def _draw_text(figure: Figure, markdown: str, box: tuple[float, float, float, float], room: int) -> None:
    plain = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", markdown).replace("`", "")
    lines = [line for part in plain.strip().splitlines() for line in (textwrap.wrap(part, int(room * 0.75)) or [""])]
    figure.text(box[0], box[1] + box[3], "\n".join(lines), fontsize=9.5, color=INK, va="top", linespacing=1.4)


def _draw_lines(axes: Axes, series: list[Series], unit: str, last: float) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(labelsize=7, colors=SOFT, length=2)
    axes.set_xlim(0, last)
    axes.yaxis.set_major_formatter(lambda value, _: format_figure(float(value), unit))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} min")
    axes.locator_params(axis="y", nbins=5)
    axes.locator_params(axis="x", nbins=6)
    if not series:
        axes.text(0.5, 0.5, "none yet", ha="center", va="center", color=SOFT, transform=axes.transAxes)
        axes.set_yticks([])
        return
    for number, one in enumerate(series):
        style = "-" if number < len(COLOURS) else "--"
        axes.plot(
            one.minutes, one.values, style, label=one.legend or " ", color=COLOURS[number % len(COLOURS)], linewidth=1.3
        )
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=6.5, ncols=4, frameon=False, loc="upper center", bbox_to_anchor=(0.48, -0.13), labelcolor=INK,
                columnspacing=0.9, handlelength=1.0, borderaxespad=0.2)  # fmt: skip


def _draw_bars(axes: Axes, series: list[Series], unit: str, most: float | None) -> None:
    values = [one.values[-1] for one in series]
    full = most if most is not None else max([*values, 1e-9])
    axes.set_xlim(0, 1)
    axes.set_ylim(-len(series) + 0.5, 0.5)
    for number, (one, value) in enumerate(zip(series, values, strict=True)):
        part = min(max(value, 0) / full, 1) if full else 0
        axes.text(0.0, -number, one.legend[:34], fontsize=8.5, color=INK, va="center")
        axes.barh(-number, 0.42, left=0.4, height=0.6, color="#eceef0")
        axes.barh(-number, 0.42 * part, left=0.4, height=0.6, color=COLOURS[1])
        axes.text(0.84, -number, format_figure(value, unit), fontsize=8.5, color=INK, va="center", weight="bold")


def _draw_figures(axes: Axes, series: list[Series], unit: str) -> None:
    """Draw one large figure, or a list in two columns."""
    if len(series) == 1:
        axes.text(
            0.5,
            0.5,
            format_figure(series[0].values[-1], unit),
            fontsize=20,
            weight="bold",
            color=INK,
            ha="center",
            va="center",
        )
        return
    columns = 1 if len(series) <= 5 else 2
    rows = -(-len(series) // columns)
    for number, one in enumerate(series):
        x, y = number // rows / columns, 1 - (number % rows + 0.5) / rows
        axes.text(x, y, one.legend, fontsize=9, color=SOFT, va="center")
        axes.text(
            x + 0.92 / columns,
            y,
            format_figure(one.values[-1], unit),
            fontsize=11,
            weight="bold",
            color=INK,
            ha="right",
            va="center",
        )


if __name__ == "__main__":
    main()

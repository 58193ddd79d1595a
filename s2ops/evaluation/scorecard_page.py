"""Scorecard page (Markdown report of accuracy and calibration), written from the figures of `scorecard.json`."""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from s2ops.evaluation.accuracy import CONFIDENCE_BINS, Figure, ReliabilityCurve
from s2ops.evaluation.world_gates import WORLD, find_gate

TITLES: Final = {
    "scene-cloud": "Clouds and shadows",
    "preview-cloud": "Clouds on previews",
    "preview-haze": "Haze",
    "water": "Water",
    "vegetation": "Vegetation",
    "building": "Buildings",
    "land cover": "Land cover of all six classes",
    WORLD: "World checks",
}

INTRODUCTION: Final = """# Scorecard

Written by `s2ops score`; do not edit. `s2ops score --quick --check docs/reference/scorecard.json` runs a small part \
again and
fails where a figure has moved by more than 0.02.

- *training*: `held out` places were not in the training data, `seen` places were; `no training` marks thresholds and
  methods of others.
- Intervals come from 1,000 draws of places, scenes or blocks with replacement. Blocks of one place give no information
  on other places. If every draw is correct, the interval is a point, which is not a proof of perfection.
- *s2ops network* is the most probable class; *s2ops mask (grown)* is the output of `s2ops mask`: small objects
  removed, clouds dilated by 40 m (at 120 m and on previews into doubtful neighbours). This lowers the IoU
  against an exact truth, but human masks are generous, and no cloud must remain in a mosaic. *clouds grown by 40 m* is
  the same dilation applied to another method.
- The simulated world is our own: its figures show that the networks learnt it, not how they perform on the Earth.
- ESA's SCL is a reference, not the truth: it misses thin cloud and classifies bright roofs as cloud.
- At Boadella, water is where band 11 of the same date is darker than halfway between the water and the land nearby,
  within the basin that the clear dates of summer show. Its pixels are 20 m, so pixels near a shore are excluded, except
  in rows with "shore included". The reference is not drawn by hand and uses no index: over dark water MNDWI and NDWI
  are 0 where a tenth of a pixel is land, so a reference by MNDWI would favour narrow lakes.
- Series: four places 2.5 km wide (31 km at 120 m) of each of four tiles, one sky per date. All methods are scored on
  the same pixels, clear on at least one of six dates; a single date counts with its clouds, as `s2ops classify` returns
  it. Best and middle are chosen by the truth, which users do not have. If a tile has a date without clouds, that date
  alone is nearly as good as all dates: in this world a class looks similar from April to September.
- *drawn by hand*: boxes and polygons that we drew over the images (`s2ops/evaluation/data`) where we were certain,
  without rims, so all methods score too high. Built is residential or industrial; grass is meadows and green crops.
  Exeter's woods were drawn again in November 2026, because the earlier boxes contained meadows. Only four of its five
  dates are fused: the fifth (17 June) is displaced by 80 m.
  Unclassified pixels count as wrong. Zurich's quarters were also outlined for training, by other people.
- Dynamic World is run from its published model on one date (its crops with an NDVI below 0.3 count as barren), and
  s2cloudless by its published classifier at 0.4, pixel by pixel; both where their packages are installed.
- EuroSAT chips have no location: chips of one town may be on both sides of the split.
"""

NEVER_CLEAR: Final = """- In the series "never clear" every date has 20 to 70 % of cloud over the scored places:
  single dates have holes, which fusion fills.
"""

WORLD_CHECKS: Final = """\
Shares of pixels on real scenes where the right class is certain without a reference by people: by an index, by place
or by construction. `s2ops classify` makes every map. *Target* is the goal; `met` and `missed` are the status of these
weights. Lines without a target are told because their truth is not known. A test fails where a value falls behind the
gate in `s2ops/evaluation/world_gates.py`. `python -m s2ops.evaluation.world_checks` repeats this section.

- Open sea: the easternmost 283 columns of Virginia, as L1C and after subtraction of the path reflectance of clean air;
  in Australia the largest body with NDWI > 0. Narrow water: at most four pixels wide.
- Tree: share of land (NDWI < 0) that is called tree although its NDVI is too low; at Boadella the greenest and the mean
  of eight clear dates, on the map of all twelve dates.
- Beach: NDVI < 0.15, blue reflectance > 0.12, within 300 m of the sea. In Australia the red coast, its salt pans and
  dry tidal flats: NDWI < 0, near infrared > 0.15. Fields: pixels whose NDVI is below 0.3 in one month and above 0.6 in
  another, each month classified alone.
- Snow: patches of simulated snow on real semi-desert rock; the real scenes contain no snow. Built is residential or
  industrial. Dusk: three clear scenes scaled to a reflectance of 0.01 to 0.02, where no class deserves confidence.
- Windows shifted: classified again after 256 rows and columns were cut off (Zagreb: 128 on all sides), compared 256
  (128) pixels away from the cut.
- Minus the best single date: negative if fusion is worse than the date that the truth selects; met if the interval
  reaches 0. Boadella is scored on water and land that band 11 shows unchanged on all clear dates. Zurich has one date.
- Error of the confidence: expected calibration error against the drawn polygons.
"""

CALIBRATION: Final = """
## Calibration

Expected calibration error of the most probable class, and the fraction of correct pixels among those with a
confidence of 0.3 to 0.4, 0.4 to 0.5, ... (in brackets: their share of all pixels). Perfect calibration gives 0.35,
0.45, ..., 0.95.
"""

CONTEXT: Final = """
## Published figures of others

Overall accuracy on other pixels, for context only: WorldCover 74.4 % (2020) and 76.7 % (2021), by its authors; Dynamic
World 73.8 % (Brown et al. 2022); on the same points Esri 75 %, Dynamic World 72 %, WorldCover 65 %
(Venter et al. 2022). Clouds: OmniCloudMask 92.2 % clear, 91.2 % cloud, 80.5 % shadow (balanced, by its authors).

## Not covered yet

Human cloud masks at 10 m, and points visited in the field: our polygons are drawn from the image alone, by
the authors of the networks. Networks of full width. Snow, the tropics, cities of other continents."""


def format_lines(figures: Sequence[Figure]) -> list[str]:
    """Format the figures for a terminal, one line each."""
    return [
        f"{figure.network:13} {figure.data}; {figure.method}: {figure.score} {figure.value:.3f}"
        f"{_format_interval(figure)}"
        for figure in figures
    ]


def _format_interval(figure: Figure) -> str:
    """Return the 95 % interval in brackets, or nothing if there is none."""
    return "" if figure.low is None else f" ({figure.low:.3f} to {figure.high:.3f})"


def render_page(figures: Sequence[Figure], curves: Sequence[ReliabilityCurve]) -> str:
    """Render the scorecard as Markdown."""
    told = NEVER_CLEAR if any("never clear" in figure.data for figure in figures) else ""
    text = [INTRODUCTION + told]
    order = [*TITLES]
    ordered = sorted(figures, key=lambda figure: order.index(figure.network))
    for network, group in groupby(ordered, key=lambda figure: figure.network):
        text.append(f"\n## {TITLES[network]}\n")
        if network == WORLD:
            text += [WORLD_CHECKS, *_render_world_table(list(group))]
            continue
        for data, part in groupby(group, key=lambda figure: figure.data):
            rows = [figure for figure in part if figure.score != "calibration error"]
            if rows:
                text += _render_table(f"{network} · {data}", rows)
    text.append(CALIBRATION)
    text += _render_calibration(figures, curves)
    text.append(CONTEXT)
    return "\n".join(text) + "\n"


def _render_table(title: str, rows: Sequence[Figure]) -> list[str]:
    """Render the figures of one network on one data set as a Markdown table."""
    head = [f"**{title}**, {rows[0].pixels:,} px, {rows[0].units}", ""]
    body = [
        f"| {figure.method} | {figure.score} | {figure.value:.3f} | {_format_interval(figure).strip(' ()') or '-'} | "
        f"{figure.seen} |"
        for figure in rows
    ]
    if rows[0].weights is not None:
        head += [f"Of earlier weights: {rows[0].weights}. The network for all classes was not at hand again.", ""]
    return [*head, "| method | score | value | 95 % interval | training |", "|---|---|---|---|---|", *body, ""]


def _render_world_table(rows: Sequence[Figure]) -> list[str]:
    """Render the world checks as a Markdown table with target and status."""
    body = []
    for figure in rows:
        gate = find_gate(figure)
        interval = _format_interval(figure).strip(" ()") or "-"
        body.append(
            f"| {figure.data} | {figure.score} | {figure.value:.3f} | {interval} | {gate.format_target()} | "
            f"{gate.format_status(figure)} | {figure.pixels:,} | {figure.units} | {figure.seen} |"
        )
    return [
        "| where | score | value | 95 % interval | target | status | px | units | training |",
        "|---" * 9 + "|",
        *body,
    ]


def _render_calibration(figures: Sequence[Figure], curves: Sequence[ReliabilityCurve]) -> list[str]:
    """Render calibration errors and reliability curves as a Markdown table, for confidence from 0.3."""
    errors = {(figure.network, figure.data): figure for figure in figures if figure.score == "calibration error"}
    edges = " | ".join(f"{index / CONFIDENCE_BINS:.1f}" for index in range(3, CONFIDENCE_BINS))
    text = [f"| network | data | error | 95 % interval | {edges} |", "|---" * (4 + CONFIDENCE_BINS - 3) + "|"]
    for curve in curves:
        figure = errors[curve.network, curve.data]
        cells = [
            f"{right:.2f} ({share:.0%})" if share >= 0.0005 else ""
            for share, right in zip(curve.share[3:], curve.right[3:], strict=True)
        ]
        data = curve.data if figure.weights is None else f"{curve.data}, earlier weights"
        text.append(
            f"| {curve.network} | {data} | {figure.value:.3f} | {_format_interval(figure).strip(' ()') or '-'} | "
            f"{' | '.join(cells)} |"
        )
    return text

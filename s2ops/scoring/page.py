"""The scorecard as people read it."""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from s2ops.scoring.figures import BINS, Curve, Figure

TITLES: Final = {
    "scene-cloud": "Clouds and shadows",
    "preview-cloud": "Clouds on previews",
    "preview-haze": "Haze",
    "water": "Water",
    "vegetation": "Vegetation",
    "building": "Buildings",
    "land cover": "Land cover: does fusing dates pay?",
}

INTRODUCTION: Final = """# Scorecard

Written by `s2ops score`; do not edit. `s2ops score --quick --check docs/scorecard.json` runs a small part again and
fails where a figure has moved by more than 0.02.

- *training*: places `held out` were never shown to it, `seen` were; `no training` marks thresholds and methods of
  others.
- Intervals come from 1,000 draws of places, scenes or blocks with replacement. Blocks of one place say nothing of other
  places, and where every draw is right the interval is a point: that is no proof of perfection.
- *s2ops network* is the most probable class; *s2ops mask (grown)* is what `s2ops mask` writes: specks dropped, clouds
  grown by 40 m or a pixel. That costs IoU against an exact truth; it is there so that no cloud is left in a mosaic.
- The simulated world is our own: its figures say that the networks learnt it, not how they do on the Earth.
- ESA's SCL is a reference, not the truth: it misses thin cloud and takes bright roofs for cloud.
- At Boadella, water is where band 11 is dark and MNDWI high; its pixels are 20 m, so those near a shore are left open
  unless it says "shore included". No hand has drawn this reference, and NDWI shares the green band with it. Hazy dates
  are judged by clear dates two to five weeks away, where two of these agree.
- Series are of places 2.5 km wide (31 km at 120 m), and each has skies of its own. A place so small nearly always has a
  date without any cloud; one date for all places is what one date of a whole region is. All ways are judged on the
  same pixels, clear on at least one date.
- EuroSAT chips do not say where they lie: chips of one town may be on both sides of the split.
"""

CALIBRATION: Final = """
## Calibration

Expected calibration error of the most probable class, and the part of pixels that are right among those with a
confidence of 0.3 to 0.4, 0.4 to 0.5, ... (in brackets: their share of all pixels). Honest is 0.35, 0.45, ..., 0.95.
"""

CONTEXT: Final = """
## What others publish

Overall accuracy on other pixels, for context alone: WorldCover 74.4 % (2020) and 76.7 % (2021), by its authors; Dynamic
World 73.8 % (Brown et al. 2022); on the same points Esri 75 %, Dynamic World 72 %, WorldCover 65 %
(Venter et al. 2022). Clouds: OmniCloudMask 92.2 % clear, 91.2 % cloud, 80.5 % shadow (balanced, by its authors).

## What is not here yet

Three networks against one for all classes; `s2cloudless` and Dynamic World on the same pixels (they need bands or
software that this command does not ask for); hand-drawn references of towns and clouds; networks of full width."""


def lines(figures: Sequence[Figure]) -> list[str]:
    """Figures for a terminal."""
    return [
        f"{figure.network:13} {figure.data}; {figure.method}: {figure.score} {figure.value:.3f}{_interval(figure)}"
        for figure in figures
    ]


def _interval(figure: Figure) -> str:
    return "" if figure.low is None else f" ({figure.low:.3f} to {figure.high:.3f})"


def page(figures: Sequence[Figure], curves: Sequence[Curve]) -> str:
    """The scorecard as Markdown."""
    text = [INTRODUCTION]
    order = [*TITLES]
    ordered = sorted(figures, key=lambda figure: order.index(figure.network))
    for network, group in groupby(ordered, key=lambda figure: figure.network):
        text.append(f"\n## {TITLES[network]}\n")
        for data, part in groupby(group, key=lambda figure: figure.data):
            rows = [figure for figure in part if figure.score != "calibration error"]
            if rows:
                text += _table(f"{network} · {data}", rows)
    text.append(CALIBRATION)
    text += _calibration(figures, curves)
    text.append(CONTEXT)
    return "\n".join(text) + "\n"


def _table(title: str, rows: Sequence[Figure]) -> list[str]:
    head = [f"**{title}**, {rows[0].pixels:,} px, {rows[0].units}", ""]
    body = [
        f"| {figure.method} | {figure.score} | {figure.value:.3f} | {_interval(figure).strip(' ()') or '-'} | "
        f"{figure.seen} |"
        for figure in rows
    ]
    return [*head, "| method | score | value | 95 % interval | training |", "|---|---|---|---|---|", *body, ""]


def _calibration(figures: Sequence[Figure], curves: Sequence[Curve]) -> list[str]:
    errors = {(figure.network, figure.data): figure for figure in figures if figure.score == "calibration error"}
    edges = " | ".join(f"{index / BINS:.1f}" for index in range(3, BINS))
    text = [f"| network | data | error | 95 % interval | {edges} |", "|---" * (4 + BINS - 3) + "|"]
    for curve in curves:
        figure = errors[curve.network, curve.data]
        cells = [
            f"{right:.2f} ({share:.0%})" if share >= 0.0005 else ""
            for share, right in zip(curve.share[3:], curve.right[3:], strict=True)
        ]
        text.append(
            f"| {curve.network} | {curve.data} | {figure.value:.3f} | {_interval(figure).strip(' ()') or '-'} | "
            f"{' | '.join(cells)} |"
        )
    return text

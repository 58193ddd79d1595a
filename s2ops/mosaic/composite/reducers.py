"""The rules by which a tile's scenes may become one picture, by the name that a configuration gives them.

`recent` takes the best scene that is clear, the others weigh all clear looks at a pixel. A look's weight is its share
(`fading.py`): it fades out towards cloud, shadow and the swath's edge, so no rule leaves a line where a scene ends. All
work on corrected levels (gains and local shifts), pixel by pixel, in a fixed order: no slab and no thread shows.
"""

from typing import Final

import numpy as np

from s2ops.constants import Float32, Int64, UInt8
from s2ops.mosaic.composite.compositing import FadedFirst, Fused, Rule, claimed, corrected_row, percent
from s2ops.mosaic.composite.scene_stack import Stacked
from s2ops.runtime.jit import compiled


class Median(Rule):
    """Each band's median on its own: steady against missed cloud, but its four levels may be of four dates.

    The dominant scene is the nearest to it; its weight is that look's part of all.
    """

    @staticmethod
    def merge(scenes: Stacked, out: Fused) -> None:
        """Weighted medians."""
        _medians(scenes, out)


class Medoid(Rule):
    """The look that is nearest to all others together: always one date's pixel, all bands of it."""

    @staticmethod
    def merge(scenes: Stacked, out: Fused) -> None:
        """The look with the least weighted sum of distances, for its own weight."""
        _medoids(scenes, out)


class Geomedian(Rule):
    """The point nearest to all looks together, bands as one: keeps colours true, and lowers noise.

    Weiszfeld's iteration; Roberts et al. 2017, High-dimensional pixel composites from earth observation time series.
    """

    @staticmethod
    def merge(scenes: Stacked, out: Fused) -> None:
        """Weighted geometric medians."""
        _geomedians(scenes, out)


RULES: Final[dict[str, type[Rule]]] = {
    "recent": FadedFirst,
    "median": Median,
    "medoid": Medoid,
    "geomedian": Geomedian,
}

_TURNS = 40
"""Iterations of the geometric median at most; most pixels need five."""

_NEAR = np.float32(0.02)
"""Levels: a step shorter than this ends the iteration, far below the rounding to whole levels."""


@compiled
def _row(scenes: Stacked, y: int, shares: Float32, rows: Float32) -> None:
    """Into `shares` (scene, x) and `rows` (scene, band, x): weights and corrected levels of a row of pixels."""
    number, bands, _, _ = scenes.levels.shape
    for scene in range(number):
        claimed(scenes, scene, y, shares[scene])
        for band in range(bands):
            corrected_row(scenes, scene, band, y, rows[scene, band])


@compiled
def _looks(numbers: UInt8, shares: Float32, rows: Float32, x: int, looks: tuple[Float32, Float32, UInt8]) -> int:
    """The clear looks at a pixel into `looks`: levels (look, band), weights, and scene of each; gives their number."""
    values, weights, which = looks
    count = 0
    for scene in range(len(numbers)):
        if shares[scene, x] > 0:
            for band in range(rows.shape[1]):
                values[count, band] = rows[scene, band, x]
            weights[count], which[count] = shares[scene, x], numbers[scene]
            count += 1
    return count


@compiled
def _distance(values: Float32, look: int, point: Float32) -> np.float32:
    total = np.float32(0)
    for band in range(len(point)):
        apart = values[look, band] - point[band]
        total += apart * apart
    root: np.float32 = np.sqrt(total)
    return root


@compiled
def _settle(
    values: Float32, weights: Float32, which: UInt8, count: int, point: Float32, y: int, x: int, out: Fused
) -> None:
    """Write the point, and the look nearest to it with its part of all weight."""
    best, nearest, total = 0, np.float32(np.inf), np.float32(0)
    for look in range(count):
        apart = _distance(values, look, point)
        total += weights[look]
        if apart < nearest:
            best, nearest = look, apart
    for band in range(len(point)):
        out.levels[band, y, x] = np.uint8(np.rint(point[band]))
    out.source[y, x] = which[best]
    out.weight[y, x] = percent(weights[best] / total)


@compiled
def _medians(scenes: Stacked, out: Fused) -> None:
    number, bands, height, width = scenes.levels.shape
    values, point = np.empty((number, bands), np.float32), np.empty(bands, np.float32)
    weights, which, order = np.empty(number, np.float32), np.empty(number, np.uint8), np.empty(number, np.int64)
    shares, rows = np.empty((number, width), np.float32), np.empty((number, bands, width), np.float32)
    for y in range(height):
        _row(scenes, y, shares, rows)
        for x in range(width):
            count = _looks(scenes.numbers, shares, rows, x, (values, weights, which))
            if count == 0:
                continue
            for band in range(bands):
                for look in range(count):  # insertion keeps equal levels in the scenes' order
                    at = look
                    while at > 0 and values[order[at - 1], band] > values[look, band]:
                        order[at] = order[at - 1]
                        at -= 1
                    order[at] = look
                point[band] = _middle(values, weights, order, count, band)
            _settle(values, weights, which, count, point, y, x, out)


@compiled
def _middle(values: Float32, weights: Float32, order: Int64, count: int, band: int) -> np.float32:
    """Where half the weight lies below, each look's weight lying half on either side of it; between looks, linear.

    With equal weights it is the median; with others it moves as weights do, without a jump.
    """
    total = np.float32(0)
    for look in range(count):
        total += weights[look]
    half, below = total / 2, np.float32(0)
    before, middle = np.float32(0), np.float32(values[order[0], band])
    for at in range(count):
        look = order[at]
        level, centre = np.float32(values[look, band]), below + weights[look] / 2
        if centre >= half:
            if at > 0:
                middle += (level - middle) * (half - before) / (centre - before)
            break
        below += weights[look]
        before, middle = centre, level
    return middle


@compiled
def _medoids(scenes: Stacked, out: Fused) -> None:
    number, bands, height, width = scenes.levels.shape
    values, point = np.empty((number, bands), np.float32), np.empty(bands, np.float32)
    weights, which = np.empty(number, np.float32), np.empty(number, np.uint8)
    shares, rows = np.empty((number, width), np.float32), np.empty((number, bands, width), np.float32)
    for y in range(height):
        _row(scenes, y, shares, rows)
        for x in range(width):
            count = _looks(scenes.numbers, shares, rows, x, (values, weights, which))
            if count == 0:
                continue
            best, least, total = 0, np.float32(np.inf), np.float32(0)
            for look in range(count):
                total += weights[look]
                point[:] = values[look]
                cost = np.float32(0)
                for other in range(count):
                    cost += weights[other] * _distance(values, other, point)
                # at its rim a scene weighs little: there it must be much nearer than others to be taken
                cost /= weights[look]
                if cost < least:
                    best, least = look, cost
            for band in range(bands):
                out.levels[band, y, x] = np.uint8(np.rint(values[best, band]))
            out.source[y, x] = which[best]
            out.weight[y, x] = percent(weights[best] / total)


@compiled
def _geomedians(scenes: Stacked, out: Fused) -> None:
    number, bands, height, width = scenes.levels.shape
    values, point, sums = (
        np.empty((number, bands), np.float32),
        np.empty(bands, np.float32),
        np.empty(bands, np.float32),
    )
    weights, which = np.empty(number, np.float32), np.empty(number, np.uint8)
    shares, rows = np.empty((number, width), np.float32), np.empty((number, bands, width), np.float32)
    for y in range(height):
        _row(scenes, y, shares, rows)
        for x in range(width):
            count = _looks(scenes.numbers, shares, rows, x, (values, weights, which))
            if count == 0:
                continue
            total = np.float32(0)
            point[:] = 0
            for look in range(count):
                total += weights[look]
                for band in range(bands):
                    point[band] += (values[look, band] - point[band]) * (weights[look] / total)
            for _ in range(_TURNS if count > 2 else 0):  # of two looks every point between is one: their mean
                pull = np.float32(0)
                sums[:] = 0
                for look in range(count):
                    part = weights[look] / max(_distance(values, look, point), _NEAR)
                    pull += part
                    for band in range(bands):
                        sums[band] += part * values[look, band]
                moved = np.float32(0)
                for band in range(bands):
                    to = sums[band] / pull
                    moved = max(moved, abs(to - point[band]))
                    point[band] = to
                if moved < _NEAR:
                    break
            _settle(values, weights, which, count, point, y, x, out)

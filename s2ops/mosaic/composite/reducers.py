"""Composite methods (reducers): median, medoid and geometric median of a pixel's clear observations.

`recent` takes the best clear scene (`compositing.py`). The other methods combine all clear observations of a pixel,
each with its edge weight (`edge_weights.py`). Weights fall towards cloud, shadow and the swath's edge, so no method
leaves a line where a scene ends. All methods use corrected levels (gains and local offsets), pixel by pixel, in a fixed
order: slabs and threads do not change the result.
"""

from typing import Final

import numpy as np

from s2ops.constants import Float32, Int64, UInt8
from s2ops.mosaic.composite.compositing import (
    Composite,
    CompositeMethod,
    FeatheredFirst,
    compute_scene_weights,
    correct_row,
    quantize_percent,
)
from s2ops.mosaic.composite.scene_stack import SceneArrays
from s2ops.runtime.jit import compile_kernel

_MEDIAN, _MEDOID, _GEOMEDIAN = 0, 1, 2


class Median(CompositeMethod):
    """Weighted median of each band on its own.

    It is robust against missed cloud, but the four levels of a pixel may be of four dates. The provenance is the
    nearest observation; its weight is that observation's part of all weight.
    """

    @staticmethod
    def merge(scenes: SceneArrays, out: Composite) -> None:
        """Compute weighted medians."""
        _reduce(scenes, _MEDIAN, out)


class Medoid(CompositeMethod):
    """Observation that is nearest to all others together: always one date's pixel, in all bands."""

    @staticmethod
    def merge(scenes: SceneArrays, out: Composite) -> None:
        """Select the observation with the smallest weighted sum of distances, divided by its own weight."""
        _reduce(scenes, _MEDOID, out)


class Geomedian(CompositeMethod):
    """Geometric median: point nearest to all observations together, bands as one. It keeps colours and lowers noise.

    Weiszfeld's iteration; Roberts et al. 2017, High-dimensional pixel composites from earth observation time series.
    """

    @staticmethod
    def merge(scenes: SceneArrays, out: Composite) -> None:
        """Compute weighted geometric medians."""
        _reduce(scenes, _GEOMEDIAN, out)


COMPOSITE_METHODS: Final[dict[str, type[CompositeMethod]]] = {
    "recent": FeatheredFirst,
    "median": Median,
    "medoid": Medoid,
    "geomedian": Geomedian,
}
"""Composite methods by their name in the configuration (`composite.rule`)."""

_MAX_ITERATIONS = 40
"""Maximum number of iterations of the geometric median; most pixels need five."""

_MIN_STEP = np.float32(0.02)
"""Levels: a step shorter than this ends the iteration, far below the rounding to whole levels."""


@compile_kernel
def _reduce(scenes: SceneArrays, method: int, out: Composite) -> None:
    """Reduce the clear observations of each pixel by one of the methods."""
    number, bands, height, width = scenes.levels.shape
    # clear observations of one pixel: corrected levels (observation, band), edge weights, scenes; scratch for sorting
    values, trust = np.empty((number, bands), np.float32), np.empty(number, np.float32)
    which, order = np.empty(number, np.uint8), np.empty(number, np.int64)
    point, sums = np.empty(bands, np.float32), np.empty(bands, np.float32)
    weights, rows = np.empty((number, width), np.float32), np.empty((number, bands, width), np.float32)
    for y in range(height):
        for scene in range(number):
            compute_scene_weights(scenes, scene, y, weights[scene])
            for band in range(bands):
                correct_row(scenes, scene, band, y, rows[scene, band])
        for x in range(width):
            count = _gather_observations(scenes.numbers, weights, rows, x, (values, trust, which))
            if count == 0:
                continue
            if method == _MEDIAN:
                chosen = _compute_median(values, trust, order, count, point)
            elif method == _MEDOID:
                chosen = _compute_medoid(values, trust, count, point)
            else:
                chosen = _compute_geomedian(values, trust, count, point, sums)
            total = np.float32(0)
            for one in range(count):
                total += trust[one]
            for band in range(bands):
                out.levels[band, y, x] = np.uint8(np.rint(point[band]))
            out.provenance[y, x] = which[chosen]
            out.weight[y, x] = quantize_percent(trust[chosen] / total)


@compile_kernel
def _gather_observations(
    numbers: UInt8, weights: Float32, rows: Float32, x: int, seen: tuple[Float32, Float32, UInt8]
) -> int:
    """Gather a pixel's clear observations from `weights` (scene, x) and `rows` (scene, band, x); return their number.

    They are written to `seen`: levels (observation, band), weights, and the number of each scene in the provenance.
    """
    values, trust, which = seen
    count = 0
    for scene in range(len(numbers)):
        if weights[scene, x] > 0:
            for band in range(rows.shape[1]):
                values[count, band] = rows[scene, band, x]
            trust[count], which[count] = weights[scene, x], numbers[scene]
            count += 1
    return count


@compile_kernel
def _compute_distance(values: Float32, one: int, point: Float32) -> np.float32:
    """Compute the Euclidean distance between an observation and a point, in levels."""
    total = np.float32(0)
    for band in range(len(point)):
        apart = values[one, band] - point[band]
        total += apart * apart
    root: np.float32 = np.sqrt(total)
    return root


@compile_kernel
def _find_nearest(values: Float32, count: int, point: Float32) -> int:
    """Find the observation that is nearest to the point; the first of equals."""
    best, nearest = 0, np.float32(np.inf)
    for one in range(count):
        apart = _compute_distance(values, one, point)
        if apart < nearest:
            best, nearest = one, apart
    return best


@compile_kernel
def _compute_median(values: Float32, weights: Float32, order: Int64, count: int, point: Float32) -> int:
    """Set the point to each band's weighted median and return the nearest observation."""
    for band in range(len(point)):
        for one in range(count):  # insertion keeps equal levels in the scenes' order
            at = one
            while at > 0 and values[order[at - 1], band] > values[one, band]:
                order[at] = order[at - 1]
                at -= 1
            order[at] = one
        point[band] = _interpolate_median(values, weights, order, count, band)
    return _find_nearest(values, count, point)


@compile_kernel
def _interpolate_median(values: Float32, weights: Float32, order: Int64, count: int, band: int) -> np.float32:
    """Compute the level below which half the weight lies, linear between observations.

    Half of an observation's weight counts as below it and half as above it. With equal weights this is the median;
    with others it follows the weights without a jump.
    """
    total = np.float32(0)
    for one in range(count):
        total += weights[one]
    half, below = total / 2, np.float32(0)
    before, middle = np.float32(0), np.float32(values[order[0], band])
    for at in range(count):
        one = order[at]
        level, centre = np.float32(values[one, band]), below + weights[one] / 2
        if centre >= half:
            if at > 0:
                middle += (level - middle) * (half - before) / (centre - before)
            break
        below += weights[one]
        before, middle = centre, level
    return middle


@compile_kernel
def _compute_medoid(values: Float32, weights: Float32, count: int, point: Float32) -> int:
    """Set the point to the medoid and return its observation."""
    best, least = 0, np.float32(np.inf)
    for one in range(count):
        cost = np.float32(0)
        for other in range(count):
            cost += weights[other] * _compute_distance(values, other, values[one])
        # near its edge a scene weighs little: there it must be much nearer than the others to be selected
        cost /= weights[one]
        if cost < least:
            best, least = one, cost
    for band in range(len(point)):
        point[band] = values[best, band]
    return best


@compile_kernel
def _compute_geomedian(values: Float32, weights: Float32, count: int, point: Float32, sums: Float32) -> int:
    """Set the point to the geometric median and return the nearest observation."""
    total = np.float32(0)
    point[:] = 0
    for one in range(count):
        total += weights[one]
        for band in range(len(point)):
            point[band] += (values[one, band] - point[band]) * (weights[one] / total)
    # every point between two observations is a geometric median of them: their mean stays
    for _ in range(_MAX_ITERATIONS if count > 2 else 0):
        pull = np.float32(0)
        for band in range(len(point)):
            sums[band] = 0
        for one in range(count):
            part = weights[one] / max(_compute_distance(values, one, point), _MIN_STEP)
            pull += part
            for band in range(len(point)):
                sums[band] += part * values[one, band]
        moved = np.float32(0)
        for band in range(len(point)):
            to = sums[band] / pull
            moved = max(moved, abs(to - point[band]))
            point[band] = to
        if moved < _MIN_STEP:
            break
    return _find_nearest(values, count, point)

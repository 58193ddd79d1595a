"""Gains that bring scenes, or tiles, to one radiometry: what is measured between two, and the solution for all.

A gain multiplies brightness, that is reflectance + 0.04, one for each band; on the tone curve it is a shift by a
constant number of levels. What differs between dates is partly added (haze, strongest in the dark) and partly
multiplied (sun, season). One figure for both lies between the two: on clear dates of one month it leaves less of the
difference than a gain on reflectance (docs/explanation/composite.md has the numbers), and there is no second unknown to go astray
over water.

Two rasters of the same ground are compared by the counts of their pairs of levels: 256 x 256 numbers a band say all
that a gain can depend on, add up over row slabs in any order, and need no memory for pixels. The measured ratio is that
of brightness, b over a; a solution wants `log gain(a) - log gain(b) = log ratio(a, b)`, so that both show the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np

from s2ops.constants import BANDS, Bool, Float32, Float64, Int64, UInt8
from s2ops.errors import RasterError
from s2ops.imaging.tone_curve import FULL
from s2ops.runtime.jit import compiled
from s2ops.runtime.lazy_scipy import linalg, sparse

GAIN_LIMITS: Final = (0.6, 1.6)
"""A correction beyond this is no atmosphere or season but a wrong observation; it is clipped."""

MIN_PIXELS: Final = 100
"""Fewer usable common pixels say nothing: no ratio."""

RIDGE: Final = 1e-3
"""Pull towards gain 1, in units of a typical pair. It fixes the level of each group of connected nodes, and lets a
drift of the measurements die out over some 30 tiles (3,000 km) instead of running across a continent."""

_USABLE: Final = (2, 254)
"""Levels outside are clipped reflectances (black, or above 1.4): they hide their ratio."""

_ROUNDING: Final = 4
"""Decimals of a gain: far finer than a level (0.1 level at most), far coarser than the solver's error."""

Gains = tuple[float, ...]
"""One gain per band, in the order of `codes.BANDS`."""


def gain_shift(gains: Sequence[float]) -> Float32:
    """Levels that gains add, one for each band: (4,) float32. Gain 1 adds exactly 0."""
    out: Float32 = (FULL * np.log(gains)).astype(np.float32)
    return out


def corrected(levels: UInt8, shift: Float32 | float) -> Float32:
    """Levels of any shape, shifted, unrounded: 0 stays 0, the rest stays in 1..255."""
    out: Float32 = np.clip(levels + np.float32(shift), 1, 255)
    out[levels == 0] = 0
    return out


@dataclass(frozen=True, slots=True)
class Ratio:
    """How much brighter one raster is than another over the same ground, per band."""

    logs: tuple[float, ...]
    """Natural logarithm of brightness b / brightness a, where brightness is reflectance + 0.04."""
    weights: tuple[float, ...]
    """Trust in each, relative to other ratios: grows with the pixels, falls with their scatter."""
    pixels: int
    """Common clear pixels counted."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A ratio between two named nodes."""

    a: str
    b: str
    ratio: Ratio


@dataclass
class PairCounts:
    """How often each pair of levels occurs in two rasters: fed in slabs, whole as soon as all are in."""

    counts: Int64 = field(default_factory=lambda: np.zeros((len(BANDS), 256, 256), np.int64))
    """(4, level of a, level of b)."""

    def feed(self, a: UInt8, b: UInt8, valid: Bool) -> Self:
        """Count (4, y, x) levels `a` and `b` where `valid` (y, x), both clear; level 0 is left out anyway."""
        if a.shape != b.shape or a.shape[1:] != valid.shape:
            raise RasterError(f"levels of {a.shape} and {b.shape} and a mask of {valid.shape} are no pair; cut alike")
        _count_pairs(a, b, valid, self.counts)
        return self

    def ratio(self, minimum: int = MIN_PIXELS) -> Ratio | None:
        """The robust ratio b / a, or None where a band has fewer than `minimum` usable pixels."""
        fits = [_band_ratio(table, minimum) for table in self.counts]
        known = [fit for fit in fits if fit is not None]
        if len(known) < len(fits):
            return None
        return Ratio(
            logs=tuple(log for log, _ in known),
            weights=tuple(weight for _, weight in known),
            pixels=int(self.counts[:, 1:, 1:].sum(axis=(1, 2)).min()),
        )


@compiled
def _count_pairs(a: UInt8, b: UInt8, valid: Bool, counts: Int64) -> None:
    for band in range(len(a)):
        for y in range(valid.shape[0]):
            for x in range(valid.shape[1]):
                if valid[y, x]:
                    counts[band, a[band, y, x], b[band, y, x]] += 1


def pair_ratio(a: UInt8, b: UInt8, valid: Bool, minimum: int = MIN_PIXELS) -> Ratio | None:
    """The robust ratio of brightness b / a of (4, y, x) levels where `valid` (y, x); None where too few."""
    return PairCounts().feed(a, b, valid).ratio(minimum)


def _band_ratio(counts: Int64, minimum: int) -> tuple[float, float] | None:
    """(log ratio, weight) from the counts of one band, or None.

    The ratio is the middle of the differences of levels. What has changed between the two (fields, tides, missed
    cloud) is an outlier: Tukey's biweight mean, begun at the median, which alone would come in whole levels.
    """
    low, high = _USABLE
    first, second = np.nonzero(counts[low : high + 1, low : high + 1])
    number = counts[low : high + 1, low : high + 1][first, second].astype(np.float64)
    if number.sum() < minimum:
        return None
    difference = (second - first).astype(np.float64)
    shift = _median(difference, number)
    for _ in range(30):
        scale = max(1.4826 * _median(np.abs(difference - shift), number), 1.0)  # at least one level
        trust = number * np.clip(1 - ((difference - shift) / (4.685 * scale)) ** 2, 0, None) ** 2
        before, shift = shift, float((trust * difference).sum() / trust.sum())
        if abs(shift - before) < 1e-5:
            break
    # pixels are not independent of their neighbours: the root keeps large overlaps from ruling everything
    return float(shift / FULL), float(np.sqrt(trust.sum())) / scale**2


def _median(values: Float64, weights: Float64) -> float:
    """The weighted median."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(total, total[-1] / 2)]])


def solve_gains(
    nodes: Mapping[str, float], pairs: Iterable[Pair], limits: tuple[float, float] = GAIN_LIMITS
) -> dict[str, Gains]:
    """The gains of all nodes that make the pairs agree best: robust least squares, one sparse system per band.

    `nodes` gives each node's name and the weight with which it stands for the right radiometry (its clear area, say):
    within each connected group the mean of log gains with these weights is 0. A node without pairs keeps gain 1.
    The result does not depend on the order of nodes or pairs. Raises RasterError for a pair of unknown nodes.
    """
    names = sorted(nodes)
    index = {name: number for number, name in enumerate(names)}
    ordered = sorted((_forward(pair) for pair in pairs), key=lambda pair: (pair.a, pair.b, pair.ratio.logs))
    for pair in ordered:
        if pair.a not in index or pair.b not in index or pair.a == pair.b:
            raise RasterError(f"the pair {pair.a}, {pair.b} does not join two of the {len(names)} nodes; give both")
    if not ordered:
        return {name: (1.0,) * len(BANDS) for name in names}
    ends = np.array([(index[pair.a], index[pair.b]) for pair in ordered])
    anchor = np.maximum(np.array([nodes[name] for name in names], np.float64), 1e-9)
    logs, weights = (np.array([getattr(pair.ratio, part) for pair in ordered]) for part in ("logs", "weights"))
    solved = [_solve_band(ends, logs[:, band], weights[:, band], anchor) for band in range(len(BANDS))]
    gains = np.round(np.clip(np.exp(np.stack(solved, axis=1)), *limits), _ROUNDING)
    return {name: tuple(float(gain) for gain in gains[number]) for name, number in index.items()}


def _forward(pair: Pair) -> Pair:
    """The same pair from the smaller name to the larger, so that (a, b) and (b, a) are one observation."""
    if pair.a <= pair.b:
        return pair
    turned = Ratio(tuple(-log for log in pair.ratio.logs), pair.ratio.weights, pair.ratio.pixels)
    return Pair(pair.b, pair.a, turned)


def _solve_band(ends: Int64, logs: Float64, weights: Float64, anchor: Float64) -> Float64:
    """Log gains of one band: least squares reweighted by Huber's rule until nothing moves.

    The ridge carries the anchor's weights, so that summing the normal equations over a connected group gives
    `sum(anchor * log gain) = 0` there: no constraint is needed.
    """
    count, nodes = len(logs), len(anchor)
    rows = np.repeat(np.arange(count), 2)
    signs = np.tile([1.0, -1.0], count)
    difference = sparse.coo_matrix((signs, (rows, ends.ravel())), shape=(count, nodes)).tocsr()
    base = np.clip(weights / np.median(weights), 0.05, 20.0)  # no pair is ignored, none rules alone
    ridge = sparse.diags(RIDGE * anchor / anchor.mean())
    trust, solution = base, np.zeros(nodes)
    for _ in range(25):
        weighted = sparse.diags(trust) @ difference
        system = sparse.csc_matrix(difference.T @ weighted + ridge)
        before, solution = solution, linalg.splu(system, permc_spec="MMD_AT_PLUS_A").solve(weighted.T @ logs)
        if np.abs(solution - before).max() < 1e-7:
            break
        residual = np.abs(logs - difference @ solution)
        limit = max(1.345 * 1.4826 * float(np.median(residual)), 0.005)  # half a percent is never an outlier
        trust = base * np.minimum(1.0, limit / np.maximum(residual, 1e-12))
    out: Float64 = solution
    return out

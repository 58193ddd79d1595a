"""Gain matching (relative radiometric normalization) of scenes: robust pairwise brightness ratios, solved for all.

A gain multiplies brightness, that is reflectance + 0.04, one per band; on the tone curve it adds a constant number of
levels. The difference between dates is partly additive (haze, strongest in the dark) and partly multiplicative (sun,
season). One number for both lies between the two: on clear dates of one month it leaves less of the difference than a
gain on reflectance (docs/explanation/composite.md has the numbers), and there is no second unknown that diverges over
water.

Two rasters of the same ground are compared by the joint histogram of their levels: 256 x 256 counts per band contain
everything that a gain can depend on, add up over row slabs in any order, and need no memory for pixels. The measured
ratio is that of brightness, b over a. A solution satisfies `log gain(a) - log gain(b) = log ratio(a, b)`, so that both
have the same brightness.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
import scipy

from s2ops.constants import BANDS, Bool, Float32, Float64, Int64, UInt8
from s2ops.errors import RasterError
from s2ops.imaging.robust_stats import compute_biweight_mean, compute_huber_weights, compute_weighted_median
from s2ops.imaging.tone_curve import LEVELS_PER_LOG
from s2ops.runtime.jit import compile_kernel

GAIN_LIMITS: Final = (0.6, 1.6)
"""Smallest and largest gain: beyond them a correction is not atmosphere or season but a wrong observation."""

MIN_PIXELS: Final = 100
"""Minimum number of usable common pixels for a ratio."""

RIDGE: Final = 1e-3
"""Pull towards gain 1, in units of a typical pair. It fixes the level of each group of connected scenes, and lets a
drift of the measurements fade over some 30 tiles (3,000 km) instead of growing across a continent."""

_USABLE_LEVELS: Final = (2, 254)
"""Levels outside are clipped reflectances (black, or above 1.4): they hide their ratio."""

_DECIMALS: Final = 4
"""Decimals of a gain: far finer than a level (0.1 level at most), far coarser than the solver's error."""

_MIN_OUTLIER: Final = 0.005
"""Residual of a log ratio up to which a pair is never an outlier: half a percent."""

Gains = tuple[float, ...]
"""One gain per band, in the order of `constants.BANDS`."""


def convert_gain_to_level_offset(gains: Sequence[float]) -> Float32:
    """Convert gains, one per band, to the levels that they add: (4,) float32. Gain 1 adds exactly 0."""
    out: Float32 = (LEVELS_PER_LOG * np.log(gains)).astype(np.float32)
    return out


@dataclass(frozen=True, slots=True)
class BrightnessRatio:
    """Ratio of the brightness of two rasters over the same ground, per band."""

    logs: tuple[float, ...]
    """Natural logarithm of brightness b / brightness a, where brightness is reflectance + 0.04."""
    weights: tuple[float, ...]
    """Weight of each, relative to other ratios: grows with the pixels, falls with their scatter."""
    pixels: int
    """Number of common clear pixels."""


@dataclass(frozen=True, slots=True)
class ScenePair:
    """Brightness ratio between two named scenes."""

    a: str
    b: str
    ratio: BrightnessRatio


@dataclass
class JointHistogram:
    """Joint histogram of the levels of two rasters, accumulated over slabs."""

    counts: Int64 = field(default_factory=lambda: np.zeros((len(BANDS), 256, 256), np.int64))
    """(4, level of a, level of b)."""

    def feed(self, a: UInt8, b: UInt8, valid: Bool) -> Self:
        """Count the pairs of levels of a slab and return the histogram.

        Args:
            a: (4, y, x) levels; level 0 is never used.
            b: (4, y, x) levels of the same pixels.
            valid: (y, x) bool, clear in both.

        Raises:
            RasterError: If the shapes differ.
        """
        if a.shape != b.shape or a.shape[1:] != valid.shape:
            raise RasterError(
                f"Cannot compare rasters: levels of {a.shape} and {b.shape} and a mask of {valid.shape} do not match; "
                "cut them to the same window."
            )
        _count_pairs(a, b, valid, self.counts)
        return self

    def measure_ratio(self, min_pixels: int = MIN_PIXELS) -> BrightnessRatio | None:
        """Measure the robust ratio b / a; None if a band has fewer than `min_pixels` usable pixels."""
        fits = [_measure_band_ratio(table, min_pixels) for table in self.counts]
        known = [fit for fit in fits if fit is not None]
        if len(known) < len(fits):
            return None
        return BrightnessRatio(
            logs=tuple(log for log, _ in known),
            weights=tuple(weight for _, weight in known),
            pixels=int(self.counts[:, 1:, 1:].sum(axis=(1, 2)).min()),
        )


@compile_kernel
def _count_pairs(a: UInt8, b: UInt8, valid: Bool, counts: Int64) -> None:
    """Add the pairs of levels of valid pixels to `counts` (band, 256, 256)."""
    for band in range(len(a)):
        for y in range(valid.shape[0]):
            for x in range(valid.shape[1]):
                if valid[y, x]:
                    counts[band, a[band, y, x], b[band, y, x]] += 1


def measure_brightness_ratio(a: UInt8, b: UInt8, valid: Bool, min_pixels: int = MIN_PIXELS) -> BrightnessRatio | None:
    """Measure the robust brightness ratio b / a of two rasters.

    Args:
        a: (4, y, x) levels; 0 is no data.
        b: (4, y, x) levels of the same pixels.
        valid: (y, x) bool, clear in both.
        min_pixels: Minimum number of usable pixels per band.

    Returns:
        The ratio, or None if a band has too few usable pixels.
    """
    return JointHistogram().feed(a, b, valid).measure_ratio(min_pixels)


def _measure_band_ratio(counts: Int64, min_pixels: int) -> tuple[float, float] | None:
    """Measure (log ratio, weight) from the histogram of one band; None if it has too few pixels.

    The ratio is the biweight mean of the differences of levels: pixels that have changed between the two (fields,
    tides, missed cloud) are outliers. The mean begins at the median, which alone would be a whole level.
    """
    low, high = _USABLE_LEVELS
    first, second = np.nonzero(counts[low : high + 1, low : high + 1])
    number = counts[low : high + 1, low : high + 1][first, second].astype(np.float64)
    if number.sum() < min_pixels:
        return None
    difference = (second - first).astype(np.float64)
    offset, weight = compute_biweight_mean(difference, number, compute_weighted_median(difference, number))
    return float(offset / LEVELS_PER_LOG), weight


def solve_gains(
    nodes: Mapping[str, float], pairs: Iterable[ScenePair], limits: tuple[float, float] = GAIN_LIMITS
) -> dict[str, Gains]:
    """Solve for the gains of all scenes under which the pairs agree best.

    Robust least squares, one sparse system per band. Within each connected group the weighted mean of log gains is 0; a
    scene without pairs keeps gain 1. The result does not depend on the order of scenes or pairs.

    Args:
        nodes: Weight of each scene by name, such as its clear area: scenes of large weight are changed less.
        pairs: Measured ratios between scenes.
        limits: Smallest and largest gain.

    Raises:
        RasterError: If a pair does not join two of the scenes.
    """
    names = sorted(nodes)
    index = {name: number for number, name in enumerate(names)}
    ordered = sorted((_canonicalize_pair(pair) for pair in pairs), key=lambda pair: (pair.a, pair.b, pair.ratio.logs))
    for pair in ordered:
        if pair.a not in index or pair.b not in index or pair.a == pair.b:
            raise RasterError(
                f"Cannot solve for gains: the pair {pair.a}, {pair.b} does not join two of the {len(names)} scenes; "
                "list both scenes."
            )
    if not ordered:
        return {name: (1.0,) * len(BANDS) for name in names}
    ends = np.array([(index[pair.a], index[pair.b]) for pair in ordered])
    anchor = np.maximum(np.array([nodes[name] for name in names], np.float64), 1e-9)
    logs, weights = (np.array([getattr(pair.ratio, part) for pair in ordered]) for part in ("logs", "weights"))
    solved = [_solve_band(ends, logs[:, band], weights[:, band], anchor) for band in range(len(BANDS))]
    gains = np.round(np.clip(np.exp(np.stack(solved, axis=1)), *limits), _DECIMALS)
    return {name: tuple(float(gain) for gain in gains[number]) for name, number in index.items()}


def _canonicalize_pair(pair: ScenePair) -> ScenePair:
    """Order a pair from the smaller name to the larger, so that (a, b) and (b, a) are one observation."""
    if pair.a <= pair.b:
        return pair
    reversed_ratio = BrightnessRatio(tuple(-log for log in pair.ratio.logs), pair.ratio.weights, pair.ratio.pixels)
    return ScenePair(pair.b, pair.a, reversed_ratio)


def _solve_band(ends: Int64, logs: Float64, weights: Float64, anchor: Float64) -> Float64:
    """Solve for the log gains of one band by least squares with Huber's weights, until they change no more.

    The ridge has the anchor's weights, so that summing the normal equations over a connected group gives
    `sum(anchor * log gain) = 0` there: no constraint is needed.
    """
    count, nodes = len(logs), len(anchor)
    rows = np.repeat(np.arange(count), 2)
    signs = np.tile([1.0, -1.0], count)
    difference = scipy.sparse.coo_matrix((signs, (rows, ends.ravel())), shape=(count, nodes)).tocsr()
    base = np.clip(weights / np.median(weights), 0.05, 20.0)  # no pair is ignored, and none dominates
    ridge = scipy.sparse.diags(RIDGE * anchor / anchor.mean())
    trust, solution = base, np.zeros(nodes)
    for _ in range(25):
        weighted = scipy.sparse.diags(trust) @ difference
        system = scipy.sparse.csc_matrix(difference.T @ weighted + ridge)
        before = solution
        solution = scipy.sparse.linalg.splu(system, permc_spec="MMD_AT_PLUS_A").solve(weighted.T @ logs)
        if np.abs(solution - before).max() < 1e-7:
            break
        trust = base * compute_huber_weights(logs - difference @ solution, _MIN_OUTLIER)
    out: Float64 = solution
    return out

"""Robust statistics: Tukey's biweight mean, weighted median, median absolute deviation (MAD), Huber weights.

The constants are the usual ones: on normally distributed data 4.685 (biweight) and 1.345 (Huber) keep 95 % of the
mean's efficiency, and 1.4826 MADs are one standard deviation.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from s2ops.constants import Float64

BIWEIGHT_CUTOFF: Final = 4.685
"""Scales from the centre beyond which Tukey's biweight gives no weight."""

_HUBER_CUTOFF: Final = 1.345
"""Scales from 0 beyond which Huber's weights fall."""

_MAD_TO_SIGMA: Final = 1.4826
"""Standard deviation of a normal distribution, in MADs."""

_MAX_ITERATIONS: Final = 30
_TOLERANCE: Final = 1e-5
"""A step of the mean below this ends the iteration."""


def compute_weighted_median(values: Float64, weights: Float64) -> float:
    """Compute the smallest of the (n,) values up to which at least half of the weight lies."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(total, total[-1] / 2)]])


def compute_mad_scale(values: NDArray[Any], center: float, minimum: float = 1.0) -> float:
    """Estimate the standard deviation of (n,) values from their median absolute deviation; at least `minimum`."""
    return max(_MAD_TO_SIGMA * float(np.median(np.abs(values - center))), minimum)


def compute_biweight_mean(values: Float64, counts: Float64, start: float) -> tuple[float, float]:
    """Compute Tukey's biweight mean by iteratively reweighted averaging; the scale is at least 1.

    Args:
        values: (n,) values, such as whole levels.
        counts: (n,) number of observations of each value.
        start: First estimate, a median.

    Returns:
        The mean, and its weight relative to other means. The weight grows with the square root of the observations
        that count, because neighbouring pixels are not independent: otherwise large samples would dominate.
    """
    mean = start
    for _ in range(_MAX_ITERATIONS):
        scale = max(_MAD_TO_SIGMA * compute_weighted_median(np.abs(values - mean), counts), 1.0)
        trust = counts * np.clip(1 - ((values - mean) / (BIWEIGHT_CUTOFF * scale)) ** 2, 0, None) ** 2
        before, mean = mean, float((trust * values).sum() / trust.sum())
        if abs(mean - before) < _TOLERANCE:
            break
    return mean, float(np.sqrt(trust.sum())) / scale**2


def compute_huber_weights(residuals: Float64, min_cutoff: float) -> Float64:
    """Compute Huber's weights of (n,) residuals: 1 up to a cutoff, then falling with their inverse.

    Args:
        residuals: (n,) residuals of a least-squares solution, about 0.
        min_cutoff: Residuals up to this are never outliers, in the unit of the residuals.
    """
    size = np.abs(residuals)
    cutoff = max(_HUBER_CUTOFF * _MAD_TO_SIGMA * float(np.median(size)), min_cutoff)
    weights: Float64 = np.minimum(1.0, cutoff / np.maximum(size, 1e-12))
    return weights

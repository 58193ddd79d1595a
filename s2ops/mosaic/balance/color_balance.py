"""Colour balance (harmonization, radiometric block adjustment) of a region: a correction per tile and band.

`overlap_statistics.py` measures the overlaps, and `least_squares.py` solves for the corrections. Overlaps do not show
an illumination gradient that is equal in all tiles; `illumination_gradient.py` detects it. This module combines the
three.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from s2ops.constants import BANDS
from s2ops.mosaic.balance.correction_plane import NO_CORRECTION, CorrectionPlane
from s2ops.mosaic.balance.illumination_gradient import (
    IlluminationGradient,
    LandTrend,
    compute_gradient_offsets,
    detect_illumination_gradient,
)
from s2ops.mosaic.balance.least_squares import LeastSquaresSolver, build_system
from s2ops.mosaic.balance.overlap_statistics import Overlap


class BalanceResult(NamedTuple):
    """Corrections of all tiles, and the illumination gradient that all share."""

    corrections: dict[str, CorrectionPlane]
    """By tile name, sorted."""
    gradient: IlluminationGradient
    """Slope of every correction that removes the gradient; 0 if none was detected."""


def balance_colors(
    tiles: Iterable[str],
    overlaps: Sequence[Overlap],
    trends: Mapping[str, LandTrend],
    frozen: Mapping[str, CorrectionPlane] | None = None,
    gradient: IlluminationGradient | None = None,
) -> BalanceResult:
    """Balance the colours of all tiles.

    Args:
        tiles: Names of all tiles; their order does not matter, nor that of the overlaps.
        overlaps: Statistics of the tiles' overlaps.
        trends: Planes through the land of all tiles.
        frozen: Corrections that are kept; the other tiles are adjusted to these.
        gradient: Gradient that was found with the frozen corrections; None detects it.

    Returns:
        Corrections, clipped and rounded (`CorrectionPlane.from_coefficients`).

    Raises:
        RasterError: If an overlap has a tile that is not among `tiles`.
    """
    names, kept = sorted(set(tiles)), dict(frozen or {})
    system = build_system(names, overlaps, kept)
    known = IlluminationGradient() if gradient is None else gradient
    if not len(system.apart):
        return BalanceResult({name: kept.get(name, NO_CORRECTION) for name in names}, known)
    solver = LeastSquaresSolver(system)
    plain = [solver.solve_huber(band, system.apart[:, band]) for band in range(len(BANDS))]
    if gradient is None:
        known = detect_illumination_gradient(solver, plain, overlaps, trends)
    before, solved = compute_gradient_offsets(system, known), np.stack([solution for solution, _ in plain])
    if known != IlluminationGradient():
        left = system.apart - (system.design @ before)[:, None]
        solved = np.stack([solver.solve_huber(band, left[:, band])[0] for band in range(len(BANDS))]) + before
    each = solved.reshape(len(BANDS), -1, 3)
    made = {name: CorrectionPlane.from_coefficients(each[:, number]) for number, name in enumerate(system.names)}
    return BalanceResult({name: kept[name] if name in kept else made[name] for name in names}, known)

"""Illumination gradient: decides whether a slope that all tiles share is landscape or light.

Where every tile brightens eastward by the same amount, neighbours differ in their overlap by a constant step. Gains on
a staircase explain that as well as a slope in each tile. The two explanations differ by a plane over the whole region,
which is in the landscape or in the light. No overlap can decide that, but the region as a whole can. A landscape that
rises over one tile goes on rising over the next, and overlaps agree. An illumination gradient restarts in every tile,
so brightness drops by the same amount at each border and in all bands. Only in that case is the slope attributed to
light and the region made level; otherwise nothing is changed.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np

from s2ops.constants import BANDS, Float64, UInt8
from s2ops.mosaic.balance.correction_plane import PerBand
from s2ops.mosaic.balance.least_squares import TOL_INNER, LeastSquaresSolver, LinearSystem
from s2ops.mosaic.balance.overlap_statistics import Overlap, compute_land_mask

MIN_TILES: Final = 4
"""Minimum number of tiles: fewer have too few borders to separate light from gains that happen to form a staircase."""

MIN_GRADIENT: Final = 1.0
"""Levels between centre and edge below which nothing is decided."""

MIN_STEP_LOG_ODDS: Final = 1.0
"""Minimum log odds by which light must explain the steps between tiles better than gains alone."""

MIN_LOG_ODDS: Final = 4.0
"""Minimum log odds, 50 to 1, of light against landscape, from the steps and the agreement of the bands together."""

_NOISE_LEVELS: Final = 0.5
"""Levels: smaller gains are rounding, and no evidence."""

_CORNER: Final = 3**-0.5
"""Four points at this distance from the centre have the mean and the moments of the whole tile."""


@dataclass(frozen=True, slots=True)
class LandTrend:
    """Plane fitted to the land of a tile's composite, per band."""

    levels: PerBand
    """Mean levels."""
    east: PerBand
    """Rise from the centre to the eastern edge."""
    south: PerBand
    """Rise from the centre to the southern edge."""
    share: float
    """Fraction of the tile that is land with data."""

    @classmethod
    def from_image(cls, image: UInt8) -> Self:
        """Fit the plane to (4, y, x) levels of the tile at any resolution; without land it is level with share 0."""
        seen = compute_land_mask(image)
        count = int(np.count_nonzero(seen))
        if count < 3:
            flat = (0.0,) * len(BANDS)
            return cls(flat, flat, flat, 0.0)
        v, u = ((np.arange(size) + 0.5) / size * 2 - 1 for size in seen.shape)
        rows, cols = seen.sum(axis=1), seen.sum(axis=0)
        basis = [np.ones(1), u, v]
        sums = np.array([count, (cols * u).sum(), (rows * v).sum()])
        cross = float(v @ (seen @ u))
        normal = np.array([sums, [sums[1], (cols * u**2).sum(), cross], [sums[2], cross, (rows * v**2).sum()]])
        # land in one corner does not determine the tile's slope
        normal[1:, 1:] += 0.02 * count * np.eye(len(basis) - 1)
        fits = []
        for band in image:
            known = np.where(seen, band, 0)
            by_row, by_col = known.sum(axis=1, dtype=np.float64), known.sum(axis=0, dtype=np.float64)
            right = np.array([by_row.sum(), (by_col * u).sum(), (by_row * v).sum()])
            fits.append(np.linalg.solve(normal, right))
        planes = np.round(np.array(fits), 3)
        levels, east, south = (tuple(map(float, part)) for part in planes.T)
        return cls(levels, east, south, round(count / seen.size, 4))

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """Create from the result of `dataclasses.asdict`."""
        return cls(tuple(stored["levels"]), tuple(stored["east"]), tuple(stored["south"]), stored["share"])


class IlluminationGradient(NamedTuple):
    """Slope of every tile's correction that removes a gradient of light; equal in all tiles and bands."""

    east: float = 0.0
    """Levels between the centre and the eastern edge."""
    south: float = 0.0
    """Levels between the centre and the southern edge."""


def detect_illumination_gradient(
    solver: LeastSquaresSolver,
    plain: Sequence[tuple[Float64, Float64]],
    overlaps: Sequence[Overlap],
    trends: Mapping[str, LandTrend],
) -> IlluminationGradient:
    """Detect the slope of every tile's correction under which the region as a whole is level; 0 where it is landscape.

    Nothing is decided for fewer than `MIN_TILES` connected tiles.

    Args:
        solver: Solver of the region's equations.
        plain: Solution and weights of each band without a gradient (`LeastSquaresSolver.solve_huber`).
        overlaps: Statistics of all overlaps.
        trends: Planes through the land of all tiles.
    """
    system = solver.system
    centres = _locate_centres(overlaps)
    names = [name for name in system.names if name in centres and trends[name].share > 0]
    if len(names) < MIN_TILES:
        return IlluminationGradient()
    responses = [_solve_responses(solver, *one) for one in plain]
    wanted = np.stack([
        _fit_shared_slope(band, system, names, centres, trends, responses[band]) for band in range(len(BANDS))
    ])  # fmt: skip
    mean, scatter = wanted.mean(axis=0), wanted.std(axis=0)
    # equal in all bands, as light is: landscape becomes greener or drier
    found = (np.abs(mean) > 3 * scatter) & (np.abs(mean) > MIN_GRADIENT)
    if not found.any():
        return IlluminationGradient()
    shared = np.where(found, mean, 0.0)
    floor = _NOISE_LEVELS**2 * len(names) * len(BANDS)
    without, beside = (_sum_squares(responses, slope) + floor for slope in (np.zeros(2), shared))
    steps = len(BANDS) * (len(names) - 1) / 2 * float(np.log(without / beside))
    alike = (len(BANDS) - 1) * float(np.log(np.abs(mean) / (3 * np.maximum(scatter, 0.1)))[found].min())
    if steps < MIN_STEP_LOG_ODDS or steps + alike < MIN_LOG_ODDS:
        return IlluminationGradient()
    return IlluminationGradient(*(round(float(levels), 1) for levels in shared))


def compute_gradient_offsets(system: LinearSystem, gradient: IlluminationGradient) -> Float64:
    """Compute the (3 * tile,) unknowns that correct the gradient alone."""
    return np.tile([0.0, gradient.east, gradient.south], len(system.names))


def _solve_responses(solver: LeastSquaresSolver, solution: Float64, trust: Float64) -> Float64:
    """Solve for the effect of a shared slope on one band.

    Returns:
        (3, 3 * tile): the solution without gradient, and its change per level of slope east and south.
    """
    system = solver.system
    units = [
        compute_gradient_offsets(system, IlluminationGradient(1.0, 0.0)),
        compute_gradient_offsets(system, IlluminationGradient(0.0, 1.0)),
    ]
    return np.stack([
        solution, *(unit + solver.solve(trust, -(system.design @ unit), tolerance=TOL_INNER) for unit in units)
    ])  # fmt: skip


def _sum_squares(responses: Sequence[Float64], slope: Float64) -> float:
    """Sum the squares of the levels, of all tiles and bands, that remain with a shared slope (east, south)."""
    return float(sum(((one[:, ::3].T @ np.array([1.0, *slope])) ** 2).sum() for one in responses))


def _locate_centres(overlaps: Iterable[Overlap]) -> dict[str, tuple[float, float]]:
    """Locate the tiles of the largest connected group: (x, y) of their centres, in half tiles from one of them."""
    beside: dict[str, dict[str, tuple[float, float]]] = {}
    for overlap in overlaps:
        if overlap.pieces:
            piece = overlap.pieces[0]
            x, y = piece.in_a.x - piece.in_b.x, piece.in_a.y - piece.in_b.y
            beside.setdefault(overlap.a, {})[overlap.b] = (x, y)
            beside.setdefault(overlap.b, {})[overlap.a] = (-x, -y)
    groups: list[dict[str, tuple[float, float]]] = []
    for first in sorted(beside):
        if any(first in group for group in groups):
            continue
        found, queue = {first: (0.0, 0.0)}, deque([first])
        while queue:
            here = queue.popleft()
            for other, (x, y) in sorted(beside[here].items()):
                if other not in found:
                    found[other] = (found[here][0] + x, found[here][1] + y)
                    queue.append(other)
        groups.append(found)
    return max(groups, key=len, default={})


def _fit_shared_slope(
    band: int, system: LinearSystem, names: Sequence[str], centres: Mapping[str, tuple[float, float]],
    trends: Mapping[str, LandTrend], responses: Float64,
) -> Float64:  # fmt: skip
    """Fit the shared slope (east, south) with which the corrected region has no slope as a whole."""
    index = {name: number for number, name in enumerate(system.names)}
    at, weights, values = [], [], []
    for name in names:
        trend = trends[name]
        own = np.array([trend.levels[band], trend.east[band], trend.south[band]])
        tile = responses[:, 3 * index[name] : 3 * index[name] + 3] + np.stack([own, np.zeros(3), np.zeros(3)])
        for x, y in ((-_CORNER, -_CORNER), (-_CORNER, _CORNER), (_CORNER, -_CORNER), (_CORNER, _CORNER)):
            at.append((1.0, centres[name][0] + x, centres[name][1] + y))
            values.append(tile @ np.array([1.0, x, y]))
            weights.append(trend.share)
    root = np.sqrt(np.array(weights))[:, None]
    planes = np.linalg.lstsq(np.array(at) * root, np.array(values) * root, rcond=None)[0][1:]  # (x or y, 3)
    out: Float64 = np.linalg.lstsq(planes[:, 1:], -planes[:, 0], rcond=None)[0]
    return out

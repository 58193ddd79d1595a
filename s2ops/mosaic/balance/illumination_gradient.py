"""Is a slope that all tiles share landscape or light? No overlap can tell; the region as a whole can.

Where every tile brightens eastward by as much, neighbours differ in their overlap by a constant step: gains on a
staircase explain that as well as a slope in each tile. The two differ by a plane over the whole region, and that plane
is either in the landscape or in the light. A landscape that rises over one tile goes on rising over the next, and
overlaps agree. Light starts anew in each tile: all fall back by what they have risen, at every border and alike in all
bands. Only where that is so is the slope taken for light, and the region is left level; else nothing is changed.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np

from s2ops.constants import BANDS, Float64, UInt8
from s2ops.mosaic.balance.correction_plane import Bandwise
from s2ops.mosaic.balance.least_squares import ROUGH, Solver, System
from s2ops.mosaic.balance.overlap_statistics import Overlap, land

MIN_TILES: Final = 4
"""Fewer tiles have too few borders to tell light from gains that happen to lie on a staircase."""

LEAST: Final = 1.0
"""Levels between centre and edge: less is not worth a decision."""

STEPS_ODDS: Final = 1.0
"""Log odds by which light must explain the steps between tiles better than gains alone."""

ODDS: Final = 4.0
"""Log odds, 50 to 1, of light against landscape, from the steps and from how alike the bands are together."""

_NOISE: Final = 0.5
"""Levels: gains smaller than this are rounding, and no evidence."""

_CORNER: Final = 3**-0.5
"""Four points this far from the centre have the mean and the moments of the whole tile."""


@dataclass(frozen=True, slots=True)
class Land:
    """A plane through the land of a tile's composite, per band."""

    levels: Bandwise
    """Mean."""
    east: Bandwise
    """Rise from the centre to the eastern edge."""
    south: Bandwise
    """Rise to the southern edge."""
    share: float
    """Part of the tile that is land with data."""

    @classmethod
    def of(cls, image: UInt8) -> Self:
        """From (4, y, x) levels of the tile at any resolution; without land it is level and counts nothing."""
        seen = land(image)
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
        normal[1:, 1:] += 0.02 * count * np.eye(len(basis) - 1)  # land in one corner says nothing of the tile's slope
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
    def read(cls, stored: dict[str, Any]) -> Self:
        """From `dataclasses.asdict`."""
        return cls(tuple(stored["levels"]), tuple(stored["east"]), tuple(stored["south"]), stored["share"])


class Light(NamedTuple):
    """Levels that every tile is darkened towards its edges: taken off alike in all bands."""

    east: float = 0.0
    south: float = 0.0


def shared_light(
    solver: Solver, plain: Sequence[tuple[Float64, Float64]], overlaps: Sequence[Overlap], lands: Mapping[str, Land]
) -> Light:
    """The slope of every tile's correction that the region's levelness asks for; 0 where it is landscape.

    `plain` are each band's solution and trust without one, `lands` the planes of all tiles. Nothing is decided for
    fewer than `MIN_TILES` tiles that hang together.
    """
    system = solver.system
    centres = _centres(overlaps)
    names = [name for name in system.names if name in centres and lands[name].share > 0]
    if len(names) < MIN_TILES:
        return Light()
    answers = [_answers(solver, *one) for one in plain]
    wanted = np.stack([
        _level(band, system, names, centres, lands, answers[band]) for band in range(len(BANDS))
    ])  # fmt: skip
    mean, scatter = wanted.mean(axis=0), wanted.std(axis=0)
    # alike in all bands, as light is: landscape turns greener or drier
    found = (np.abs(mean) > 3 * scatter) & (np.abs(mean) > LEAST)
    if not found.any():
        return Light()
    shared = np.where(found, mean, 0.0)
    floor = _NOISE**2 * len(names) * len(BANDS)
    without, beside = (_size(answers, slope) + floor for slope in (np.zeros(2), shared))
    steps = len(BANDS) * (len(names) - 1) / 2 * float(np.log(without / beside))
    alike = (len(BANDS) - 1) * float(np.log(np.abs(mean) / (3 * np.maximum(scatter, 0.1)))[found].min())
    if steps < STEPS_ODDS or steps + alike < ODDS:
        return Light()
    return Light(*(round(float(levels), 1) for levels in shared))


def raised(system: System, light: Light) -> Float64:
    """(3 * tile,): the unknowns as `light` alone would have them."""
    return np.tile([0.0, light.east, light.south], len(system.names))


def _answers(solver: Solver, solution: Float64, trust: Float64) -> Float64:
    """(3, 3 * tile): one band's solution without light, and what one level of slope east or south adds to it."""
    system = solver.system
    units = [raised(system, Light(1.0, 0.0)), raised(system, Light(0.0, 1.0))]
    return np.stack([
        solution, *(unit + solver.solve(trust, -(system.design @ unit), error=ROUGH) for unit in units)
    ])  # fmt: skip


def _size(answers: Sequence[Float64], slope: Float64) -> float:
    """Sum of squares of all tiles' and bands' levels that remain necessary with a shared slope (east, south)."""
    return float(sum(((one[:, ::3].T @ np.array([1.0, *slope])) ** 2).sum() for one in answers))


def _centres(overlaps: Iterable[Overlap]) -> dict[str, tuple[float, float]]:
    """(x, y) of the tiles of the largest connected group, in half tiles from one of them."""
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


def _level(
    band: int, system: System, names: Sequence[str], centres: Mapping[str, tuple[float, float]],
    lands: Mapping[str, Land], fields: Float64,
) -> Float64:  # fmt: skip
    """The shared slope (east, south) at which the corrected region has no slope as a whole."""
    index = {name: number for number, name in enumerate(system.names)}
    at, weights, values = [], [], []
    for name in names:
        plane = lands[name]
        own = np.array([plane.levels[band], plane.east[band], plane.south[band]])
        tile = fields[:, 3 * index[name] : 3 * index[name] + 3] + np.stack([own, np.zeros(3), np.zeros(3)])
        for x, y in ((-_CORNER, -_CORNER), (-_CORNER, _CORNER), (_CORNER, -_CORNER), (_CORNER, _CORNER)):
            at.append((1.0, centres[name][0] + x, centres[name][1] + y))
            values.append(tile @ np.array([1.0, x, y]))
            weights.append(plane.share)
    root = np.sqrt(np.array(weights))[:, None]
    planes = np.linalg.lstsq(np.array(at) * root, np.array(values) * root, rcond=None)[0][1:]  # (x or y, 3)
    out: Float64 = np.linalg.lstsq(planes[:, 1:], -planes[:, 0], rcond=None)[0]
    return out

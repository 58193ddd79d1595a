"""The region's equations: what every overlap says of the corrections of two tiles, solved by sparse least squares.

Every piece of every overlap (`agreement.py`) says how far two tiles are apart there; the corrections, a level and a
slope in two directions for each tile, are to take that difference away everywhere at once. The equations are
reweighted by Huber's rule, so that one bad overlap is outvoted.

A ridge pulls levels and slopes towards 0. Summed over a connected group its equations say that the mean level is 0:
the region as a whole is neither brightened nor darkened, and a tile alone stays as it is. Slopes are pulled harder: an
overlap between tiles side by side sees the step between them, but hardly whether a level or two slopes made it.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import numpy as np

from s2ops.constants import BANDS, Float64, Int64
from s2ops.errors import RasterError
from s2ops.mosaic.balance.correction_plane import Correction
from s2ops.mosaic.balance.overlap_statistics import Overlap, Piece
from s2ops.runtime.lazy_scipy import linalg, sparse

RIDGE_LEVEL: Final = 1e-3
"""Pull of a tile's level towards 0, in units of a typical piece. It fixes the level of each group, and lets a drift of
the measurements die out over some 30 tiles (3,000 km) instead of running across a continent."""

RIDGE_SLOPE: Final = 0.1
"""Pull of a slope. A slope that tiles above and below see all along their borders stays nearly whole; one that would
only explain a step to the tile beside does not arise."""

LEAST_OUTLIER: Final = 0.5
"""Levels, 0.7 % of brightness: a piece that is off by less is never an outlier."""

EXACT, ROUGH = 1e-12, 1e-5
"""Relative errors at which an iteration ends: far below the rounding of a correction, and enough to reweight by."""


class System(NamedTuple):
    """All observations of a region, unknowns in the order of tiles: level, slope east, slope south."""

    names: tuple[str, ...]
    """Tiles whose corrections are sought, sorted."""
    design: "sparse.csr_matrix"
    """(piece, 3 * tile): the correction of a minus that of b at the piece."""
    apart: Float64
    """(piece, 4): what it should be."""
    weights: Float64
    """(piece, 4): relative to a typical piece of the band."""
    ridge: Float64
    """(3 * tile,)."""


def system_of(tiles: Iterable[str], overlaps: Iterable[Overlap], frozen: Mapping[str, Correction]) -> System:
    """Observations that involve a tile that is not frozen; what frozen ones contribute is taken off.

    The order of tiles and overlaps does not matter, nor which of two tiles is called a. Raises RasterError for an
    overlap with a tile that is neither among `tiles` nor frozen.
    """
    names = tuple(sorted(set(tiles) - set(frozen)))
    index = {name: number for number, name in enumerate(names)}
    rows: list[Int64] = []
    columns: list[Int64] = []
    values: list[Float64] = []
    apart, weights, count = [], [], 0
    for overlap in sorted((_forward(overlap) for overlap in overlaps), key=lambda one: (one.a, one.b)):
        ends = (overlap.a, overlap.b)
        if ends[0] == ends[1] or any(name not in index and name not in frozen for name in ends):
            raise RasterError(f"the overlap of {ends[0]} and {ends[1]} does not join two of the run's tiles; give both")
        if not overlap.pieces or all(name in frozen for name in ends):
            continue
        pieces = len(overlap.pieces)
        seen = np.array([piece.levels for piece in overlap.pieces])
        for name, places, sign in ((overlap.a, "in_a", 1.0), (overlap.b, "in_b", -1.0)):
            at = np.array([(1.0, getattr(piece, places).x, getattr(piece, places).y) for piece in overlap.pieces])
            if name in frozen:
                seen = seen - sign * at @ frozen[name].solved.T
                continue
            rows.append(np.repeat(np.arange(count, count + pieces), 3))
            columns.append(np.tile(3 * index[name] + np.arange(3), pieces))
            values.append(sign * at.ravel())
        apart.append(seen)
        weights.append(np.array([piece.weights for piece in overlap.pieces]))
        count += pieces
    ridge = np.tile([RIDGE_LEVEL, RIDGE_SLOPE, RIDGE_SLOPE], len(names))
    if not count:
        none = np.zeros((0, len(BANDS)))
        return System(names, sparse.csr_matrix((0, 3 * len(names))), none, none, ridge)
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    design = sparse.coo_matrix(entries, shape=(count, 3 * len(names))).tocsr()
    trust = np.concatenate(weights)
    trust = np.clip(trust / np.median(trust, axis=0), 0.05, 20.0)  # no piece is ignored, none rules alone
    return System(names, design, np.concatenate(apart), trust, ridge)


def _forward(overlap: Overlap) -> Overlap:
    """The same overlap from the smaller name to the larger, so that (a, b) and (b, a) are one observation."""
    if overlap.a <= overlap.b:
        return overlap
    turned = tuple(
        Piece(piece.in_b, piece.in_a, tuple(-level for level in piece.levels), piece.weights, piece.pixels)
        for piece in overlap.pieces
    )
    return Overlap(overlap.b, overlap.a, turned)


class Solver:
    """Least squares with one factorisation for all bands and all reweightings: conjugate gradients do the rest."""

    def __init__(self, system: System) -> None:
        self.system, self._turned = system, system.design.T.tocsr()
        mean = sparse.diags(system.weights.mean(axis=1))
        ridge = sparse.diags(system.ridge)
        near = sparse.csc_matrix(system.design.T @ mean @ system.design + ridge)
        self._near = linalg.splu(near, "MMD_AT_PLUS_A")

    def solve(self, trust: Float64, wanted: Float64, start: Float64 | None = None, error: float = EXACT) -> Float64:
        """(3 * tile,) that minimise the weighted squares of `design @ x - wanted` and the ridge's."""
        design, turned, ridge = self.system.design, self._turned, self.system.ridge

        def normal(x: Float64) -> Float64:
            out: Float64 = turned @ (trust * (design @ x)) + ridge * x
            return out

        right: Float64 = turned @ (trust * wanted)
        x = np.zeros(len(ridge)) if start is None else start.copy()
        left = right - normal(x)
        near = self._near.solve(left)
        step, energy = near.copy(), _dot(left, near)
        goal = error**2 * max(_dot(right, self._near.solve(right)), 1e-30)
        for _ in range(500):
            if energy <= goal:
                break
            applied = normal(step)
            length = energy / _dot(step, applied)
            x += length * step
            left -= length * applied
            near = self._near.solve(left)
            before, energy = energy, _dot(left, near)
            step = near + (energy / before) * step
        return x

    def robust(self, band: int, wanted: Float64) -> tuple[Float64, Float64]:
        """The solution of one band reweighted by Huber's rule until nothing moves, and the last trust in each piece."""
        base: Float64 = self.system.weights[:, band]
        trust, solution = base, self.solve(base, wanted, error=ROUGH)
        for _ in range(25):
            off = np.abs(wanted - self.system.design @ solution)
            limit = max(1.345 * 1.4826 * float(np.median(off)), LEAST_OUTLIER)
            trust = base * np.minimum(1.0, limit / np.maximum(off, 1e-12))
            before, solution = solution, self.solve(trust, wanted, solution, ROUGH)
            if np.abs(solution - before).max() < 1e-3:
                break
        return self.solve(trust, wanted, solution), trust


def _dot(a: Float64, b: Float64) -> float:
    """Not BLAS, whose sums depend on its threads."""
    return float((a * b).sum())

"""Sparse least squares for the corrections of all tiles: overlap differences, Huber weights, conjugate gradients.

Every piece of every overlap (`overlap_statistics.py`) is an equation: the corrections of its two tiles should differ by
its measured difference. The unknowns are a level and a slope in two directions per tile. The equations are reweighted
by Huber's rule, so that one bad overlap is outvoted.

A ridge pulls levels and slopes towards 0. Summed over a connected group, its equations state that the mean level is 0:
the region as a whole is neither brightened nor darkened, and a tile alone stays as it is. Slopes are pulled harder,
because an overlap of tiles side by side shows the step between them, but hardly whether a level or two slopes caused
it.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import numpy as np
import scipy
from threadpoolctl import threadpool_limits

from s2ops.constants import BANDS, Float64, Int64
from s2ops.errors import RasterError
from s2ops.imaging.robust_stats import compute_huber_weights
from s2ops.mosaic.balance.correction_plane import CorrectionPlane
from s2ops.mosaic.balance.overlap_statistics import Overlap, Piece

RIDGE_LEVEL: Final = 1e-3
"""Pull of a tile's level towards 0, in units of a typical piece. It fixes the level of each group, and lets a drift of
the measurements fade over some 30 tiles (3,000 km) instead of growing across a continent."""

RIDGE_SLOPE: Final = 0.1
"""Pull of a slope. A slope that the tiles above and below show all along their borders stays nearly whole; a slope that
would only explain a step to the tile beside it does not arise."""

MIN_OUTLIER: Final = 0.5
"""Levels, 0.7 % of brightness: a piece with a smaller residual is never an outlier."""

TOL_INNER: Final = 1e-5
"""Relative residual of the normal equations that is small enough for reweighting."""

TOL_FINAL: Final = 1e-12
"""Relative residual of the normal equations of a final solution: far below the rounding of a correction."""

_MAX_ITERATIONS: Final = 500


class LinearSystem(NamedTuple):
    """All observations of a region; unknowns in the order of tiles: level, slope east, slope south."""

    names: tuple[str, ...]
    """Tiles whose corrections are unknown, sorted."""
    design: "scipy.sparse.csr_matrix"
    """(piece, 3 * tile): the correction of a minus that of b at the piece."""
    apart: Float64
    """(piece, 4): levels of b minus levels of a, which that difference should equal."""
    weights: Float64
    """(piece, 4): relative to a typical piece of the band."""
    ridge: Float64
    """(3 * tile,): pull of each unknown towards 0."""


def build_system(
    tiles: Iterable[str], overlaps: Iterable[Overlap], frozen: Mapping[str, CorrectionPlane]
) -> LinearSystem:
    """Build the equations of all overlaps with a tile that is not frozen.

    The order of tiles and overlaps does not matter, nor which of two tiles is called a.

    Args:
        tiles: Names of all tiles.
        overlaps: Statistics of their overlaps.
        frozen: Known corrections by tile; their contribution is subtracted.

    Raises:
        RasterError: If an overlap has a tile that is neither among `tiles` nor frozen.
    """
    names = tuple(sorted(set(tiles) - set(frozen)))
    index = {name: number for number, name in enumerate(names)}
    rows: list[Int64] = []
    columns: list[Int64] = []
    values: list[Float64] = []
    apart, weights, count = [], [], 0
    for overlap in sorted((_canonicalize_overlap(overlap) for overlap in overlaps), key=lambda one: (one.a, one.b)):
        ends = (overlap.a, overlap.b)
        if ends[0] == ends[1] or any(name not in index and name not in frozen for name in ends):
            raise RasterError(
                f"Cannot balance the tiles: the overlap of {ends[0]} and {ends[1]} does not join two of the run's "
                "tiles; list both tiles."
            )
        if not overlap.pieces or all(name in frozen for name in ends):
            continue
        pieces = len(overlap.pieces)
        seen = np.array([piece.levels for piece in overlap.pieces])
        for name, places, sign in ((overlap.a, "in_a", 1.0), (overlap.b, "in_b", -1.0)):
            at = np.array([(1.0, getattr(piece, places).x, getattr(piece, places).y) for piece in overlap.pieces])
            if name in frozen:
                seen = seen - sign * at @ frozen[name].coefficients.T
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
        return LinearSystem(names, scipy.sparse.csr_matrix((0, 3 * len(names))), none, none, ridge)
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    design = scipy.sparse.coo_matrix(entries, shape=(count, 3 * len(names))).tocsr()
    trust = np.concatenate(weights)
    trust = np.clip(trust / np.median(trust, axis=0), 0.05, 20.0)  # no piece is ignored, and none dominates
    return LinearSystem(names, design, np.concatenate(apart), trust, ridge)


def _canonicalize_overlap(overlap: Overlap) -> Overlap:
    """Order an overlap from the smaller name to the larger, so that (a, b) and (b, a) are one observation."""
    if overlap.a <= overlap.b:
        return overlap
    exchanged = tuple(
        Piece(piece.in_b, piece.in_a, tuple(-level for level in piece.levels), piece.weights, piece.pixels)
        for piece in overlap.pieces
    )
    return Overlap(overlap.b, overlap.a, exchanged)


class LeastSquaresSolver:
    """Least-squares solver: one factorization preconditions the conjugate gradients of all bands and reweightings."""

    def __init__(self, system: LinearSystem) -> None:
        self.system, self._transposed = system, system.design.T.tocsr()
        mean = scipy.sparse.diags(system.weights.mean(axis=1))
        ridge = scipy.sparse.diags(system.ridge)
        near = scipy.sparse.csc_matrix(system.design.T @ mean @ system.design + ridge)
        factors = scipy.sparse.linalg.splu(near, "MMD_AT_PLUS_A")
        self._preconditioner = scipy.sparse.linalg.LinearOperator(near.shape, factors.solve, dtype=np.float64)

    def solve(
        self, trust: Float64, wanted: Float64, start: Float64 | None = None, tolerance: float = TOL_FINAL
    ) -> Float64:
        """Minimize the weighted squares of `design @ x - wanted` plus those of the ridge.

        Args:
            trust: (piece,) weights.
            wanted: (piece,) levels.
            start: (3 * tile,) first estimate; 0 if None.
            tolerance: Relative residual of the normal equations at which the iteration ends.

        Returns:
            (3 * tile,) unknowns. They do not depend on the number of threads.
        """
        design, transposed, ridge = self.system.design, self._transposed, self.system.ridge

        def apply_normal_matrix(x: Float64) -> Float64:
            out: Float64 = transposed @ (trust * (design @ x)) + ridge * x
            return out

        size = len(ridge)
        normal = scipy.sparse.linalg.LinearOperator((size, size), apply_normal_matrix, dtype=np.float64)
        right: Float64 = transposed @ (trust * wanted)
        with threadpool_limits(1, "blas"):  # dot products of BLAS depend on its number of threads
            solution: Float64
            solution, _ = scipy.sparse.linalg.cg(
                normal, right, start, rtol=tolerance, maxiter=_MAX_ITERATIONS, M=self._preconditioner
            )
        return solution

    def solve_huber(self, band: int, wanted: Float64) -> tuple[Float64, Float64]:
        """Solve one band with Huber's weights, repeated until the solution changes no more.

        Args:
            band: Index of the band.
            wanted: (piece,) levels.

        Returns:
            (3 * tile,) unknowns, and the final (piece,) weights.
        """
        base: Float64 = self.system.weights[:, band]
        trust, solution = base, self.solve(base, wanted, tolerance=TOL_INNER)
        for _ in range(25):
            trust = base * compute_huber_weights(wanted - self.system.design @ solution, MIN_OUTLIER)
            before, solution = solution, self.solve(trust, wanted, solution, TOL_INNER)
            if np.abs(solution - before).max() < 1e-3:
                break
        return self.solve(trust, wanted, solution), trust

"""Statistics of the overlap of two tiles: robust difference of their levels, in pieces of some 25 km.

There are several pieces because the illumination of a tile may change from edge to edge. Within a piece the difference
is robust. Pixels that have changed between the dates (fields, tides, missed clouds) are outliers in some band, and then
count in none. Water is left out: waves, glint and tides make it differ where the land agrees.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import Any, Final, NamedTuple, Self

import numpy as np

from s2ops.constants import BANDS, Bool, Float64, Int64, UInt8
from s2ops.imaging.robust_stats import BIWEIGHT_CUTOFF, compute_biweight_mean, compute_mad_scale
from s2ops.mosaic.balance.correction_plane import CorrectionPlane, PerBand

PIECES_PER_SIDE: Final = 4
"""Pieces along a tile's side: the strip that two neighbours share is cut into this many."""

MIN_PIXELS: Final = 100
"""Minimum number of usable pixels of a piece."""

_USABLE_LEVELS: Final = (2, 254)
"""Levels 1 and 255 are clipped reflectances."""

WATER_NIR_LEVEL: Final = 66
"""Level of near infrared (reflectance 0.06) below which a pixel that is darker there than in green is water."""

_MIN_VARIANCE: Final = 9.0
"""Variance of levels (standard deviation 3) below which a piece is too even to show how the difference depends on the
level."""

_MAX_TILT, _MAX_EXTRAPOLATION = 0.1, 15.0
"""Largest credible dependence of the difference on the level (levels per level), and the largest distance in levels
from a piece's own mean at which it is applied."""


class TilePosition(NamedTuple):
    """Position in a tile: -1 at its north or west edge, 1 at its south or east edge."""

    y: float
    x: float


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of an overlap."""

    in_a: TilePosition
    """Its centre in tile a."""
    in_b: TilePosition
    """Its centre in tile b."""
    levels: tuple[float, ...]
    """Levels of b minus levels of a, per band."""
    weights: tuple[float, ...]
    """Weight of each, relative to other pieces: grows with the pixels, falls with their scatter."""
    pixels: int
    """Number of usable pixels."""

    def to_json(self) -> dict[str, object]:
        """Return plain values, from which `from_json` creates an equal piece."""
        return {
            "in_a": list(self.in_a),
            "in_b": list(self.in_b),
            "levels": list(self.levels),
            "weights": list(self.weights),
            "pixels": self.pixels,
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """Create from the result of `to_json`."""
        return cls(
            TilePosition(*stored["in_a"]),
            TilePosition(*stored["in_b"]),
            tuple(stored["levels"]),
            tuple(stored["weights"]),
            stored["pixels"],
        )


@dataclass(frozen=True, slots=True)
class Overlap:
    """Statistics of the common ground of two tiles' composites."""

    a: str
    """Name of a tile."""
    b: str
    """Name of its neighbour."""
    pieces: tuple[Piece, ...]
    """Usable pieces of the overlap; there may be none."""

    @property
    def pixels(self) -> int:
        """Number of usable common pixels."""
        return sum(piece.pixels for piece in self.pieces)

    def compute_residual(self, corrections: Mapping[str, CorrectionPlane]) -> PerBand:
        """Compute the levels of b minus a, per band, that remain after the correction of both tiles; 0 is agreement."""
        left = np.array([piece.levels for piece in self.pieces])
        for name, places, sign in ((self.a, "in_a", -1), (self.b, "in_b", 1)):
            at = np.array([(1.0, getattr(piece, places).x, getattr(piece, places).y) for piece in self.pieces])
            left += sign * at @ corrections[name].coefficients.T
        trust = np.array([piece.weights for piece in self.pieces])
        mean: Float64 = (left * trust).sum(axis=0) / trust.sum(axis=0)
        return tuple(round(float(levels), 2) + 0.0 for levels in mean)

    def to_json(self) -> dict[str, object]:
        """Return the fields as plain values."""
        return {"a": self.a, "b": self.b, "pixels": self.pixels, "pieces": [piece.to_json() for piece in self.pieces]}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """Create from the result of `to_json`."""
        return cls(stored["a"], stored["b"], tuple(Piece.from_json(piece) for piece in stored["pieces"]))


class PieceStatistics(NamedTuple):
    """Statistics of a piece in the window that was compared, before its positions in the two tiles are known."""

    y: float
    """Mean row of its usable pixels, from the upper left corner of the window."""
    x: float
    """Mean column, from the same corner."""
    levels: tuple[float, ...]
    """Levels of b minus levels of a, per band."""
    weights: tuple[float, ...]
    """Weight of each, relative to other pieces."""
    pixels: int
    """Number of usable pixels."""


def compute_land_mask(levels: UInt8) -> Bool:
    """Compute where (4, y, x) levels are land with data in all bands, none clipped: (y, x) bool."""
    low, high = _USABLE_LEVELS
    usable: Bool = np.all((levels >= low) & (levels <= high), axis=0)
    green, nir = levels[BANDS.index("green")], levels[BANDS.index("nir")]
    usable &= ~((nir < WATER_NIR_LEVEL) & (nir < green))
    return usable


def measure_overlap(a: UInt8, b: UInt8, side: float, reference: Float64) -> Iterator[PieceStatistics]:
    """Measure the differences of two tiles in the pieces of their common window.

    Differences are extrapolated to the reference level. In an overlap that is all forest, darker and brighter pixels
    show what the difference over fields would be. With `a` and `b` exchanged, results have the opposite sign.

    Args:
        a: (4, y, x) levels of the first tile; 0 is no data.
        b: (4, y, x) levels of the second tile on the same pixels.
        side: Side of a tile, in pixels.
        reference: (4,) usual level of land in the two tiles.

    Yields:
        Statistics of each piece with enough usable pixels.
    """
    usable = compute_land_mask(a) & compute_land_mask(b)
    cuts = [
        np.linspace(0, size, max(ceil(size * PIECES_PER_SIDE / side - 0.1), 1) + 1).astype(int) for size in usable.shape
    ]
    for row, col in product(range(len(cuts[0]) - 1), range(len(cuts[1]) - 1)):
        rows, cols = slice(cuts[0][row], cuts[0][row + 1]), slice(cuts[1][col], cuts[1][col + 1])
        inside = usable[rows, cols]
        if np.count_nonzero(inside) < MIN_PIXELS:
            continue
        y, x = np.nonzero(inside)
        first, second = (image[:, rows, cols][:, inside].astype(np.int64) for image in (a, b))
        kept = _find_unchanged(second - first)
        if np.count_nonzero(kept) < MIN_PIXELS:
            continue
        first, second = first[:, kept], second[:, kept]
        fits = [_measure_band(*levels) for levels in zip(first, second, reference, strict=True)]
        yield PieceStatistics(
            float(y[kept].mean()) + rows.start + 0.5,
            float(x[kept].mean()) + cols.start + 0.5,
            tuple(round(middle, 3) for middle, _ in fits),
            tuple(round(weight, 3) for _, weight in fits),
            int(np.count_nonzero(kept)),
        )


def _find_unchanged(apart: Int64) -> Bool:
    """Find the pixels whose (4, n) differences are an outlier in no band: (n,) bool."""
    kept = np.ones(apart.shape[1], np.bool_)
    for band in apart:
        middle = float(np.median(band))
        kept &= np.abs(band - middle) <= BIWEIGHT_CUTOFF * compute_mad_scale(band, middle)
    return kept


def _measure_band(a: Int64, b: Int64, reference: float) -> tuple[float, float]:
    """Measure one band's unchanged pixels: (levels of b minus a at the reference level, weight)."""
    apart = b - a
    low = int(apart.min())
    counts = np.bincount(apart - low).astype(np.float64)
    values: Float64 = np.arange(low, low + len(counts), dtype=np.float64)
    # begun at the median, which alone would be a whole level
    middle, weight = compute_biweight_mean(values, counts, float(np.median(apart)))
    level = (a + b) / 2
    off = level - level.mean()
    slope = float((off * apart).sum() / ((off**2).sum() + _MIN_VARIANCE * len(off)))
    reach = float(np.clip(reference - level.mean(), -_MAX_EXTRAPOLATION, _MAX_EXTRAPOLATION))
    return middle + float(np.clip(slope, -_MAX_TILT, _MAX_TILT)) * reach, weight

"""What two tiles show of their common ground: how many levels apart they are, in pieces of some 25 km.

Pieces, because a tile's light may change from edge to edge. Within a piece the figure is robust: what has changed
between the dates (fields, tides, missed clouds) is an outlier in some band, and then counts in none; water is left out,
since waves, glint and tides make it differ where the land agrees.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import Any, Final, NamedTuple, Self

import numpy as np

from s2ops.constants import BANDS, Bool, Float64, Int64, UInt8
from s2ops.mosaic.balance.correction_plane import Bandwise, Correction

PIECES: Final = 4
"""Pieces along a tile's side: the strip that two neighbours share is cut into so many."""

MIN_PIXELS: Final = 100
"""A piece with fewer usable pixels says nothing."""

_USABLE: Final = (2, 254)
"""Levels 1 and 255 hide what was clipped."""

WATER_NIR: Final = 66
"""Level of near infrared (reflectance 0.06) below which a pixel that is darker there than in green is water."""

_OUTLIER: Final = 4.685
"""Scales from the middle beyond which Tukey's biweight gives no weight."""


_STEADY: Final = 9.0
"""Variance of levels (3 levels) below which a piece is too even to say how the difference depends on the level."""

_TILT, _REACH = 0.1, 15.0
"""Largest dependence believed (levels a level), and how far from the piece's own mean level it is followed."""


class Place(NamedTuple):
    """A place in a tile: -1 at its north or west edge, 1 at its south or east edge."""

    y: float
    x: float


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an overlap."""

    in_a: Place
    """Its centre in tile a."""
    in_b: Place
    """The same in tile b."""
    levels: tuple[float, ...]
    """Levels of b minus levels of a, per band."""
    weights: tuple[float, ...]
    """Trust in each, relative to other pieces: grows with the pixels, falls with their scatter."""
    pixels: int
    """Usable ones."""

    def to_json(self) -> dict[str, object]:
        """Plain values, rounded to what they are worth; `read` gives back what they say."""
        return {
            "in_a": list(self.in_a),
            "in_b": list(self.in_b),
            "levels": list(self.levels),
            "weights": list(self.weights),
            "pixels": self.pixels,
        }

    @classmethod
    def read(cls, stored: dict[str, Any]) -> Self:
        """From what `to_json` gave."""
        return cls(
            Place(*stored["in_a"]),
            Place(*stored["in_b"]),
            tuple(stored["levels"]),
            tuple(stored["weights"]),
            stored["pixels"],
        )


@dataclass(frozen=True, slots=True)
class Overlap:
    """What two tiles' composites show of their common ground."""

    a: str
    b: str
    pieces: tuple[Piece, ...]

    @property
    def pixels(self) -> int:
        """Usable common pixels."""
        return sum(piece.pixels for piece in self.pieces)

    def remaining(self, corrections: Mapping[str, Correction]) -> Bandwise:
        """Levels of b minus a, per band, that are left once both tiles are corrected: 0 is agreement."""
        left = np.array([piece.levels for piece in self.pieces])
        for name, places, sign in ((self.a, "in_a", -1), (self.b, "in_b", 1)):
            at = np.array([(1.0, getattr(piece, places).x, getattr(piece, places).y) for piece in self.pieces])
            left += sign * at @ corrections[name].solved.T
        trust = np.array([piece.weights for piece in self.pieces])
        mean: Float64 = (left * trust).sum(axis=0) / trust.sum(axis=0)
        return tuple(round(float(levels), 2) + 0.0 for levels in mean)

    def to_json(self) -> dict[str, object]:
        """Fields as plain values."""
        return {"a": self.a, "b": self.b, "pixels": self.pixels, "pieces": [piece.to_json() for piece in self.pieces]}

    @classmethod
    def read(cls, stored: dict[str, Any]) -> Self:
        """From what `to_json` gave."""
        return cls(stored["a"], stored["b"], tuple(Piece.read(piece) for piece in stored["pieces"]))


class Measured(NamedTuple):
    """A piece before its places in the two tiles are known."""

    y: float
    """Mean row of its usable pixels, from the upper left corner of the window compared."""
    x: float
    levels: tuple[float, ...]
    weights: tuple[float, ...]
    pixels: int


def land(levels: UInt8) -> Bool:
    """(4, y, x) levels -> (y, x): data in all bands, none clipped, and no water."""
    low, high = _USABLE
    usable: Bool = np.all((levels >= low) & (levels <= high), axis=0)
    green, nir = levels[BANDS.index("green")], levels[BANDS.index("nir")]
    usable &= ~((nir < WATER_NIR) & (nir < green))
    return usable


def compare(a: UInt8, b: UInt8, side: float, usual: Float64) -> Iterator[Measured]:
    """The pieces of two (4, y, x) views of one window; `side` is a tile's side in pixels.

    Levels apart are those at the level `usual` (4,) of land in the two tiles: an overlap that is all forest says by its
    darker and brighter pixels what fields would show. Turned round (b, a) all is the same with the opposite sign.
    """
    usable = land(a) & land(b)
    height, width = usable.shape
    cuts = [np.linspace(0, size, max(ceil(size * PIECES / side - 0.1), 1) + 1).astype(int) for size in (height, width)]
    for row, col in product(range(len(cuts[0]) - 1), range(len(cuts[1]) - 1)):
        rows, cols = slice(cuts[0][row], cuts[0][row + 1]), slice(cuts[1][col], cuts[1][col + 1])
        inside = usable[rows, cols]
        if np.count_nonzero(inside) < MIN_PIXELS:
            continue
        y, x = np.nonzero(inside)
        first, second = (image[:, rows, cols][:, inside].astype(np.int64) for image in (a, b))
        kept = _unchanged(second - first)
        if np.count_nonzero(kept) < MIN_PIXELS:
            continue
        first, second = first[:, kept], second[:, kept]
        fits = [_difference(*levels) for levels in zip(first, second, usual, strict=True)]
        yield Measured(
            float(y[kept].mean()) + rows.start + 0.5,
            float(x[kept].mean()) + cols.start + 0.5,
            tuple(round(middle, 3) for middle, _ in fits),
            tuple(round(weight, 3) for _, weight in fits),
            int(np.count_nonzero(kept)),
        )


def _unchanged(apart: Int64) -> Bool:
    """(4, n) differences -> (n,): an outlier in none of the bands."""
    kept = np.ones(apart.shape[1], np.bool_)
    for band in apart:
        middle = float(np.median(band))
        kept &= np.abs(band - middle) <= _OUTLIER * _scale(band, middle)
    return kept


def _scale(apart: Int64, middle: float) -> float:
    """Their spread, by the median deviation; at least one level."""
    return max(1.4826 * float(np.median(np.abs(apart - middle))), 1.0)


def _difference(a: Int64, b: Int64, usual: float) -> tuple[float, float]:
    """(levels of b minus a at the level `usual`, weight) from the unchanged pixels of one band."""
    middle, weight = _biweight(b - a)
    level = (a + b) / 2
    off = level - level.mean()
    slope = float((off * (b - a)).sum() / ((off**2).sum() + _STEADY * len(off)))
    reach = float(np.clip(usual - level.mean(), -_REACH, _REACH))
    return middle + float(np.clip(slope, -_TILT, _TILT)) * reach, weight


def _biweight(apart: Int64) -> tuple[float, float]:
    """Tukey's biweight mean of whole levels, begun at their median, which alone would come in whole levels; weight."""
    low = int(apart.min())
    number = np.bincount(apart - low).astype(np.float64)
    level: Float64 = np.arange(low, low + len(number), dtype=np.float64)
    middle = float(np.median(apart))
    for _ in range(30):
        scale = max(1.4826 * _weighted_median(np.abs(level - middle), number), 1.0)
        trust = number * np.clip(1 - ((level - middle) / (_OUTLIER * scale)) ** 2, 0, None) ** 2
        before, middle = middle, float((trust * level).sum() / trust.sum())
        if abs(middle - before) < 1e-5:
            break
    # pixels are not independent of their neighbours: the root keeps large pieces from ruling everything
    return middle, float(np.sqrt(trust.sum())) / scale**2


def _weighted_median(values: Float64, weights: Float64) -> float:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(total, total[-1] / 2)]])

"""A tile's picture as seen from afar: what is left of its levels when all within some kilometres flows together.

Blending takes this part of a picture and the rest of it, texture, on different ways (`blend.py`).
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from s2ops.constants import Float32, Float64, UInt8
from s2ops.imaging.distance import Lerp
from s2ops.runtime.lazy_scipy import ndimage

CELLS: Final = 183
"""Cells of 600 m along a tile's side."""

SIDE: Final = 3 * CELLS
"""Side in pixels of the picture it is made from: three a cell, so that rounding to whole levels averages out."""

_WIDTH: Final = 1.5
"""Standard deviation of the smoothing, in cells: 900 m. Fields and towns are texture, valleys and plains are not."""


@dataclass(frozen=True)
class FromAfar:
    """Smoothed levels, known at the centres of cells."""

    cells: Float32
    """(4, cell row, cell column)."""

    @classmethod
    def of(cls, picture: UInt8) -> Self:
        """From (4, SIDE, SIDE) levels of the whole tile, 0 where it has no data; holes are bridged."""
        valid = (picture != 0).all(axis=0)
        count = _smooth(_sums(valid.astype(np.float64)))
        known = np.maximum(count, 1e-9)
        return cls(
            np.stack([(_smooth(_sums(np.where(valid, band, 0.0))) / known).astype(np.float32) for band in picture])
        )

    def at(self, y: Float64, x: Float64) -> Float32:
        """(4, y, x) levels at the crossings of `y` and `x`, parts of the tile from 0 (north, west) to 1."""
        return Lerp.of(self.cells, y * CELLS - 0.5, x * CELLS - 0.5).values()


def _sums(values: Float64) -> Float64:
    """Over 3 x 3 pixels."""
    out: Float64 = values.reshape(CELLS, 3, CELLS, 3).sum(axis=(1, 3))
    return out


def _smooth(values: Float64) -> Float64:
    out: Float64 = ndimage.gaussian_filter(values, _WIDTH, mode="constant")
    return out

"""Low-pass image of a tile (Gaussian, 600 m grid), used for two-band blending.

Blending treats this part of an image differently from the rest, which is texture (`feather_blend.py`).
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import scipy

from s2ops.constants import Float32, Float64, UInt8
from s2ops.imaging.interpolation import interpolate_bilinear

CELLS_PER_SIDE: Final = 183
"""Cells of 600 m along a tile's side."""

PREVIEW_SIDE: Final = 3 * CELLS_PER_SIDE
"""Side in pixels of the preview that it is computed from: three per cell, so that rounding to levels averages out."""

_SIGMA_CELLS: Final = 1.5
"""Standard deviation of the Gaussian, in cells: 900 m. Fields and towns are texture, valleys and plains are not."""


@dataclass(frozen=True)
class LowPassImage:
    """Smoothed levels of a tile."""

    cells: Float32
    """(4, cell row, cell column) levels at the centres of cells."""

    @classmethod
    def from_preview(cls, preview: UInt8) -> Self:
        """Smooth (4, PREVIEW_SIDE, PREVIEW_SIDE) levels of the whole tile; holes (0, no data) are bridged."""
        valid = (preview != 0).all(axis=0)
        count = _smooth(_sum_cells(valid.astype(np.float64)))
        known = np.maximum(count, 1e-9)
        return cls(
            np.stack([(_smooth(_sum_cells(np.where(valid, band, 0.0))) / known).astype(np.float32) for band in preview])
        )

    def sample(self, y: Float64, x: Float64) -> Float32:
        """Interpolate (4, y, x) levels at the crossings of `y` and `x`, fractions of the tile from north and west."""
        return interpolate_bilinear(self.cells, y * CELLS_PER_SIDE - 0.5, x * CELLS_PER_SIDE - 0.5)


def _sum_cells(values: Float64) -> Float64:
    """Sum the 3 x 3 pixels of each cell."""
    out: Float64 = values.reshape(CELLS_PER_SIDE, 3, CELLS_PER_SIDE, 3).sum(axis=(1, 3))
    return out


def _smooth(values: Float64) -> Float64:
    """Smooth cells by the Gaussian; outside the tile they count as 0."""
    out: Float64 = scipy.ndimage.gaussian_filter(values, _SIGMA_CELLS, mode="constant")
    return out

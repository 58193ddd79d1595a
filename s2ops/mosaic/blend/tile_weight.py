"""Feathering weight of a tile: distance to its border and holes, through a smoothstep ramp.

A tile's weight follows from its own valid area only: nearly 0 at its border and at its holes, 1 from
`FEATHER_WIDTH_M` inside. It does not depend on the tile being blended, nor on the neighbours.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import scipy

from s2ops.constants import Float32, Float64
from s2ops.imaging.cell_mask import CELL_M, CellMask
from s2ops.imaging.interpolation import interpolate_bilinear

FEATHER_WIDTH_M: Final = 9_600.0
"""Distance in metres from a tile's border at which its weight is 1. Sentinel-2 tiles overlap by 9,800 m: the feather
takes the whole overlap, which hides the difference of two tiles of unequal colour best."""

MIN_WEIGHT: Final = np.float32(2.0**-12)
"""Weight of a valid pixel right at a border: above 0, so that the pixel is used where no other tile has data. Elsewhere
its effect is below a tenth of a level."""

MIN_SHARP_WEIGHT: Final = np.float32(2.0**-7)
"""Smallest sharpened weight, before it is raised to the sixteenth power: the result is still a float32."""


@dataclass(frozen=True)
class CornerDistance:
    """Distance to the nearest invalid cell or the raster's border, stored at the cells' corners.

    Cells are 600 m, so the computation is cheap even for ramps of kilometres, and the interpolated distance is smooth
    at every pixel.
    """

    nodes: Float32
    """(cells + 1, cells + 1) distance in cells; 0 at the border and at the corners of an invalid cell."""
    cell: int
    """Side of a cell, in pixels."""

    @classmethod
    def from_cell_mask(cls, valid: CellMask) -> Self:
        """Compute the distances; a corner is inside if all four cells around it are valid and in the raster."""
        ringed = np.pad(valid.cells, 1)
        inside = ringed[:-1, :-1] & ringed[:-1, 1:] & ringed[1:, :-1] & ringed[1:, 1:]
        return cls(scipy.ndimage.distance_transform_edt(inside).astype(np.float32), valid.cell)

    def sample(self, rows: Float64, cols: Float64) -> Float32:
        """Interpolate the distance in pixels at the crossings of `rows` (y,) and `cols` (x,): (y, x) float32.

        Positions are in pixels from the raster's upper left corner: the centre of pixel 0 is at 0.5.
        """
        return interpolate_bilinear(self.nodes * np.float32(self.cell), rows / self.cell, cols / self.cell)


@dataclass(frozen=True)
class TileWeight:
    """Feathering weight of one tile, at any position of its own grid."""

    distance: CornerDistance
    ramp: float
    """Distance in pixels from border or hole to full weight."""

    @classmethod
    def from_valid_cells(cls, valid: CellMask, res: float, feather_width_m: float = FEATHER_WIDTH_M) -> Self:
        """Create from the tile's valid cells (`create_valid_cells`); `res` is metres per pixel."""
        return cls(CornerDistance.from_cell_mask(valid), feather_width_m / res)

    def sample_rows(self, start: int, stop: int, columns: int) -> Float32:
        """Sample the weights of rows `start` to `stop` (excluded): (y, x) float32 in 0..1, above 0. No halo needed.

        They do not exclude single invalid pixels: `BlendLayer.valid` does.
        """
        return self.sample(np.arange(start, stop, dtype=np.float64) + 0.5, np.arange(columns, dtype=np.float64) + 0.5)

    def sample(self, y: Float64, x: Float64) -> Float32:
        """Sample the weights at the crossings of `y` and `x`, in pixels from the upper left corner: (y, x) float32."""
        part = self.distance.sample(y, x)
        part /= np.float32(self.ramp)
        np.minimum(part, 1, out=part)
        # smoothstep: no kink where the feather begins and ends, and over the full overlap two tiles sum to one
        weight: Float32 = MIN_WEIGHT + (1 - MIN_WEIGHT) * part * part * (3 - 2 * part)
        return weight


def create_valid_cells(shape: tuple[int, int], res: float) -> CellMask:
    """Create the cells of a tile of `shape` pixels of `res` metres; feed them with its valid pixels."""
    return CellMask(shape, max(round(CELL_M / res), 1))

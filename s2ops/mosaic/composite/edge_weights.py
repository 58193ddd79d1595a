"""Edge weights of a scene (feathering): 1 deep inside its clear area, falling towards cloud, shadow and swath edge.

Weights are stored at the centres of small cells (40 m at 10 m pixels and a feather of 300 m) and interpolated, which
costs a sixteenth of a distance at every pixel. They follow from the tile's whole mask, so all slabs have the same.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

import numpy as np

from s2ops.constants import Bool, Float32, UInt8
from s2ops.imaging.cell_mask import CellMask
from s2ops.imaging.distance import compute_capped_distance_transform
from s2ops.imaging.interpolation import BilinearGrid
from s2ops.runtime.jit import compile_kernel

CELLS_PER_FEATHER: Final = 8
"""Cells across a feather, about: the interpolated ramp then differs from the exact ramp in corners, by half a cell."""

FULL_WEIGHT: Final = 255
"""Stored value of weight 1."""


def create_clear_cells(shape: tuple[int, int], feather_px: float) -> CellMask:
    """Create the cells of a raster of `shape` for a feather of so many pixels; feed them with its clear pixels."""
    return CellMask(shape, max(round(feather_px / CELLS_PER_FEATHER), 1))


@dataclass(frozen=True)
class EdgeWeights:
    """Weights of one scene over a whole tile."""

    cells: UInt8
    """(cell row, cell column), at the cells' centres: 0 where a pixel of the cell is not clear, 255 is weight 1."""
    cell: int
    """Side of a cell, in pixels."""

    @classmethod
    def from_clear_cells(cls, clear: CellMask, feather_px: float) -> Self:
        """Compute weights that reach 1 at `feather_px` pixels from the nearest pixel that is not clear.

        The distance is measured from a cell's centre to the nearest pixel centre of a cell that is not wholly clear.
        The tile's border is not an edge; a feather of at most 1 pixel is a hard edge.
        """
        reach, half = max(feather_px, 1.0), (clear.cell - 1) / 2
        distance = compute_capped_distance_transform(clear.cells, max((reach + half) / clear.cell, 1.0))
        weights = np.empty(distance.shape, np.uint8)
        _quantize_weights(distance, clear.cell, half, reach, weights)
        return cls(weights, clear.cell)

    def sample(self, rows: slice, cols: slice) -> BilinearGrid:
        """Interpolate the weights of a window of pixels, 0 to 1."""
        y, x = (((np.arange(part.start, part.stop) + 0.5) / self.cell - 0.5) for part in (rows, cols))
        weights = BilinearGrid.from_nodes(self.cells, y, x)
        weights.lines[...] /= np.float32(FULL_WEIGHT)
        return weights

    def is_saturated(self, rows: slice, cols: slice) -> Bool:
        """Return (cell row, cell column) of a window of pixels: True where every pixel has weight 1."""
        window = tuple(slice(part.start // self.cell, -(-part.stop // self.cell)) for part in (rows, cols))
        return self._saturated[window]

    @cached_property
    def _saturated(self) -> Bool:
        """Cells where every pixel has weight 1: a pixel's weight comes from its own cell and those next to it."""
        full = np.pad(self.cells == FULL_WEIGHT, 1, mode="edge")
        upright = full[:-2] & full[1:-1] & full[2:]
        out: Bool = upright[:, :-2] & upright[:, 1:-1] & upright[:, 2:]
        return out


@compile_kernel
def _quantize_weights(distance: Float32, cell: int, half: float, reach: float, out: UInt8) -> None:
    """Convert distances of cells, in cells, to weights of 0 to 255."""
    for y in range(distance.shape[0]):
        for x in range(distance.shape[1]):
            weight = (distance[y, x] * cell - half) / reach
            out[y, x] = np.uint8(np.rint(min(max(weight, 0.0), 1.0) * FULL_WEIGHT))

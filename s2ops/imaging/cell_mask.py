"""Coarse validity mask: raster cells (blocks of pixels) that contain no invalid pixel."""

from dataclasses import dataclass, field
from math import ceil
from typing import Final, Self

import numpy as np

from s2ops.constants import Bool
from s2ops.errors import RasterError
from s2ops.runtime.jit import compile_kernel

CELL_M: Final = 600
"""Side of a cell in metres: 183 of them fill a tile at 10, 20, 60 and 120 m alike."""


@dataclass
class CellMask:
    """Mask of the cells without an invalid pixel, built from row slabs of any height in any order."""

    shape: tuple[int, int]
    """Rows and columns of the raster, in pixels."""
    cell: int
    """Side of a cell, in pixels."""
    cells: Bool = field(init=False)
    """(cell row, cell column): True without an invalid pixel. Cells across the raster's border count by their pixels
    inside it."""

    def __post_init__(self) -> None:
        self.cells = np.ones((ceil(self.shape[0] / self.cell), ceil(self.shape[1] / self.cell)), np.bool_)

    def feed(self, valid: Bool, top: int = 0) -> Self:
        """Update the cells with a slab of the raster and return the mask.

        Args:
            valid: (y, x) bool, over the raster's whole width.
            top: Row of the raster that the slab's first row is.

        Raises:
            RasterError: If the slab leaves the raster.
        """
        if top + valid.shape[0] > self.shape[0] or valid.shape[1] != self.shape[1]:
            raise RasterError(
                f"Cannot update the validity mask: a slab of {valid.shape} pixels at row {top} does not fit a raster "
                f"of {self.shape}; feed rows inside it."
            )
        _clear_invalid_cells(np.ascontiguousarray(valid), top, self.cell, self.cells)
        return self


@compile_kernel
def _clear_invalid_cells(valid: Bool, top: int, cell: int, cells: Bool) -> None:
    """Set cells to False that contain an invalid pixel of a slab, whose first row is row `top` of the raster."""
    height, width = valid.shape
    line, y = np.empty(width, np.bool_), 0
    while y < height:
        row = (top + y) // cell
        below = min((row + 1) * cell - top, height)
        line[:] = True
        for one in range(y, below):
            for x in range(width):
                line[x] &= valid[one, x]
        for col in range(cells.shape[1]):
            whole = cells[row, col]
            for x in range(col * cell, min((col + 1) * cell, width)):
                whole &= line[x]
            cells[row, col] = whole
        y = below

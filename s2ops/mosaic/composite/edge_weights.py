"""How much of a pixel a scene claims: all of it deep inside its clear area, less towards cloud, shadow and swath edge.

The share is held at the centres of small cells (40 m at 10 m pixels and a fade of 300 m) and interpolated, which costs
a sixteenth of a distance at every pixel. It follows from the tile's whole mask, so every slab sees the same one.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

import numpy as np

from s2ops.constants import Bool, Float32, UInt8
from s2ops.imaging.distance import Lerp, ValidCells, bounded_distance
from s2ops.runtime.jit import compiled

ACROSS: Final = 8
"""Cells across a fade, about: the interpolated ramp then differs from the exact one by half a cell at corners only."""

FULL: Final = 255
"""Stored share of a scene that claims a place whole."""


def cells_for(shape: tuple[int, int], fade: float) -> ValidCells:
    """What to feed with the clear pixels (y, x) of a raster of this shape, for a fade of so many pixels."""
    return ValidCells(shape, max(round(fade / ACROSS), 1))


@dataclass(frozen=True)
class Fade:
    """The share of one scene over a whole tile."""

    cells: UInt8
    """(cell row, cell column), at the cells' centres: 0 where a pixel of the cell is not clear, 255 is all."""
    cell: int
    """Side of a cell, in pixels."""

    @classmethod
    def of(cls, clear: ValidCells, fade: float) -> Self:
        """The share rises to all of a pixel at `fade` pixels from the nearest one that is not clear.

        What is measured leads from a cell's centre to the nearest pixel centre of a cell that is not wholly clear.
        The tile's border is no edge; a fade up to 1 is a hard one.
        """
        reach, half = max(fade, 1.0), (clear.cell - 1) / 2
        distance = bounded_distance(clear.cells, max((reach + half) / clear.cell, 1.0))
        share = np.empty(distance.shape, np.uint8)
        _stored(distance, clear.cell, half, reach, share)
        return cls(share, clear.cell)

    def at(self, rows: slice, cols: slice) -> Lerp:
        """The share of a window of pixels, 0 to 1."""
        y, x = (((np.arange(part.start, part.stop) + 0.5) / self.cell - 0.5) for part in (rows, cols))
        share = Lerp.of(self.cells, y, x)
        share.lines[...] /= np.float32(FULL)
        return share

    def whole(self, rows: slice, cols: slice) -> Bool:
        """(cell row, cell column) of a window of pixels: every pixel there is claimed whole."""
        window = tuple(slice(part.start // self.cell, -(-part.stop // self.cell)) for part in (rows, cols))
        return self._whole[window]

    @cached_property
    def _whole(self) -> Bool:
        """A pixel's share comes from its own cell and those next to it."""
        full = np.pad(self.cells == FULL, 1, mode="edge")
        upright = full[:-2] & full[1:-1] & full[2:]
        out: Bool = upright[:, :-2] & upright[:, 1:-1] & upright[:, 2:]
        return out


@compiled
def _stored(distance: Float32, cell: int, half: float, reach: float, out: UInt8) -> None:
    """Distances of cells, in cells, as shares of 0 to 255."""
    for y in range(distance.shape[0]):
        for x in range(distance.shape[1]):
            share = (distance[y, x] * cell - half) / reach
            out[y, x] = np.uint8(np.rint(min(max(share, 0.0), 1.0) * FULL))

"""How far a pixel lies from the nearest one that does not count: the base of every cross-fade.

`bounded_distance` is exact and per pixel, for fades of some hundred metres. `NodeDistance` is for ramps of kilometres:
it looks at cells of 600 m, so it costs nothing, and still gives a smooth value at every pixel. Both depend on position
only.
"""

from dataclasses import dataclass, field
from itertools import product
from math import ceil
from typing import Final, Self

import numpy as np
from scipy.ndimage import distance_transform_edt

from s2ops.codes import Bool, Float32, Float64, Int64
from s2ops.errors import RasterError

_BLOCK: Final = 512
"""Side of the blocks that are looked at one by one: most hold nothing False and are done at once."""

CELL_M: Final = 600
"""Side of a cell in metres: 183 of them fill a tile at 10, 20, 60 and 120 m alike."""


def halo(cap: float) -> int:
    """Rows that a slab needs above and below, so that its distances up to `cap` pixels equal the whole's."""
    return ceil(cap)


def bounded_distance(mask: Bool, cap: float, wanted: Bool | None = None) -> Float32:
    """Distance in pixels, at most `cap`, from each True pixel's centre to that of the nearest False one.

    (y, x) bool -> (y, x) float32: 0 where False, else 1..cap. The image's border is no False pixel. With
    `halo(cap)` rows around it, a slab's distances are exactly the whole's. Where `wanted` (y, x) is given, pixels
    outside it may be left 0: a later scene of a composite matters only where something is still open.
    """
    if cap < 1:
        return mask.astype(np.float32)
    out = np.zeros(mask.shape, np.float32)
    height, width = mask.shape
    for top, left in product(range(0, height, _BLOCK), range(0, width, _BLOCK)):
        core = (slice(top, min(top + _BLOCK, height)), slice(left, min(left + _BLOCK, width)))
        if wanted is None or wanted[core].any():
            out[core] = _block(mask, core, cap)
    return out


def _block(mask: Bool, core: tuple[slice, slice], cap: float) -> Float32 | float:
    """`bounded_distance` of one block; a number where it is the same for all of the block."""
    reach = halo(cap)
    rows, cols = (slice(max(part.start - reach, 0), part.stop + reach) for part in core)
    around = mask[rows, cols]
    if around.all():
        return cap
    if not mask[core].any():
        return 0.0
    distance: Float64 = distance_transform_edt(around)
    top, left = core[0].start - rows.start, core[1].start - cols.start
    inner = distance[top : top + core[0].stop - core[0].start, left : left + core[1].stop - core[1].start]
    out: Float32 = np.minimum(inner, cap).astype(np.float32)
    return out


@dataclass
class ValidCells:
    """Which cells of a raster hold no invalid pixel; fed with row slabs of any height, in any order."""

    shape: tuple[int, int]
    """Rows and columns of the raster, in pixels."""
    cell: int
    """Side of a cell, in pixels."""
    cells: Bool = field(init=False)
    """(cell row, cell column); a cell that the raster fills in part counts by that part."""

    def __post_init__(self) -> None:
        self.cells = np.ones((ceil(self.shape[0] / self.cell), ceil(self.shape[1] / self.cell)), np.bool_)

    def feed(self, valid: Bool, top: int = 0) -> Self:
        """Take in (y, x) bool, whose first row is row `top` of the raster."""
        if top + valid.shape[0] > self.shape[0] or valid.shape[1] != self.shape[1]:
            raise RasterError(
                f"a slab of {valid.shape} at row {top} does not fit a raster of {self.shape}; feed rows inside it"
            )
        by_column = np.logical_and.reduceat(valid, np.arange(0, self.shape[1], self.cell), axis=1)
        rows = np.arange(top, top + valid.shape[0]) // self.cell
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        self.cells[rows[starts]] &= np.logical_and.reduceat(by_column, starts, axis=0)
        return self


@dataclass(frozen=True)
class NodeDistance:
    """Distance to the nearest invalid cell or the raster's border, held at the cells' corners."""

    nodes: Float32
    """(cells + 1, cells + 1) distance in cells; 0 at the border and at the corners of an invalid cell."""
    cell: int
    """Side of a cell, in pixels."""

    @classmethod
    def of(cls, valid: ValidCells) -> Self:
        """A corner counts as inside where all four cells around it are valid; outside the raster none is."""
        ringed = np.pad(valid.cells, 1)
        inside = ringed[:-1, :-1] & ringed[:-1, 1:] & ringed[1:, :-1] & ringed[1:, 1:]
        return cls(distance_transform_edt(inside).astype(np.float32), valid.cell)

    def at(self, rows: Float64, cols: Float64) -> Float32:
        """Distance in pixels at all crossings of `rows` (y,) and `cols` (x,): (y, x) float32, bilinear.

        Positions in pixels from the raster's upper left corner: the centre of pixel 0 is at 0.5.
        """
        return bilinear(self.nodes * np.float32(self.cell), rows / self.cell, cols / self.cell)


def bilinear(nodes: Float32, rows: Float64, cols: Float64) -> Float32:
    """(n, m) nodes at the crossings of `rows` (y,) and `cols` (x,), in nodes from the first: (y, x) float32.

    Beyond the outermost nodes their value holds.
    """
    upper, down = _lerp(rows, nodes.shape[0])
    left, right = _lerp(cols, nodes.shape[1])
    one = np.float32(1)
    # plain products instead of a matrix product: a sum whose order BLAS picks would differ between slabs
    lines = nodes[upper] * (one - down)[:, None] + nodes[np.minimum(upper + 1, len(nodes) - 1)] * down[:, None]
    out: Float32 = lines[:, left] * (one - right) + lines[:, np.minimum(left + 1, nodes.shape[1] - 1)] * right
    return out


def _lerp(position: Float64, nodes: int) -> tuple[Int64, Float32]:
    """The node before each position and the part of the way to the next one."""
    before = np.clip(np.floor(position), 0, max(nodes - 2, 0)).astype(np.int64)
    return before, np.clip(position - before, 0, 1).astype(np.float32)

"""How far a pixel lies from the nearest one that does not count: the base of every cross-fade.

`bounded_distance` is exact, for fades of some hundred metres. `NodeDistance` is for ramps of kilometres:
it looks at cells of 600 m, so it costs nothing, and still gives a smooth value at every pixel. Both depend on position
only.
"""

from dataclasses import dataclass, field
from itertools import product
from math import ceil
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from s2ops.constants import Bool, Float32, Float64, Int32, Int64
from s2ops.errors import RasterError
from s2ops.runtime.jit import compiled
from s2ops.runtime.lazy_scipy import ndimage

_BLOCK: Final = 512
"""Side of the blocks that are looked at one by one: most hold nothing False and are done at once."""

CELL_M: Final = 600
"""Side of a cell in metres: 183 of them fill a tile at 10, 20, 60 and 120 m alike."""


def bounded_distance(mask: Bool, cap: float) -> Float32:
    """Distance in pixels, at most `cap` (1 or more), from each True pixel's centre to that of the nearest False one.

    (y, x) bool -> (y, x) float32: 0 where False, else 1..cap. The image's border is no False pixel.
    """
    out, reach = np.zeros(mask.shape, np.float32), ceil(cap)
    height, width = mask.shape
    for top, left in product(range(0, height, _BLOCK), range(0, width, _BLOCK)):
        core = (slice(top, min(top + _BLOCK, height)), slice(left, min(left + _BLOCK, width)))
        rows, cols = (slice(max(part.start - reach, 0), part.stop + reach) for part in core)
        around = mask[rows, cols]
        if around.all():
            out[core] = cap
        elif mask[core].any():
            part = np.empty((core[0].stop - top, core[1].stop - left), np.float32)
            _distances(np.ascontiguousarray(around), top - rows.start, left - cols.start, reach, cap, part)
            out[core] = part
    return out


@compiled
def _distances(mask: Bool, top: int, left: int, reach: int, cap: float, out: Float32) -> None:
    """Distances of the part of `mask` that begins at `top`, `left` and has the shape of `out`."""
    rows, cols = out.shape
    far = np.int32(reach + 1)
    upright = _upright(mask, top, rows, far)
    width = mask.shape[1]
    aside = np.empty(width, np.int32)
    for y in range(rows):
        line = upright[y]
        _sideways(line, far, aside)
        for x in range(left, left + cols):
            if line[x] == 0:
                out[y, x - left] = 0
                continue
            best = far * far
            for step in range(aside[x], far):
                if step * step >= best:
                    break
                if x >= step:
                    best = min(best, step * step + line[x - step] * line[x - step])
                if x + step < width:
                    best = min(best, step * step + line[x + step] * line[x + step])
            out[y, x - left] = min(np.sqrt(best), cap)


@compiled
def _upright(mask: Bool, top: int, rows: int, far: np.int32) -> Int32:
    """Distance to the nearest False pixel of the same column, at most `far`, in `rows` rows from `top`."""
    height, width = mask.shape
    out = np.empty((rows, width), np.int32)
    last = np.full(width, far, np.int32)
    for y in range(top + rows):
        _further(mask[y], far, last)
        if y >= top:
            out[y - top] = last
    last[:] = far
    for y in range(height - 1, top - 1, -1):
        _further(mask[y], far, last)
        if y < top + rows:
            line = out[y - top]
            for x in range(width):
                line[x] = min(line[x], last[x])
    return out


@compiled
def _further(line: Bool, far: np.int32, last: Int32) -> None:
    """One row on: one more where True, at most `far`; 0 where False."""
    for x in range(len(line)):
        last[x] = min(last[x] + np.int32(1), far) * np.int32(line[x])


@compiled
def _sideways(line: Int32, far: np.int32, aside: Int32) -> None:
    """Into `aside`: distance to the nearest pixel of `line` below `far`, at most `far`."""
    near = far
    for x in range(len(line)):
        near = np.int32(0) if line[x] < far else min(near + np.int32(1), far)
        aside[x] = near
    near = far
    for x in range(len(line) - 1, -1, -1):
        near = np.int32(0) if line[x] < far else min(near + np.int32(1), far)
        aside[x] = min(aside[x], near)


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
        _whole_cells(np.ascontiguousarray(valid), top, self.cell, self.cells)
        return self


@compiled
def _whole_cells(valid: Bool, top: int, cell: int, cells: Bool) -> None:
    """Into `cells`: no more True where a pixel of `valid`, whose first row is row `top`, is not."""
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
        return cls(ndimage.distance_transform_edt(inside).astype(np.float32), valid.cell)

    def at(self, rows: Float64, cols: Float64) -> Float32:
        """Distance in pixels at all crossings of `rows` (y,) and `cols` (x,): (y, x) float32, bilinear.

        Positions in pixels from the raster's upper left corner: the centre of pixel 0 is at 0.5.
        """
        return bilinear(self.nodes * np.float32(self.cell), rows / self.cell, cols / self.cell)


class Lerp(NamedTuple):
    """A smooth field over some pixels, half worked out: known at every column, in the rows of its nodes."""

    lines: Float32
    """(..., node row, x)."""
    above: Int64
    """(y,): the node row above each pixel."""
    below: Int64
    """(y,): the one below it."""
    part: Float32
    """(y,): part of the way between the two, 0 to 1."""

    @classmethod
    def of(cls, nodes: NDArray[np.generic], rows: Float64, cols: Float64) -> Self:
        """(..., n, m) nodes at the crossings of `rows` (y,) and `cols` (x,), in nodes from the first.

        Beyond the outermost nodes their value holds.
        """
        above, part = _lerp(rows, nodes.shape[-2])
        below = np.minimum(above + 1, nodes.shape[-2] - 1)
        left, aside = _lerp(cols, nodes.shape[-1])
        used = slice(int(above.min()), int(below.max()) + 1)
        near = np.ascontiguousarray(nodes[..., used, :])
        lines = np.empty((*near.shape[:-1], len(cols)), np.float32)
        flat: Float32 = near.reshape(-1, nodes.shape[-1])  # or UInt8: compiled for either
        _along(flat, left, np.minimum(left + 1, nodes.shape[-1] - 1), aside, lines.reshape(len(flat), -1))
        return cls(lines, above - used.start, below - used.start, part)

    def cut(self, rows: slice, cols: slice = slice(None)) -> "Lerp":
        """The same for some of the pixels, with the nodes that they need."""
        above, below = self.above[rows], self.below[rows]
        nodes = slice(int(above.min()), int(below.max()) + 1)
        return Lerp(self.lines[..., nodes, cols], above - nodes.start, below - nodes.start, self.part[rows])

    def values(self) -> Float32:
        """(..., y, x) float32."""
        *outer, nodes, width = self.lines.shape
        out = np.empty((*outer, len(self.part), width), np.float32)
        lines = np.ascontiguousarray(self.lines).reshape(-1, nodes, width)
        _between(lines, self.above, self.below, self.part, out.reshape(-1, len(self.part), width))
        return out


@compiled
def _along(nodes: Float32, left: Int64, right: Int64, part: Float32, lines: Float32) -> None:
    """Rows of nodes to rows of pixels. Equal neighbours give exactly their value."""
    for row in range(len(nodes)):
        for x in range(len(part)):
            before = np.float32(nodes[row, left[x]])
            lines[row, x] = before + (np.float32(nodes[row, right[x]]) - before) * part[x]


@compiled
def _between(lines: Float32, above: Int64, below: Int64, part: Float32, out: Float32) -> None:
    for one in range(len(out)):
        for y in range(len(part)):
            upper, lower = lines[one, above[y]], lines[one, below[y]]
            for x in range(lines.shape[2]):
                out[one, y, x] = upper[x] + (lower[x] - upper[x]) * part[y]


def bilinear(nodes: Float32, rows: Float64, cols: Float64) -> Float32:
    """(..., n, m) nodes at the crossings of `rows` (y,) and `cols` (x,), in nodes from the first: (..., y, x)."""
    return Lerp.of(nodes, rows, cols).values()


def _lerp(position: Float64, nodes: int) -> tuple[Int64, Float32]:
    """The node before each position and the part of the way to the next one."""
    before = np.clip(np.floor(position), 0, max(nodes - 2, 0)).astype(np.int64)
    return before, np.clip(position - before, 0, 1).astype(np.float32)

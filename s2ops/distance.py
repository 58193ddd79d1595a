"""How far a pixel lies from the nearest one that does not count: the base of every cross-fade.

`bounded_distance` is exact and per pixel, for fades of some hundred metres. `NodeDistance` is for ramps of kilometres:
it looks at cells of 600 m, so it costs nothing, and still gives a smooth value at every pixel. Both depend on position
only.
"""

from dataclasses import dataclass, field
from itertools import product
from math import ceil
from typing import Final, NamedTuple, Self

import numpy as np
from scipy.ndimage import distance_transform_edt

from s2ops.codes import Bool, Float32, Float64, Int32, Int64
from s2ops.compiled import compiled
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
            out[core] = distance_within(mask, core, cap, None if wanted is None else wanted[core])
    return out


def distance_within(mask: Bool, core: tuple[slice, slice], cap: float, wanted: Bool | None = None) -> Float32:
    """`bounded_distance` of a part of `mask`, which sees what lies around that part; `cap` is 1 or more.

    `wanted` has the shape of the part.
    """
    reach = halo(cap)
    rows, cols = (slice(max(part.start - reach, 0), part.stop + reach) for part in core)
    around, shape = mask[rows, cols], (core[0].stop - core[0].start, core[1].stop - core[1].start)
    if around.all():
        return np.full(shape, cap, np.float32)
    if not mask[core].any():
        return np.zeros(shape, np.float32)
    out = np.empty(shape, np.float32)
    asked = np.ones(shape, np.bool_) if wanted is None else np.ascontiguousarray(wanted)
    top, left = core[0].start - rows.start, core[1].start - cols.start
    _distances(np.ascontiguousarray(around), asked, top, left, reach, cap, out)
    return out


@compiled
def _distances(mask: Bool, wanted: Bool, top: int, left: int, reach: int, cap: float, out: Float32) -> None:
    """Distances of the part of `mask` that begins at `top`, `left` and has the shape of `out`, where `wanted`."""
    rows, cols = out.shape
    far = np.int32(reach + 1)
    upright = _upright(mask, top, rows, far)
    width = mask.shape[1]
    aside = np.empty(width, np.int32)
    for y in range(rows):
        line = upright[y]
        _sideways(line, far, aside)
        for x in range(left, left + cols):
            if not wanted[y, x - left] or line[x] == 0:
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


class Lerp(NamedTuple):
    """A smooth field over some pixels, half worked out: known in each row, at the columns of its nodes."""

    lines: Float32
    """(..., y, node column)."""
    before: Int64
    """(x,): the node column before each pixel."""
    after: Int64
    """(x,): the one after it."""
    part: Float32
    """(x,): part of the way between the two, 0 to 1."""

    @classmethod
    def of(cls, nodes: Float32, rows: Float64, cols: Float64) -> Self:
        """(..., n, m) nodes at the crossings of `rows` (y,) and `cols` (x,), in nodes from the first.

        Beyond the outermost nodes their value holds.
        """
        upper, down = _lerp(rows, nodes.shape[-2])
        lower = np.minimum(upper + 1, nodes.shape[-2] - 1)
        left, part = _lerp(cols, nodes.shape[-1])
        # plain products instead of a matrix product: a sum whose order BLAS picks would differ between slabs
        lines = nodes[..., upper, :] * (1 - down)[:, None] + nodes[..., lower, :] * down[:, None]
        return cls(lines, left, np.minimum(left + 1, nodes.shape[-1] - 1), part)

    def cut(self, rows: slice, cols: slice = slice(None)) -> "Lerp":
        """The same for some of the pixels, with the nodes that they need."""
        before, after = self.before[cols], self.after[cols]
        nodes = slice(int(before.min()), int(after.max()) + 1)
        return Lerp(self.lines[..., rows, nodes], before - nodes.start, after - nodes.start, self.part[cols])

    def values(self) -> Float32:
        """(..., y, x) float32."""
        out: Float32 = self.lines[..., self.before] * (1 - self.part) + self.lines[..., self.after] * self.part
        return out


def bilinear(nodes: Float32, rows: Float64, cols: Float64) -> Float32:
    """(..., n, m) nodes at the crossings of `rows` (y,) and `cols` (x,), in nodes from the first: (..., y, x)."""
    return Lerp.of(nodes, rows, cols).values()


def _lerp(position: Float64, nodes: int) -> tuple[Int64, Float32]:
    """The node before each position and the part of the way to the next one."""
    before = np.clip(np.floor(position), 0, max(nodes - 2, 0)).astype(np.int64)
    return before, np.clip(position - before, 0, 1).astype(np.float32)

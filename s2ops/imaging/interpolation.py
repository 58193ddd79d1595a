"""Bilinear interpolation of smooth fields that are known at the nodes of a coarse grid."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from s2ops.constants import Float32, Float64, Int64
from s2ops.runtime.jit import compile_kernel


class BilinearGrid(NamedTuple):
    """Bilinear interpolation over a window of pixels, half evaluated: at every column, but only in the rows of nodes.

    Kernels evaluate the other half per pixel (`lines[above] + (lines[below] - lines[above]) * part`), so that no
    field of full resolution is held in memory.
    """

    lines: Float32
    """(..., node row, x): values in the rows of the nodes."""
    above: Int64
    """(y,): index of the node row above each pixel."""
    below: Int64
    """(y,): index of the node row below each pixel."""
    part: Float32
    """(y,): position between the two node rows, 0 (above) to 1 (below)."""

    @classmethod
    def from_nodes(cls, nodes: NDArray[np.generic], rows: Float64, cols: Float64) -> Self:
        """Interpolate nodes along x, for the crossings of `rows` and `cols`.

        Beyond the outermost nodes the field is constant.

        Args:
            nodes: (..., n, m) values, float32 or uint8.
            rows: (y,) row positions, in nodes from the first.
            cols: (x,) column positions, in nodes from the first.
        """
        above, part = _split_position(rows, nodes.shape[-2])
        below = np.minimum(above + 1, nodes.shape[-2] - 1)
        left, aside = _split_position(cols, nodes.shape[-1])
        used = slice(int(above.min()), int(below.max()) + 1)
        near = np.ascontiguousarray(nodes[..., used, :])
        lines = np.empty((*near.shape[:-1], len(cols)), np.float32)
        flat: Float32 = near.reshape(-1, nodes.shape[-1])  # or UInt8: compiled for either
        _interpolate_columns(flat, left, np.minimum(left + 1, nodes.shape[-1] - 1), aside, lines.reshape(len(flat), -1))
        return cls(lines, above - used.start, below - used.start, part)

    def crop(self, rows: slice, cols: slice = slice(None)) -> "BilinearGrid":
        """Return the grid of some of the pixels, with the node rows that they need."""
        above, below = self.above[rows], self.below[rows]
        nodes = slice(int(above.min()), int(below.max()) + 1)
        return BilinearGrid(self.lines[..., nodes, cols], above - nodes.start, below - nodes.start, self.part[rows])

    def evaluate(self) -> Float32:
        """Return the field at every pixel: (..., y, x) float32."""
        *outer, nodes, width = self.lines.shape
        out = np.empty((*outer, len(self.part), width), np.float32)
        lines = np.ascontiguousarray(self.lines).reshape(-1, nodes, width)
        _interpolate_rows(lines, self.above, self.below, self.part, out.reshape(-1, len(self.part), width))
        return out


@compile_kernel
def _interpolate_columns(nodes: Float32, left: Int64, right: Int64, part: Float32, lines: Float32) -> None:
    """Interpolate rows of nodes to rows of pixels. Equal neighbours give exactly their value."""
    for row in range(len(nodes)):
        for x in range(len(part)):
            before = np.float32(nodes[row, left[x]])
            lines[row, x] = before + (np.float32(nodes[row, right[x]]) - before) * part[x]


@compile_kernel
def _interpolate_rows(lines: Float32, above: Int64, below: Int64, part: Float32, out: Float32) -> None:
    """Interpolate between node rows, for each of the fields (first axis)."""
    for one in range(len(out)):
        for y in range(len(part)):
            upper, lower = lines[one, above[y]], lines[one, below[y]]
            for x in range(lines.shape[2]):
                out[one, y, x] = upper[x] + (lower[x] - upper[x]) * part[y]


def interpolate_bilinear(nodes: Float32, rows: Float64, cols: Float64) -> Float32:
    """Interpolate (..., n, m) nodes at the crossings of `rows` (y,) and `cols` (x,): (..., y, x) float32.

    Positions are in nodes from the first; beyond the outermost nodes the field is constant.
    """
    return BilinearGrid.from_nodes(nodes, rows, cols).evaluate()


def _split_position(position: Float64, nodes: int) -> tuple[Int64, Float32]:
    """Split positions into the index of the node before and the fraction of the way to the next node."""
    before = np.clip(np.floor(position), 0, max(nodes - 2, 0)).astype(np.int64)
    return before, np.clip(position - before, 0, 1).astype(np.float32)

"""Capped Euclidean distance transform (EDT) of a mask, exact, for feathering over some hundred metres."""

from itertools import product
from math import ceil
from typing import Final

import numpy as np

from s2ops.constants import Bool, Float32, Int32
from s2ops.runtime.jit import compile_kernel

_BLOCK: Final = 512
"""Side in pixels of the blocks that are processed one by one: most contain nothing False and need no loop."""


def compute_capped_distance_transform(mask: Bool, cap: float) -> Float32:
    """Compute the distance from each True pixel's centre to that of the nearest False pixel, at most `cap`.

    The result depends on positions only: pixels outside the image do not count as False.

    Args:
        mask: (y, x) bool.
        cap: Largest distance, in pixels, at least 1.

    Returns:
        (y, x) float32: 0 where the mask is False, otherwise 1 to `cap` pixels.
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
            _compute_block(np.ascontiguousarray(around), top - rows.start, left - cols.start, reach, cap, part)
            out[core] = part
    return out


@compile_kernel
def _compute_block(mask: Bool, top: int, left: int, reach: int, cap: float, out: Float32) -> None:
    """Compute the distances of the part of `mask` that begins at `top`, `left` and has the shape of `out`."""
    rows, cols = out.shape
    far = np.int32(reach + 1)
    upright = _compute_column_distances(mask, top, rows, far)
    width = mask.shape[1]
    aside = np.empty(width, np.int32)
    for y in range(rows):
        line = upright[y]
        _compute_row_distances(line, far, aside)
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


@compile_kernel
def _compute_column_distances(mask: Bool, top: int, rows: int, far: np.int32) -> Int32:
    """Compute the distance to the nearest False pixel of the same column, at most `far`, in `rows` rows from `top`."""
    height, width = mask.shape
    out = np.empty((rows, width), np.int32)
    last = np.full(width, far, np.int32)
    for y in range(top + rows):
        _advance_row(mask[y], far, last)
        if y >= top:
            out[y - top] = last
    last[:] = far
    for y in range(height - 1, top - 1, -1):
        _advance_row(mask[y], far, last)
        if y < top + rows:
            line = out[y - top]
            for x in range(width):
                line[x] = min(line[x], last[x])
    return out


@compile_kernel
def _advance_row(line: Bool, far: np.int32, last: Int32) -> None:
    """Update the distances `last` by one row: add 1 where True, at most `far`; set 0 where False."""
    for x in range(len(line)):
        last[x] = min(last[x] + np.int32(1), far) * np.int32(line[x])


@compile_kernel
def _compute_row_distances(line: Int32, far: np.int32, aside: Int32) -> None:
    """Write to `aside` the distance to the nearest pixel of `line` below `far`, at most `far`."""
    near = far
    for x in range(len(line)):
        near = np.int32(0) if line[x] < far else min(near + np.int32(1), far)
        aside[x] = near
    near = far
    for x in range(len(line) - 1, -1, -1):
        near = np.int32(0) if line[x] < far else min(near + np.int32(1), far)
        aside[x] = min(aside[x], near)

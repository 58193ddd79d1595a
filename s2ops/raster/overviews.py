"""Overviews (image pyramid) of a raster, built incrementally while the raster is written slab by slab.

GDAL would read the finished file again, once per level and on one thread: at full size that took longer than all
other work for a COG together.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import numpy as np

from s2ops.constants import UInt8
from s2ops.runtime.jit import compile_kernel

OverviewMethod: TypeAlias = Literal["AVERAGE", "MODE", "NEAREST"]

MAX_UNDIVIDED_PX: Final = 512
"""A raster of at most this many pixels per side needs no further overview: it fits into one COG block."""

RowWriter: TypeAlias = Callable[[UInt8], None]
"""Function that receives the next rows (band, rows, x), top to bottom."""


def list_overview_shapes(height: int, width: int) -> Iterator[tuple[int, int]]:
    """List (rows, columns) of each overview of a raster: halved, rounded up, until it fits into one block."""
    while max(height, width) > MAX_UNDIVIDED_PX:
        height, width = (height + 1) // 2, (width + 1) // 2
        yield height, width


@dataclass
class OverviewBuilder:
    """Builder of one overview level: receives rows of the finer level in slabs of any height, writes half as many."""

    method: OverviewMethod
    nodata: int | None
    """Pixels of this value count only if all others of the block have it too."""
    write: RowWriter
    _kept: UInt8 | None = field(default=None, init=False)

    def add_rows(self, part: UInt8) -> None:
        """Add the next rows (band, rows, x) of the finer level."""
        rows = part if self._kept is None else np.concatenate([self._kept, part], axis=1)
        even = rows.shape[1] // 2 * 2
        self._kept = rows[:, even:].copy() if even < rows.shape[1] else None
        if even:
            self.write(downsample_2x(rows[:, :even], self.method, self.nodata))

    def finish(self) -> None:
        """Write the last row if the number of rows is odd."""
        if self._kept is not None:
            self.write(downsample_2x(self._kept, self.method, self.nodata))
            self._kept = None


def downsample_2x(levels: UInt8, method: OverviewMethod, nodata: int | None) -> UInt8:
    """Downsample a raster by 2: each output pixel is made from a block of up to 2 x 2 pixels.

    Args:
        levels: (band, y, x).
        method: AVERAGE (rounds halves up), MODE (the upper left of equally frequent values) or NEAREST (upper left).
        nodata: Value without data, or None.

    Returns:
        (band, (y + 1) // 2, (x + 1) // 2).
    """
    bands, height, width = levels.shape
    if method == "NEAREST":
        return np.ascontiguousarray(levels[:, ::2, ::2])
    out = np.empty((bands, (height + 1) // 2, (width + 1) // 2), np.uint8)
    kernel = _average_blocks if method == "AVERAGE" else _find_modes
    for source, target in zip(levels, out, strict=True):
        kernel(np.ascontiguousarray(source), -1 if nodata is None else nodata, target)
    return out


_RECIPROCALS_16BIT = (65536, 65536, 32768, 21846, 16384)
"""65536 over the number of valid pixels (index): a sum of up to 4 * 255 times it, shifted by 16 bits, is the exact
quotient."""


@compile_kernel
def _average_blocks(source: UInt8, nodata: int, target: UInt8) -> None:
    """Average blocks of 2 x 2 without branches or divisions, so that the compiler vectorizes the loop."""
    height, width = source.shape
    for y in range(target.shape[0]):
        upper, lower = (
            source[2 * y],
            source[min(2 * y + 1, height - 1)],
        )  # an odd last row counts twice, which gives the same mean
        for x in range(width // 2):
            target[y, x] = _average(upper[2 * x], upper[2 * x + 1], lower[2 * x], lower[2 * x + 1], nodata)
        if width % 2:
            target[y, -1] = _average(upper[-1], upper[-1], lower[-1], lower[-1], nodata)


@compile_kernel
def _average(a: int, b: int, c: int, d: int, nodata: int) -> np.int32:
    p, q, r, s = np.int32(a != nodata), np.int32(b != nodata), np.int32(c != nodata), np.int32(d != nodata)
    count = p + q + r + s
    total = np.int32(a) * p + np.int32(b) * q + np.int32(c) * r + np.int32(d) * s + (count >> 1)
    share = (
        _RECIPROCALS_16BIT[2]
        if count == 2
        else _RECIPROCALS_16BIT[3]
        if count == 3
        else _RECIPROCALS_16BIT[4]
        if count == 4
        else _RECIPROCALS_16BIT[1]
    )
    return np.int32((total * np.int32(share)) >> 16) if count > 0 else np.int32(nodata)


@compile_kernel
def _find_modes(source: UInt8, nodata: int, target: UInt8) -> None:
    height, width = source.shape
    for y in range(target.shape[0]):
        lower = min(2 * y + 1, height - 1)
        for x in range(target.shape[1]):
            right = min(2 * x + 1, width - 1)
            a, b, c, d = source[2 * y, 2 * x], source[2 * y, right], source[lower, 2 * x], source[lower, right]
            if a == b and a == c and a == d:  # most blocks
                target[y, x] = a
                continue
            best, most = a, 0
            for value in (a, b, c, d):
                count = (a == value) + (b == value) + (c == value) + (d == value)
                if value != nodata and count > most:
                    best, most = value, count
            target[y, x] = best

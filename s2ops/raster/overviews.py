"""The overviews of a raster that is written in slabs: each level is made from the one before while that passes by.

GDAL would read the finished file again, once a level and on one thread: at full size that took longer than everything
else about a COG together.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import numpy as np

from s2ops.constants import UInt8
from s2ops.runtime.jit import compiled

Method: TypeAlias = Literal["AVERAGE", "MODE", "NEAREST"]

LEAST: Final = 512
"""A raster that fits into a square of this side needs no further overview: one COG block."""

Write: TypeAlias = Callable[[UInt8], None]
"""Takes the next rows (band, rows, x), top to bottom."""


def sizes(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Rows and columns of each overview of a raster: halved, rounded up, until it fits into one block."""
    while max(height, width) > LEAST:
        height, width = (height + 1) // 2, (width + 1) // 2
        yield height, width


@dataclass
class Halving:
    """Rows in, half as many rows out to `write`, whatever the height of the parts that come in."""

    method: Method
    nodata: int | None
    """Pixels of this value count only where nothing else is."""
    write: Write
    _kept: UInt8 | None = field(default=None, init=False)

    def feed(self, part: UInt8) -> None:
        """Take in the next rows (band, rows, x)."""
        rows = part if self._kept is None else np.concatenate([self._kept, part], axis=1)
        even = rows.shape[1] // 2 * 2
        self._kept = rows[:, even:].copy() if even < rows.shape[1] else None
        if even:
            self.write(halved(rows[:, :even], self.method, self.nodata))

    def finish(self) -> None:
        """The last row of an odd number stands for itself."""
        if self._kept is not None:
            self.write(halved(self._kept, self.method, self.nodata))
            self._kept = None


def halved(levels: UInt8, method: Method, nodata: int | None) -> UInt8:
    """(band, y, x) -> (band, (y + 1) // 2, (x + 1) // 2): each pixel from up to 2 x 2.

    AVERAGE rounds halves up; MODE takes the upper left of equally frequent ones; NEAREST takes the upper left.
    """
    bands, height, width = levels.shape
    if method == "NEAREST":
        return np.ascontiguousarray(levels[:, ::2, ::2])
    out = np.empty((bands, (height + 1) // 2, (width + 1) // 2), np.uint8)
    kernel = _averages if method == "AVERAGE" else _modes
    for source, target in zip(levels, out, strict=True):
        kernel(np.ascontiguousarray(source), -1 if nodata is None else nodata, target)
    return out


_SHARES = (65536, 65536, 32768, 21846, 16384)
"""65536 over the number of pixels with data: a sum of up to 4 * 255 times it, shifted by 16, is the exact quotient."""


@compiled
def _averages(source: UInt8, nodata: int, target: UInt8) -> None:
    """Without a branch or a division, so that it is vectorised."""
    height, width = source.shape
    for y in range(target.shape[0]):
        upper, lower = source[2 * y], source[min(2 * y + 1, height - 1)]  # a last odd row counts twice: the same mean
        for x in range(width // 2):
            target[y, x] = _average(upper[2 * x], upper[2 * x + 1], lower[2 * x], lower[2 * x + 1], nodata)
        if width % 2:
            target[y, -1] = _average(upper[-1], upper[-1], lower[-1], lower[-1], nodata)


@compiled
def _average(a: int, b: int, c: int, d: int, nodata: int) -> np.int32:
    p, q, r, s = np.int32(a != nodata), np.int32(b != nodata), np.int32(c != nodata), np.int32(d != nodata)
    count = p + q + r + s
    total = np.int32(a) * p + np.int32(b) * q + np.int32(c) * r + np.int32(d) * s + (count >> 1)
    share = _SHARES[2] if count == 2 else _SHARES[3] if count == 3 else _SHARES[4] if count == 4 else _SHARES[1]
    return np.int32((total * np.int32(share)) >> 16) if count > 0 else np.int32(nodata)


@compiled
def _modes(source: UInt8, nodata: int, target: UInt8) -> None:
    height, width = source.shape
    for y in range(target.shape[0]):
        lower = min(2 * y + 1, height - 1)
        for x in range(target.shape[1]):
            right = min(2 * x + 1, width - 1)
            a, b, c, d = source[2 * y, 2 * x], source[2 * y, right], source[lower, 2 * x], source[lower, right]
            if a == b and a == c and a == d:  # most places
                target[y, x] = a
                continue
            best, most = a, 0
            for value in (a, b, c, d):
                count = (a == value) + (b == value) + (c == value) + (d == value)
                if value != nodata and count > most:
                    best, most = value, count
            target[y, x] = best

"""A tile with a frame of pixels from its neighbours, so that a network sees what lies beyond the border."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from odc.geo.geobox import GeoBox

from s2ops.constants import BANDS, Float32, UInt8
from s2ops.raster.reader import read_window
from s2ops.raster.reproject import Window, onto

FRAME: Final = 16
"""Pixels: what a network sees beyond counts for the class at the border, and 915 + 2 * 16 still fits two windows."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A 4-band file and the grid it lies on."""

    path: str
    grid: GeoBox

    def read(self, window: Window) -> Float32:
        """(4, y, x) levels of a window."""
        return read_window(self.path, *window).astype(np.float32)


def framed(own: Placed, others: Sequence[Placed]) -> Callable[[int, int], UInt8]:
    """Rows of `own` inside its frame, as `segment_slabs` reads them: (4, end - top, width + 2 * FRAME) levels.

    The frame shows what the first of `others` shows there, else the tile mirrored at its border. Only the frame is
    held.
    """
    height = own.grid.height
    padded = own.grid.pad(FRAME)
    upper = _mirrored(own, slice(0, FRAME))[:, ::-1]
    lower = _mirrored(own, slice(height - FRAME, height))[:, ::-1]
    frame_top = _filled(others, padded[:FRAME, :], upper)
    frame_bottom = _filled(others, padded[FRAME + height :, :], lower)

    def read(top: int, end: int) -> UInt8:
        first, last = max(top, FRAME), min(end, FRAME + height)
        parts = [frame_top[:, top:end]] if top < FRAME else []
        if first < last:
            parts.append(_middle(own, others, padded, slice(first, last)))
        if end > FRAME + height:
            parts.append(frame_bottom[:, max(top - FRAME - height, 0) : end - FRAME - height])
        return np.concatenate(parts, axis=1)

    return read


def _middle(own: Placed, others: Sequence[Placed], padded: GeoBox, rows: slice) -> UInt8:
    """Rows of the tile itself, with its frame left and right."""
    inner = _mirrored(own, slice(rows.start - FRAME, rows.stop - FRAME))
    left = _filled(others, padded[rows, :FRAME], inner[:, :, :FRAME])
    right = _filled(others, padded[rows, inner.shape[2] - FRAME :], inner[:, :, -FRAME:])
    return np.concatenate([left, inner[:, :, FRAME:-FRAME], right], axis=2)


def _mirrored(own: Placed, rows: slice) -> UInt8:
    """Rows of the tile, mirrored to the left and right."""
    inner = read_window(own.path, rows)
    return np.pad(inner, ((0, 0), (0, 0), (FRAME, FRAME)), mode="symmetric")


def _filled(others: Sequence[Placed], grid: GeoBox, fallback: UInt8) -> UInt8:
    """What the first of `others` that has data shows on `grid`, else `fallback`."""
    out = np.zeros_like(fallback)
    for other in others:
        if (out != 0).all():
            break
        seen = np.rint(onto(other.read, other.grid, grid, len(BANDS))).astype(np.uint8)
        take = (out == 0).all(axis=0) & (seen != 0).all(axis=0)
        out[:, take] = seen[:, take]
    empty = (out == 0).all(axis=0)
    out[:, empty] = fallback[:, empty]
    return out

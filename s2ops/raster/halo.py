"""Halo (overlap margin) of pixels from neighbouring tiles around a tile, as context for networks at its border."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from odc.geo.geobox import GeoBox

from s2ops.constants import BANDS, Float32, UInt8
from s2ops.raster.reader import read_window
from s2ops.raster.reproject import Window, resample_to_grid

HALO_PX: Final = 16
"""Width of the halo in pixels: context beyond the border affects the class at the border, and 915 + 2 * 16 pixels still
fit into two windows."""


@dataclass(frozen=True, slots=True)
class GriddedFile:
    """4-band file and its grid."""

    path: str
    grid: GeoBox

    def read(self, window: Window) -> Float32:
        """Read a window as (4, y, x) levels."""
        return read_window(self.path, *window).astype(np.float32)


def read_with_halo(own: GriddedFile, others: Sequence[GriddedFile]) -> Callable[[int, int], UInt8]:
    """Create a function that reads rows of a tile with its halo, as `segment_slabs` needs them.

    The halo comes from the first of `others` with data there, otherwise from the tile mirrored at its border. Memory:
    only the rows above and below the tile are kept.

    Args:
        own: File of the tile.
        others: Files of its neighbours, in order of priority.

    Returns:
        Function of the rows `top` and `end`, counted from the top of the halo, that returns
        (4, end - top, width + 2 * HALO_PX) levels.
    """
    height = own.grid.height
    padded = own.grid.pad(HALO_PX)
    upper = _read_mirrored(own, slice(0, HALO_PX))[:, ::-1]
    lower = _read_mirrored(own, slice(height - HALO_PX, height))[:, ::-1]
    halo_top = _fill_from_neighbours(others, padded[:HALO_PX, :], upper)
    halo_bottom = _fill_from_neighbours(others, padded[HALO_PX + height :, :], lower)

    def read(top: int, end: int) -> UInt8:
        first, last = max(top, HALO_PX), min(end, HALO_PX + height)
        parts = [halo_top[:, top:end]] if top < HALO_PX else []
        if first < last:
            parts.append(_read_rows(own, others, padded, slice(first, last)))
        if end > HALO_PX + height:
            parts.append(halo_bottom[:, max(top - HALO_PX - height, 0) : end - HALO_PX - height])
        return np.concatenate(parts, axis=1)

    return read


def _read_rows(own: GriddedFile, others: Sequence[GriddedFile], padded: GeoBox, rows: slice) -> UInt8:
    """Read rows of the tile itself, with its halo left and right."""
    inner = _read_mirrored(own, slice(rows.start - HALO_PX, rows.stop - HALO_PX))
    left = _fill_from_neighbours(others, padded[rows, :HALO_PX], inner[:, :, :HALO_PX])
    right = _fill_from_neighbours(others, padded[rows, inner.shape[2] - HALO_PX :], inner[:, :, -HALO_PX:])
    return np.concatenate([left, inner[:, :, HALO_PX:-HALO_PX], right], axis=2)


def _read_mirrored(own: GriddedFile, rows: slice) -> UInt8:
    """Read rows of the tile, mirrored to the left and right."""
    inner = read_window(own.path, rows)
    return np.pad(inner, ((0, 0), (0, 0), (HALO_PX, HALO_PX)), mode="symmetric")


def _fill_from_neighbours(others: Sequence[GriddedFile], grid: GeoBox, fallback: UInt8) -> UInt8:
    """Fill `grid` from the first of `others` with data, otherwise from `fallback`."""
    out = np.zeros_like(fallback)
    for other in others:
        if (out != 0).all():
            break
        seen = np.rint(resample_to_grid(other.read, other.grid, grid, len(BANDS))).astype(np.uint8)
        take = (out == 0).all(axis=0) & (seen != 0).all(axis=0)
        out[:, take] = seen[:, take]
    empty = (out == 0).all(axis=0)
    out[:, empty] = fallback[:, empty]
    return out

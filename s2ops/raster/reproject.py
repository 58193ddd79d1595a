"""One raster seen on the grid of another: an exact slice where the grids align, bilinear or nearest elsewhere.

GDAL's warper approximates the projection per chunk of the target, so that its pixels depend on how a raster is cut
into slabs. Here each target pixel's place in the source is computed exactly: a slab equals the whole, whoever asks.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely import LineString, box, get_parts
from shapely.ops import linemerge

from s2ops.constants import Float32, Float64
from s2ops.raster.lanczos import sharp
from s2ops.runtime.lazy_scipy import ndimage

Window: TypeAlias = tuple[slice, slice]
"""Rows and columns."""

ReadWindow: TypeAlias = Callable[[Window], Float32]
"""(band, rows, columns) of a raster, as float32; 0 is no data."""

_ALIGNED = 1e-6
"""Pixels; grids that differ by less are the same grid."""

_MARGIN = 5
"""Source pixels around the target's outline: Lanczos needs three, curved outlines a little more."""


def shift(src: GeoBox, dst: GeoBox) -> tuple[int, int] | None:
    """Row and column of `src` at which `dst` begins, where their pixels coincide; None where they do not."""
    if src.crs != dst.crs or abs(src.resolution.x - dst.resolution.x) > _ALIGNED:
        return None
    left = (dst.transform.c - src.transform.c) / src.transform.a
    top = (dst.transform.f - src.transform.f) / src.transform.e
    if abs(left - round(left)) > _ALIGNED or abs(top - round(top)) > _ALIGNED:
        return None
    return round(top), round(left)


def window_of(src: GeoBox, dst: GeoBox) -> Window | None:
    """The part of `src` that `dst` needs; None where they do not meet."""
    at = shift(src, dst)
    if at is not None:
        rows, cols = (at[0], at[0] + dst.height), (at[1], at[1] + dst.width)
    else:
        y, x = pixels_in(src, dst, *_outline(dst))
        rows = (int(np.floor(y.min())) - _MARGIN, int(np.ceil(y.max())) + _MARGIN)
        cols = (int(np.floor(x.min())) - _MARGIN, int(np.ceil(x.max())) + _MARGIN)
    part = (
        slice(max(rows[0], 0), min(rows[1], src.height)),
        slice(max(cols[0], 0), min(cols[1], src.width)),
    )
    return part if part[0].start < part[0].stop and part[1].start < part[1].stop else None


def onto(
    read: ReadWindow, src: GeoBox, dst: GeoBox, bands: int, method: Literal["sharp", "bilinear", "nearest"] = "bilinear"
) -> Float32:
    """What `src` shows on the grid `dst`: (band, y, x) float32, 0 where nothing.

    Reads only the window it needs. Sharp is for pictures (`resample.py`). Bilinear means over the valid ones of the
    four pixels around a place, and needs half of their weight to be valid. Pixels of source and target must be of one
    size or nearly so.
    """
    window = window_of(src, dst)
    if window is None:
        return np.zeros((bands, *dst.shape), np.float32)
    part, at = read(window), shift(src, dst)
    if at is not None:
        if part.shape[1:] == dst.shape:
            return part
        out = np.zeros((bands, *dst.shape), np.float32)
        top, left = window[0].start - at[0], window[1].start - at[1]
        out[:, top : top + part.shape[1], left : left + part.shape[2]] = part
        return out
    centres = (np.arange(size, dtype=np.float64) + 0.5 for size in dst.shape)
    y, x = pixels_in(src, dst, *centres)
    # map_coordinates counts from the centre of the first pixel of the part
    places = np.stack([y - (window[0].start + 0.5), x - (window[1].start + 0.5)])
    if method == "sharp":
        return sharp(part, *places)
    if method == "nearest":
        return np.stack([ndimage.map_coordinates(band, np.floor(places + 0.5), order=0, cval=0.0) for band in part])
    return _bilinear(part, places)


def _bilinear(part: Float32, places: Float64) -> Float32:
    valid = (part != 0).all(axis=0).astype(np.float32)
    share = ndimage.map_coordinates(valid, places, order=1, cval=0.0)
    seen = share >= 0.5
    sums = [ndimage.map_coordinates(band * valid, places, order=1, cval=0.0) for band in part]
    out: Float32 = np.where(seen, np.stack(sums) / np.maximum(share, 0.5), 0).astype(np.float32)
    return out


def pixels_in(src: GeoBox, dst: GeoBox, rows: Float64, cols: Float64) -> tuple[Float64, Float64]:
    """Where the crossings of `rows` and `cols` (pixels of `dst` from its corner) lie in pixels of `src`: y, x.

    Each is (rows, cols).
    """
    x, y = np.meshgrid(dst.transform.c + cols * dst.transform.a, dst.transform.f + rows * dst.transform.e)
    if src.crs != dst.crs:
        x, y = _transformer(str(dst.crs), str(src.crs)).transform(x, y)
    return (y - src.transform.f) / src.transform.e, (x - src.transform.c) / src.transform.a


def _outline(grid: GeoBox) -> tuple[Float64, Float64]:
    """Rows and columns of a lattice that includes the outline, dense enough for its curvature in another zone."""
    return np.linspace(0, grid.height, 33), np.linspace(0, grid.width, 33)


@lru_cache(maxsize=256)
def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def border_inside(grid: GeoBox, other: GeoBox) -> Float64 | None:
    """The border of `other` where it crosses `grid`: (n, 2) points y, x in pixels of `grid`; its longest stretch.

    None where it only runs along the border of `grid`, or not at all.
    """
    steps = np.linspace(0, 1, 65)
    ring = np.concatenate([
        np.stack([np.zeros(65), steps], 1), np.stack([steps, np.ones(65)], 1),
        np.stack([np.ones(65), 1 - steps], 1), np.stack([1 - steps, np.zeros(65)], 1),
    ])  # fmt: skip
    points = []
    for row, col in ring:
        y, x = pixels_in(grid, other, np.array([row * other.height]), np.array([col * other.width]))
        points.append((float(x[0, 0]), float(y[0, 0])))
    inside = LineString(points).intersection(box(1, 1, grid.width - 1, grid.height - 1))
    lines = [part for part in get_parts(inside) if isinstance(part, LineString) and not part.is_empty]
    merged = get_parts(linemerge(lines)) if lines else ()
    longest = max(merged, key=lambda line: line.length, default=None)
    if longest is None or longest.length < 2:
        return None
    return np.array([(y, x) for x, y in longest.coords], np.float64)

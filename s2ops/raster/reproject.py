"""Reprojection (warping) of a raster to another grid: an exact slice if the grids align, otherwise resampling.

GDAL's warper is not used, because its result depends on how the target is cut into slabs, for two reasons: it
approximates the projection per chunk, and it scales its resampling kernel per chunk. `tolerance=0` does not help.
Reprojecting 900 x 1,600 pixels across zones in slabs of 100 rows instead of whole changed 60 % of its values, by up
to 46 (bilinear) and 53 (Lanczos) of 255; with a fixed scale (XSCALE, YSCALE) still 6,592 values, by up to 3.8. Here
the source position of each target pixel is computed exactly, so slabs equal the whole. Own Lanczos resampling costs
three times the CPU of GDAL's (6.1 against 2.1 s for 2,274 x 1,030 pixels).
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
import scipy
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely import LineString, box, get_parts
from shapely.ops import linemerge

from s2ops.constants import Float32, Float64
from s2ops.raster.lanczos import resample_lanczos3

Window: TypeAlias = tuple[slice, slice]
"""Rows and columns."""

WindowReader: TypeAlias = Callable[[Window], Float32]
"""Function that reads (band, rows, columns) of a raster as float32; 0 is nodata."""

_ALIGNMENT_TOLERANCE_PX = 1e-6
"""Grids that differ by less, in pixels, are the same grid."""

_MARGIN_PX = 5
"""Source pixels around the target's outline: Lanczos needs three, curved outlines slightly more."""


def find_aligned_offset(src: GeoBox, dst: GeoBox) -> tuple[int, int] | None:
    """Find the (row, column) of `src` at which `dst` begins; None if their pixels do not coincide."""
    if src.crs != dst.crs or abs(src.resolution.x - dst.resolution.x) > _ALIGNMENT_TOLERANCE_PX:
        return None
    left = (dst.transform.c - src.transform.c) / src.transform.a
    top = (dst.transform.f - src.transform.f) / src.transform.e
    if abs(left - round(left)) > _ALIGNMENT_TOLERANCE_PX or abs(top - round(top)) > _ALIGNMENT_TOLERANCE_PX:
        return None
    return round(top), round(left)


def find_source_window(src: GeoBox, dst: GeoBox) -> Window | None:
    """Find the window of `src` that resampling to `dst` needs; None if they do not intersect."""
    at = find_aligned_offset(src, dst)
    if at is not None:
        rows, cols = (at[0], at[0] + dst.height), (at[1], at[1] + dst.width)
    else:
        y, x = project_pixels(src, dst, *_sample_outline(dst))
        rows = (int(np.floor(y.min())) - _MARGIN_PX, int(np.ceil(y.max())) + _MARGIN_PX)
        cols = (int(np.floor(x.min())) - _MARGIN_PX, int(np.ceil(x.max())) + _MARGIN_PX)
    part = (
        slice(max(rows[0], 0), min(rows[1], src.height)),
        slice(max(cols[0], 0), min(cols[1], src.width)),
    )
    return part if part[0].start < part[0].stop and part[1].start < part[1].stop else None


def resample_to_grid(
    read: WindowReader,
    src: GeoBox,
    dst: GeoBox,
    bands: int,
    method: Literal["lanczos3", "bilinear", "nearest"] = "bilinear",
) -> Float32:
    """Resample a raster to another grid; pixels of source and target must have nearly the same size.

    Args:
        read: Reads a window of the source; only the window that is needed.
        src: Grid of the source.
        dst: Grid of the target.
        bands: Number of bands.
        method: "lanczos3" for imagery (lanczos.py); "bilinear" averages the valid ones of the four nearest pixels if
            they have half of the weight; "nearest" for codes. Aligned grids are sliced by any method.

    Returns:
        (band, y, x) float32 values; 0 is nodata.
    """
    window = find_source_window(src, dst)
    if window is None:
        return np.zeros((bands, *dst.shape), np.float32)
    part, at = read(window), find_aligned_offset(src, dst)
    if at is not None:
        if part.shape[1:] == dst.shape:
            return part
        out = np.zeros((bands, *dst.shape), np.float32)
        top, left = window[0].start - at[0], window[1].start - at[1]
        out[:, top : top + part.shape[1], left : left + part.shape[2]] = part
        return out
    centres = (np.arange(size, dtype=np.float64) + 0.5 for size in dst.shape)
    y, x = project_pixels(src, dst, *centres)
    # map_coordinates counts from the centre of the first pixel of the part
    places = np.stack([y - (window[0].start + 0.5), x - (window[1].start + 0.5)])
    if method == "lanczos3":
        return resample_lanczos3(part, *places)
    if method == "nearest":
        nearest = np.floor(places + 0.5)
        return np.stack([scipy.ndimage.map_coordinates(band, nearest, order=0, cval=0.0) for band in part])
    return _interpolate_bilinear(part, places)


def _interpolate_bilinear(part: Float32, places: Float64) -> Float32:
    valid = (part != 0).all(axis=0).astype(np.float32)
    share = scipy.ndimage.map_coordinates(valid, places, order=1, cval=0.0)
    seen = share >= 0.5
    sums = [scipy.ndimage.map_coordinates(band * valid, places, order=1, cval=0.0) for band in part]
    out: Float32 = np.where(seen, np.stack(sums) / np.maximum(share, 0.5), 0).astype(np.float32)
    return out


def project_pixels(src: GeoBox, dst: GeoBox, rows: Float64, cols: Float64) -> tuple[Float64, Float64]:
    """Project pixel positions of `dst` into `src`.

    Args:
        src: Grid of the result.
        dst: Grid of `rows` and `cols`.
        rows: (n,) rows in pixels of `dst`, counted from its corner.
        cols: (m,) columns in pixels of `dst`, counted from its corner.

    Returns:
        y and x in pixels of `src`, each (n, m).
    """
    x, y = np.meshgrid(dst.transform.c + cols * dst.transform.a, dst.transform.f + rows * dst.transform.e)
    if src.crs != dst.crs:
        x, y = _create_transformer(str(dst.crs), str(src.crs)).transform(x, y)
    return (y - src.transform.f) / src.transform.e, (x - src.transform.c) / src.transform.a


def _sample_outline(grid: GeoBox) -> tuple[Float64, Float64]:
    """Sample rows and columns of a lattice with the outline, dense enough for its curvature in another zone."""
    return np.linspace(0, grid.height, 33), np.linspace(0, grid.width, 33)


@lru_cache(maxsize=256)
def _create_transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def find_shared_border(grid: GeoBox, other: GeoBox) -> Float64 | None:
    """Find the longest part of the border of `other` that crosses `grid`.

    Returns:
        (n, 2) points (y, x) in pixels of `grid`, or None if no part of the border lies inside `grid`.
    """
    steps = np.linspace(0, 1, 65)
    ring = np.concatenate([
        np.stack([np.zeros(65), steps], 1), np.stack([steps, np.ones(65)], 1),
        np.stack([np.ones(65), 1 - steps], 1), np.stack([1 - steps, np.zeros(65)], 1),
    ])  # fmt: skip
    points = []
    for row, col in ring:
        y, x = project_pixels(grid, other, np.array([row * other.height]), np.array([col * other.width]))
        points.append((float(x[0, 0]), float(y[0, 0])))
    inside = LineString(points).intersection(box(1, 1, grid.width - 1, grid.height - 1))
    lines = [part for part in get_parts(inside) if isinstance(part, LineString) and not part.is_empty]
    merged = get_parts(linemerge(lines)) if lines else ()
    longest = max(merged, key=lambda line: line.length, default=None)
    if longest is None or longest.length < 2:
        return None
    return np.array([(y, x) for x, y in longest.coords], np.float64)

"""Tile ownership (de-duplication of overlaps): assign each pixel to one tile, so that regional sums count it once.

Tiles overlap by 10 km and more. A location belongs to the tile whose border is farthest away, each distance measured
in that tile's own UTM zone; ties go to the smaller name. The owner is the same from every tile that contains the
location, so the owned parts fill the region without gaps or overlaps, also across zones. It does not depend on data.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from odc.geo.geobox import GeoBox
from pyproj import Proj, Transformer

from s2ops.constants import Bool, Float32, Float64
from s2ops.geo.mgrs_tiles import Tile

BLOCK_SIZE_M: Final = 5_120
"""Width of a block in metres. Within a block, the projection is approximated as bilinear (error of 0.5 m at most) and
its scale as constant (error of 0.003 % at most)."""

_MERCATOR_EPSG: Final = 3857
_COARSE_LINES: Final = 33
"""Grid lines per axis at which the pixels of a web map tile are projected exactly."""


def compute_border_distance(tile: Tile, x: Float64, y: Float64) -> Float64:
    """Compute the distance of points to the tile's border.

    Args:
        tile: Tile whose border is used.
        x: Eastings in metres in the tile's UTM zone.
        y: Northings in metres in the tile's UTM zone, of the same shape.

    Returns:
        Distance in metres, positive inside and negative outside.
    """
    left, bottom, right, top = tile.bounds
    out: Float64 = np.minimum(np.minimum(x - left, right - x), np.minimum(y - bottom, top - y))
    return out


def compute_ownership_mask(tile: Tile, others: Sequence[Tile], block: GeoBox) -> Bool:
    """Compute which pixels of a block belong to the tile rather than to its neighbours.

    Args:
        tile: Tile that the block is a part of.
        others: Other tiles that may contain the pixels.
        block: Part of the tile's pixel grid, at most BLOCK_SIZE_M wide and high.

    Returns:
        Boolean array `(y, x)`, true where the tile is the owner.
    """
    rows, cols = block.shape
    mine = _compute_pixel_coordinates(block, tile, (rows, cols))
    own, out = compute_border_distance(tile, *mine), np.ones((rows, cols), np.bool_)
    for other in others:
        theirs = compute_border_distance(other, *_compute_pixel_coordinates(block, other, (rows, cols)))
        out &= (own > theirs) | ((own == theirs) & (tile.name < other.name))
    return out


def compute_border_distance_on_map(
    tile: Tile, shape: tuple[int, int], box: tuple[float, float, float, float]
) -> Float32:
    """Compute the distance of a web map's pixels to the tile's border.

    Pixels are projected on a coarse grid and interpolated: in a rendered map, the border may be off by one pixel.

    Args:
        tile: Tile whose border is used.
        shape: Height and width of the map image in pixels.
        box: Left, bottom, right, top of the image in Web Mercator metres.

    Returns:
        Distance in metres, shape `(y, x)`, float32; positive inside and negative outside.
    """
    left, bottom, right, top = box
    xs, ys = np.linspace(left, right, _COARSE_LINES), np.linspace(top, bottom, _COARSE_LINES)
    west, south, east, north = tile.bounds
    x, y = _get_transformer(_MERCATOR_EPSG, tile.epsg).transform(*np.meshgrid(xs, ys))
    down, across = (_compute_interpolation_weights(length) for length in shape)
    # Relative to the tile's centre, because float32 then resolves centimetres.
    aside: Float32 = down @ (np.asarray(x) - (west + east) / 2).astype(np.float32) @ across.T
    up: Float32 = down @ (np.asarray(y) - (south + north) / 2).astype(np.float32) @ across.T
    out: Float32 = np.float32((east - west) / 2) - np.maximum(np.abs(aside), np.abs(up))
    return out


def _compute_interpolation_weights(length: int) -> Float32:
    """Compute linear interpolation weights from the coarse lines to `length` pixel centres.

    Returns:
        Weights of shape `(length, _COARSE_LINES)`, float32, 0 to 1.
    """
    at = (np.arange(length) + 0.5) / length * (_COARSE_LINES - 1)
    out: Float32 = np.clip(1 - np.abs(at[:, None] - np.arange(_COARSE_LINES)), 0, 1).astype(np.float32)
    return out


def compute_pixel_area_km2(tile: Tile, block: GeoBox) -> float:
    """Compute the true area in km2 of the block's central pixel: its UTM area divided by the areal scale factor."""
    box = block.boundingbox
    proj = _get_projection(tile.epsg)
    longitude, latitude = proj((box.left + box.right) / 2, (box.bottom + box.top) / 2, inverse=True)
    scale = proj.get_factors(longitude, latitude).areal_scale
    return float(abs(block.resolution.x * block.resolution.y) / scale / 1e6)


def _compute_pixel_coordinates(block: GeoBox, tile: Tile, shape: tuple[int, int]) -> tuple[Float64, Float64]:
    """Compute the coordinates of all pixel centres in the tile's UTM zone, interpolated from the block's corners."""
    box = block.boundingbox
    x, y = np.array([box.left, box.right, box.left, box.right]), np.array([box.top, box.top, box.bottom, box.bottom])
    epsg = block.crs.epsg if block.crs else None
    if epsg != tile.epsg:
        x, y = (np.asarray(part) for part in _get_transformer(epsg, tile.epsg).transform(x, y))
    down = ((np.arange(shape[0]) + 0.5) / shape[0])[:, None]
    right = ((np.arange(shape[1]) + 0.5) / shape[1])[None, :]

    def interpolate_corners(corners: Float64) -> Float64:
        upper = corners[0] + (corners[1] - corners[0]) * right
        lower = corners[2] + (corners[3] - corners[2]) * right
        out: Float64 = upper + (lower - upper) * down
        return out

    return interpolate_corners(x), interpolate_corners(y)


@lru_cache(maxsize=256)
def _get_transformer(source: int | None, target: int) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


@lru_cache(maxsize=128)
def _get_projection(epsg: int) -> Proj:
    return Proj(epsg)

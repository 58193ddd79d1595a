"""Which tile counts a place: tiles overlap by 10 km and more, and sums over a region must count all ground once.

A place belongs to the tile in which it lies deepest, that is farthest from the border, each distance measured in that
tile's own UTM zone; equal ones go to the smaller name. All tiles that show a place find the same owner, so their parts
fill the region without gap or overlap, across zones too. Interiors are a tile's own, and data plays no part.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from odc.geo.geobox import GeoBox
from pyproj import Proj, Transformer

from s2ops.constants import Bool, Float32, Float64
from s2ops.geo.mgrs_tiles import Tile

BLOCK_M: Final = 5_120
"""Side of the blocks that tiles are counted in. Within one, the projection is taken for bilinear (0.5 m at most) and
its scale for constant (0.003 % at most)."""


_MERCATOR: Final = 3857
_COARSE: Final = 33
"""Lines each way on which a map tile is projected."""


def depth(tile: Tile, x: Float64, y: Float64) -> Float64:
    """Distance to the tile's border in metres, negative outside; `x` and `y` in its UTM zone."""
    left, bottom, right, top = tile.bounds
    out: Float64 = np.minimum(np.minimum(x - left, right - x), np.minimum(y - bottom, top - y))
    return out


def owned(tile: Tile, others: Sequence[Tile], block: GeoBox) -> Bool:
    """(y, x) pixels of a block of the tile's grid, at most BLOCK_M wide, that belong to it rather than to `others`."""
    rows, cols = block.shape
    mine = _spread(block, tile, (rows, cols))
    own, out = depth(tile, *mine), np.ones((rows, cols), np.bool_)
    for other in others:
        theirs = depth(other, *_spread(block, other, (rows, cols)))
        out &= (own > theirs) | ((own == theirs) & (tile.name < other.name))
    return out


def depth_on_map(tile: Tile, shape: tuple[int, int], box: tuple[float, float, float, float]) -> Float32:
    """(y, x) `depth` of a web map's pixels over `box` (Mercator metres: left, bottom, right, top).

    Projected on a coarse grid and interpolated between: of pictures, where a border may lie a pixel off.
    """
    left, bottom, right, top = box
    xs, ys = np.linspace(left, right, _COARSE), np.linspace(top, bottom, _COARSE)
    west, south, east, north = tile.bounds
    x, y = _between(_MERCATOR, tile.epsg).transform(*np.meshgrid(xs, ys))
    down, across = (_weights(length) for length in shape)
    # from the tile's middle, where 32 bits hold centimetres
    aside: Float32 = down @ (np.asarray(x) - (west + east) / 2).astype(np.float32) @ across.T
    up: Float32 = down @ (np.asarray(y) - (south + north) / 2).astype(np.float32) @ across.T
    out: Float32 = np.float32((east - west) / 2) - np.maximum(np.abs(aside), np.abs(up))
    return out


def _weights(length: int) -> Float32:
    """(length, _COARSE): what each coarse line counts for each of `length` pixel centres between the first and last."""
    at = (np.arange(length) + 0.5) / length * (_COARSE - 1)
    out: Float32 = np.clip(1 - np.abs(at[:, None] - np.arange(_COARSE)), 0, 1).astype(np.float32)
    return out


def pixel_km2(tile: Tile, block: GeoBox) -> float:
    """True area of one pixel in the middle of the block: UTM's own square over its areal scale there."""
    box = block.boundingbox
    proj = _proj(tile.epsg)
    longitude, latitude = proj((box.left + box.right) / 2, (box.bottom + box.top) / 2, inverse=True)
    scale = proj.get_factors(longitude, latitude).areal_scale
    return float(abs(block.resolution.x * block.resolution.y) / scale / 1e6)


def _spread(block: GeoBox, tile: Tile, shape: tuple[int, int]) -> tuple[Float64, Float64]:
    """X and y of all pixel centres in the tile's zone, from those of the block's four corners."""
    box = block.boundingbox
    x, y = np.array([box.left, box.right, box.left, box.right]), np.array([box.top, box.top, box.bottom, box.bottom])
    epsg = block.crs.epsg if block.crs else None
    if epsg != tile.epsg:
        x, y = (np.asarray(part) for part in _between(epsg, tile.epsg).transform(x, y))
    down = ((np.arange(shape[0]) + 0.5) / shape[0])[:, None]
    right = ((np.arange(shape[1]) + 0.5) / shape[1])[None, :]

    def whole(corners: Float64) -> Float64:
        upper = corners[0] + (corners[1] - corners[0]) * right
        lower = corners[2] + (corners[3] - corners[2]) * right
        out: Float64 = upper + (lower - upper) * down
        return out

    return whole(x), whole(y)


@lru_cache(maxsize=256)
def _between(source: int | None, target: int) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


@lru_cache(maxsize=128)
def _proj(epsg: int) -> Proj:
    return Proj(epsg)

"""MosaicJSON 0.0.3 of all tiles of a product: index from web-map squares (quadkeys) to files. It opens no file."""

from collections import defaultdict
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import morecantile
import shapely

from s2ops.errors import InputError
from s2ops.geo.footprint import merge_bboxes
from s2ops.geo.mgrs_tiles import TILE_SIZE_M, Tile

Rgba = tuple[int, int, int, int]
"""Red, green, blue, alpha: 0 to 255."""

_WEB_MERCATOR: Final = morecantile.tms.get("WebMercatorQuad")
QUADKEY_ZOOM: Final = 8
"""Zoom of the index. A square has 156 km at the equator: a tile overlaps 2 to 6 squares, a square 2 to 9 tiles."""


def build_mosaicjson(
    locations: Mapping[Tile, str], res: float, name: str, colours: Mapping[int, Rgba] | None = None
) -> dict[str, Any]:
    """Build the MosaicJSON document.

    A square lists its tiles by the distance of their centres, nearest first. The zoom range begins where a tile fills
    one image of 256 pixels and ends at the resolution of the files.

    Args:
        locations: Key of each tile's file, relative to the document; a reader must be given the prefix.
        res: Pixel size in metres.
        name: Name of the product.
        colours: Colour of each code.

    Raises:
        InputError: If there is no tile.
    """
    if not locations:
        raise InputError("Cannot build a MosaicJSON without tiles: run the steps before publish first.")
    found: dict[str, list[tuple[float, str]]] = defaultdict(list)
    boxes = []
    for tile, location in sorted(locations.items()):
        for part in shapely.get_parts(tile.footprint):
            west, south, east, north = part.bounds
            boxes.append(part.bounds)
            for square in _WEB_MERCATOR.tiles(west, south, east, north, zooms=[QUADKEY_ZOOM]):
                outline = _compute_outline(square)
                if part.intersects(outline):
                    found[_WEB_MERCATOR.quadkey(square)].append((part.centroid.distance(outline.centroid), location))
    west, south, east, north = merge_bboxes(boxes)
    bounds = [west, south, east, north] if west <= east else [-180.0, south, 180.0, north]
    least = _WEB_MERCATOR.zoom_for_res(TILE_SIZE_M / 256, zoom_level_strategy="lower")
    return {
        "mosaicjson": "0.0.3",
        "name": name,
        "version": "1.0.0",
        "attribution": "Contains modified Copernicus Sentinel data",
        "minzoom": least,
        "maxzoom": _WEB_MERCATOR.zoom_for_res(res),
        "quadkey_zoom": QUADKEY_ZOOM,
        "bounds": bounds,
        "center": [(bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2, least],
        "asset_type": "COG",
        "data_type": "uint8",
        **({"colormap": {str(value): list(rgba) for value, rgba in colours.items()}} if colours else {}),
        "tiles": {key: list(dict.fromkeys(where for _, where in sorted(found[key]))) for key in sorted(found)},
    }


@lru_cache(maxsize=1 << 16)
def _compute_outline(square: morecantile.Tile) -> shapely.Polygon:
    """Compute the outline of a square in degrees. Cached: neighbours share squares, and a projection takes 1 ms."""
    return shapely.box(*_WEB_MERCATOR.bounds(square))

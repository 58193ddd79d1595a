"""All tiles of a product as MosaicJSON 0.0.3: which file lies in which square of the web map. It opens nothing."""

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

_WEB_MERCATOR: Final = morecantile.tms.get("WebMercatorQuad")
QUADKEY_ZOOM: Final = 8
"""Squares of 156 km at the equator: a tile lies in two to six of them, and a square holds two to nine tiles."""


def get_mosaicjson_key(product: str) -> str:
    """Such as 'mosaic.mosaic.json', in which readers look for MosaicJSON."""
    return f"{product}.mosaic.json"


def build_mosaicjson(
    locations: Mapping[Tile, str], res: float, name: str, colours: Mapping[int, Rgba] | None = None
) -> dict[str, Any]:
    """The document over the tiles at `locations`, keys relative to it (give a reader the prefix).

    A square lists the tile whose middle is nearest first. Zoom reaches from where a tile is one picture of 256 pixels
    to `res` metres a pixel. Raises InputError where there is no tile.
    """
    if not locations:
        raise InputError("a MosaicJSON needs at least one tile: run the steps before publish first")
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
    """In degrees. Kept, because neighbours ask for the same square and a projection takes a millisecond."""
    return shapely.box(*_WEB_MERCATOR.bounds(square))

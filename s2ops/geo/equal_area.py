"""Surface areas of shapes in degrees on the WGS 84 ellipsoid, by Lambert's cylindrical equal-area projection."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import numpy as np
import shapely
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

from s2ops.constants import Float64
from s2ops.geo.mgrs_tiles import Tile

_EQUAL_AREA_PROJ: Final = "+proj=cea +ellps=WGS84 +units=m"
"""Lambert's cylindrical equal-area projection (Snyder 1987, USGS PP 1395, p. 76): straight graticule."""
_MAX_SEGMENT_DEGREES: Final = 0.05
"""Maximum length of an edge segment before projection; the error of a triangle one degree wide is 0.0002 %."""


def compute_area_km2(shape: BaseGeometry) -> float:
    """Compute the area of a shape on the WGS 84 ellipsoid.

    The area is summed in a projected plane. A geodesic sum would depend on the orientation of each ring, would treat
    edges as great circles, and would be ambiguous for a ring around the Earth.

    Args:
        shape: Valid shape in degrees (longitude, latitude). Its edges are straight in longitude and latitude.

    Returns:
        Area in square kilometres.
    """
    short = shapely.segmentize(shape, _MAX_SEGMENT_DEGREES)
    return float(shapely.area(shapely.transform(short, _project_coordinates))) / 1e6


def compute_covered_km2(tiles: Iterable[Tile]) -> float:
    """Compute the area in km2 that tiles cover together; overlaps count once."""
    return compute_area_km2(shapely.union_all([tile.footprint for tile in tiles]))


def _project_coordinates(coordinates: Float64) -> Float64:
    return np.column_stack(_get_equal_area_transformer().transform(*coordinates.T))


@lru_cache(maxsize=1)
def _get_equal_area_transformer() -> Transformer:
    return Transformer.from_crs("OGC:CRS84", _EQUAL_AREA_PROJ, always_xy=True)

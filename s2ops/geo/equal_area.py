"""True areas of shapes given in degrees, from a field to the whole Earth."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import numpy as np
import shapely
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

from s2ops.constants import Float64
from s2ops.geo.mgrs_tiles import Tile

_EQUAL_AREA: Final = "+proj=cea +ellps=WGS84 +units=m"
"""Lambert's cylindrical equal-area projection (Snyder 1987, USGS PP 1395, p. 76): straight meridians and parallels."""
_STEP_DEGREES: Final = 0.05
"""Longest straight piece of an edge before it is projected: a triangle a degree wide is 0.0002 % off by it."""


def area_km2(shape: BaseGeometry) -> float:
    """Area on the WGS 84 ellipsoid of a valid shape in degrees, its edges straight in longitude and latitude.

    Summed in the plane: a geodesic sum would have to know each ring's turning direction, takes edges for great circles,
    and cannot say which side of a ring around the Earth is meant.
    """
    short = shapely.segmentize(shape, _STEP_DEGREES)
    return float(shapely.area(shapely.transform(short, _projected))) / 1e6


def covered_km2(tiles: Iterable[Tile]) -> float:
    """Ground that tiles cover together, overlaps once."""
    return area_km2(shapely.union_all([tile.footprint for tile in tiles]))


def _projected(places: Float64) -> Float64:
    return np.column_stack(_to_equal_area().transform(*places.T))


@lru_cache(maxsize=1)
def _to_equal_area() -> Transformer:
    return Transformer.from_crs("OGC:CRS84", _EQUAL_AREA, always_xy=True)

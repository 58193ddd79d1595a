"""Outlines in degrees as GeoJSON and STAC want them: rounded; boxes may cross the antimeridian."""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import shapely
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

BBox: TypeAlias = tuple[float, float, float, float]

DECIMALS: Final = 7
"""Of a degree: a centimetre."""


def geojson(shape: BaseGeometry) -> dict[str, Any]:
    """GeoJSON geometry of a WGS 84 shape: rounded, outer rings counter-clockwise (RFC 7946)."""
    oriented = shapely.orient_polygons(shapely.set_precision(shape, 10.0**-DECIMALS))
    geometry = mapping(oriented)
    return {"type": geometry["type"], "coordinates": _rounded(geometry["coordinates"])}


def bbox_of(shape: BaseGeometry) -> BBox:
    """West, south, east, north; west > east where the shape's parts meet at the antimeridian (RFC 7946, 5.2)."""
    return union_bbox([part.bounds for part in shapely.get_parts(shape)])


def union_bbox(boxes: Sequence[Sequence[float]]) -> BBox:
    """The narrowest box over all: west > east where that crosses the antimeridian."""
    south, north = min(each[1] for each in boxes), max(each[3] for each in boxes)
    spans = sorted((west, east if east >= west else east + 360.0) for west, _, east, _ in boxes)
    # the widest stretch of longitude without any box stays outside; the result begins to the east of it
    reach, gaps = spans[0][1], []
    for west, east in spans[1:]:
        gaps.append((west - reach, reach, west))
        reach = max(reach, east)
    gaps.append((spans[0][0] + 360.0 - reach, reach, spans[0][0]))
    width, east, west = max(gaps, key=lambda gap: gap[0])
    if width <= 0:
        return -180.0, _degrees(south), 180.0, _degrees(north)
    return _degrees(west), _degrees(south), _degrees(east - 360.0 if east > 180.0 else east), _degrees(north)


def _degrees(value: float) -> float:
    return round(float(value), DECIMALS)


def _rounded(value: Any) -> Any:
    return [_rounded(part) for part in value] if isinstance(value, tuple | list) else _degrees(value)

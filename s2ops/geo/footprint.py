"""Footprints and bounding boxes for GeoJSON and STAC: rounded degrees, boxes that may cross the antimeridian."""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import shapely
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

BBox: TypeAlias = tuple[float, float, float, float]

COORDINATE_DECIMALS: Final = 7
"""Decimal places of a coordinate in degrees: about one centimetre."""


def to_geojson(shape: BaseGeometry) -> dict[str, Any]:
    """Convert a WGS 84 shape to a GeoJSON geometry: rounded, outer rings counter-clockwise (RFC 7946)."""
    oriented = shapely.orient_polygons(shapely.set_precision(shape, 10.0**-COORDINATE_DECIMALS))
    geometry = mapping(oriented)
    return {"type": geometry["type"], "coordinates": _round_coordinates(geometry["coordinates"])}


def compute_bbox(shape: BaseGeometry) -> BBox:
    """Compute the bounding box of a WGS 84 shape.

    Returns:
        West, south, east, north in degrees. West > east if the shape crosses the antimeridian (RFC 7946, section 5.2).
    """
    return merge_bboxes([part.bounds for part in shapely.get_parts(shape)])


def merge_bboxes(boxes: Sequence[Sequence[float]]) -> BBox:
    """Merge bounding boxes into the narrowest box that contains all of them.

    Args:
        boxes: Boxes (west, south, east, north) in degrees; west > east in a box that crosses the antimeridian.

    Returns:
        West, south, east, north in degrees. West > east if the merged box crosses the antimeridian; -180 and 180 if no
        longitude is free.
    """
    south, north = min(each[1] for each in boxes), max(each[3] for each in boxes)
    spans = sorted((west, east if east >= west else east + 360.0) for west, _, east, _ in boxes)
    # The widest range of longitudes without any box stays outside; the result begins at its eastern end.
    reach, gaps = spans[0][1], []
    for west, east in spans[1:]:
        gaps.append((west - reach, reach, west))
        reach = max(reach, east)
    gaps.append((spans[0][0] + 360.0 - reach, reach, spans[0][0]))
    width, east, west = max(gaps, key=lambda gap: gap[0])
    if width <= 0:
        return -180.0, _round_degrees(south), 180.0, _round_degrees(north)
    return (
        _round_degrees(west),
        _round_degrees(south),
        _round_degrees(east - 360.0 if east > 180.0 else east),
        _round_degrees(north),
    )


def _round_degrees(value: float) -> float:
    return round(float(value), COORDINATE_DECIMALS)


def _round_coordinates(value: Any) -> Any:
    return [_round_coordinates(part) for part in value] if isinstance(value, tuple | list) else _round_degrees(value)

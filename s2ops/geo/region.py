"""Region of interest (tile names, bounding box or GeoJSON) of a configuration, and the tiles that it contains."""

import json
from typing import Any, Final

import shapely
from shapely import affinity
from shapely.geometry.base import BaseGeometry

from s2ops.config import Region
from s2ops.errors import ConfigError
from s2ops.geo import mgrs_tiles
from s2ops.geo.mgrs_tiles import Tile
from s2ops.storage.object_store import read_text

_WORLD: Final = shapely.box(-180, -90, 180, 90)


def list_region_tiles(region: Region) -> tuple[Tile, ...]:
    """List the tiles of a region, without duplicates, sorted by name.

    Named tiles are used as given. A box or GeoJSON selects every tile of the grid that shares area with it, even if
    another tile covers the same area, so that blending has the same neighbours on all sides.

    Raises:
        GridError: If a tile name is unknown.
        ConfigError: If the region is empty, the box or the GeoJSON is invalid, or the region touches no tile.
    """
    if region.tiles is not None:
        if not region.tiles:
            raise ConfigError("region.tiles is empty: give at least one tile name, such as 33TWL.")
        return mgrs_tiles.parse_tiles(region.tiles)
    if region.bbox is not None:
        area, source = build_box_area(*region.bbox), f"region.bbox {list(region.bbox)}"
    else:
        source = f"region.geojson {region.geojson if isinstance(region.geojson, str) else 'in the configuration'}"
        area = parse_geojson_area(_load_geojson(region.geojson), source)
    tiles = mgrs_tiles.get_global_index().find_overlapping(area)
    if not tiles:
        raise ConfigError(
            f"{source} touches no Sentinel-2 tile; give a region between 84 degrees south and 84 degrees north."
        )
    return tiles


def build_box_area(west: float, south: float, east: float, north: float) -> BaseGeometry:
    """Build the geometry of a bounding box in degrees; two parts if it crosses the antimeridian (`west` > `east`).

    Raises:
        ConfigError: If the box is empty or outside -180..180 and -90..90 degrees.
    """
    given = [west, south, east, north]
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= 90 and -90 <= north <= 90):
        raise ConfigError(
            f"region.bbox {given} is outside -180..180 and -90..90; give west, south, east, north in degrees."
        )
    if west == east or south >= north:
        raise ConfigError(f"region.bbox {given} is empty; give west, south, east, north with south below north.")
    if west < east:
        return shapely.box(west, south, east, north)
    return shapely.union_all([shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)])


def _load_geojson(given: str | dict[str, Any] | None) -> Any:
    """Load the GeoJSON object that the configuration contains or refers to."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(read_text(given, "region.geojson"))
    except ValueError as error:
        raise ConfigError(f"region.geojson {given} is not valid JSON: {error}; export the file again.") from error


def parse_geojson_area(content: Any, source: str) -> BaseGeometry:
    """Parse GeoJSON and return the union of its geometries in WGS 84; longitudes beyond 180 are wrapped.

    Args:
        content: Decoded GeoJSON: a geometry, feature or feature collection.
        source: Description of the source for error messages.

    Raises:
        ConfigError: If the GeoJSON is invalid, empty or not in degrees.
    """
    shapes = [_parse_geometry(geometry, source) for geometry in _collect_geometries(content, source)]
    area = shapely.union_all([_wrap_longitudes(shape, source) for shape in shapes])
    if area.is_empty:
        raise ConfigError(f"{source} contains no geometry: add at least one polygon.")
    return area


def _collect_geometries(content: Any, source: str) -> list[dict[str, Any]]:
    """Collect the geometries of a geometry, feature or feature collection; features without one are skipped."""
    kind = content.get("type") if isinstance(content, dict) else None
    if kind == "FeatureCollection" and isinstance(content.get("features"), list):
        return [each for feature in content["features"] for each in _collect_geometries(feature, source)]
    if kind == "Feature":
        return [] if content.get("geometry") is None else _collect_geometries(content["geometry"], source)
    if kind == "GeometryCollection" or (isinstance(kind, str) and "coordinates" in content):
        return [content]
    raise ConfigError(f"{source} is not valid GeoJSON: found {str(content)[:60]!r}; export the file again (RFC 7946).")


def _parse_geometry(geometry: dict[str, Any], source: str) -> BaseGeometry:
    try:
        shape = shapely.from_geojson(json.dumps(geometry))
    except (shapely.errors.GEOSException, ValueError) as error:
        raise ConfigError(
            f"{source} contains a malformed {geometry.get('type')}: {error}; export the file again."
        ) from error
    if not shape.is_valid:
        reason = shapely.is_valid_reason(shape)
        raise ConfigError(f"{source} contains an invalid {geometry.get('type')}: {reason}; repair the geometry.")
    return shape


def _wrap_longitudes(shape: BaseGeometry, source: str) -> BaseGeometry:
    """Wrap longitudes to -180..180: parts of the shape outside that range are shifted by 360 degrees."""
    if shape.is_empty:
        return shape
    west, south, east, north = shape.bounds
    if south < -90 or north > 90 or west < -360 or east > 360:
        raise ConfigError(f"{source} is not in degrees: found bounds {shape.bounds}; convert it to WGS 84.")
    if west >= -180 and east <= 180:
        return shape
    turned = [affinity.translate(shape, xoff=turn) for turn in (-360, 0, 360)]
    return shapely.union_all([each.intersection(_WORLD) for each in turned])

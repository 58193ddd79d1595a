"""From the region of a configuration to its tiles."""

import json
from typing import Any, Final

import shapely
from shapely import affinity
from shapely.geometry.base import BaseGeometry

from s2ops.config import Region
from s2ops.errors import ConfigError
from s2ops.geo import mgrs_tiles
from s2ops.geo.mgrs_tiles import Tile
from s2ops.storage.text_files import read_text

_WORLD: Final = shapely.box(-180, -90, 180, 90)


def tiles_of(region: Region) -> tuple[Tile, ...]:
    """The tiles of a region, each once, sorted by name.

    Named tiles are taken as they are. A box or GeoJSON takes every tile of the grid that shares area with it, also
    where another tile covers that area too: then blending has the same neighbours on all sides. Raises GridError for an
    unknown tile name; ConfigError for an empty region, a box that is none, GeoJSON that cannot be read or is invalid,
    and a region that no tile touches.
    """
    if region.tiles is not None:
        if not region.tiles:
            raise ConfigError("region.tiles is empty: name at least one tile, such as 33TWL")
        return mgrs_tiles.by_name(region.tiles)
    if region.bbox is not None:
        area, source = area_of_box(*region.bbox), f"region.bbox {list(region.bbox)}"
    else:
        source = f"region.geojson {region.geojson if isinstance(region.geojson, str) else 'in the configuration'}"
        area = area_of_geojson(_content(region.geojson), source)
    tiles = mgrs_tiles.whole_grid().overlapping(area)
    if not tiles:
        raise ConfigError(f"{source} touches no Sentinel-2 tile: the grid reaches from 84 degrees south to 84 north")
    return tiles


def area_of_box(west: float, south: float, east: float, north: float) -> BaseGeometry:
    """The box as WGS 84 geometry; `west` above `east` crosses the antimeridian and gives two parts."""
    given = [west, south, east, north]
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= 90 and -90 <= north <= 90):
        raise ConfigError(f"region.bbox {given} leaves -180..180 and -90..90: give west, south, east, north in degrees")
    if west == east or south >= north:
        raise ConfigError(f"region.bbox {given} is empty: give west, south, east, north with south below north")
    if west < east:
        return shapely.box(west, south, east, north)
    return shapely.union_all([shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)])


def _content(given: str | dict[str, Any] | None) -> Any:
    """The GeoJSON object that the configuration holds or points to."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(read_text(given, "region.geojson"))
    except ValueError as error:
        raise ConfigError(f"region.geojson {given} is not JSON: {error}") from error


def area_of_geojson(content: Any, source: str) -> BaseGeometry:
    """The union of all geometries of GeoJSON in WGS 84; longitudes beyond 180 are wrapped round."""
    shapes = [_shape(geometry, source) for geometry in _geometries(content, source)]
    area = shapely.union_all([_wrapped(shape, source) for shape in shapes])
    if area.is_empty:
        raise ConfigError(f"{source} holds no geometry: add at least one polygon")
    return area


def _geometries(content: Any, source: str) -> list[dict[str, Any]]:
    """The geometry objects of a geometry, feature or feature collection; features without one are passed over."""
    kind = content.get("type") if isinstance(content, dict) else None
    if kind == "FeatureCollection" and isinstance(content.get("features"), list):
        return [each for feature in content["features"] for each in _geometries(feature, source)]
    if kind == "Feature":
        return [] if content.get("geometry") is None else _geometries(content["geometry"], source)
    if kind == "GeometryCollection" or (isinstance(kind, str) and "coordinates" in content):
        return [content]
    raise ConfigError(f"{source} is no GeoJSON: found {str(content)[:60]!r}; see RFC 7946")


def _shape(geometry: dict[str, Any], source: str) -> BaseGeometry:
    try:
        shape = shapely.from_geojson(json.dumps(geometry))
    except (shapely.errors.GEOSException, ValueError) as error:
        raise ConfigError(f"{source} holds a broken {geometry.get('type')}: {error}") from error
    if not shape.is_valid:
        reason = shapely.is_valid_reason(shape)
        raise ConfigError(f"{source} holds an invalid {geometry.get('type')}: {reason}; repair it first")
    return shape


def _wrapped(shape: BaseGeometry, source: str) -> BaseGeometry:
    """The shape with longitudes in -180..180: parts that lie beyond are moved round the Earth."""
    if shape.is_empty:
        return shape
    west, south, east, north = shape.bounds
    if south < -90 or north > 90 or west < -360 or east > 360:
        raise ConfigError(f"{source} is not in degrees (found {shape.bounds}): convert it to WGS 84")
    if west >= -180 and east <= 180:
        return shape
    turned = [affinity.translate(shape, xoff=turn) for turn in (-360, 0, 360)]
    return shapely.union_all([each.intersection(_WORLD) for each in turned])

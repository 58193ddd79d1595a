"""Polygon files of the user (vector data with one attribute): GeoJSON, or the first layer of a GeoPackage."""

import json
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pyproj import CRS
from pyproj.exceptions import CRSError
from shapely.errors import ShapelyError
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from s2ops.errors import ConfigError
from s2ops.geo.geopackage import read_first_layer


def read_polygons(path: Path, attribute: str) -> tuple[CRS, list[tuple[BaseGeometry, str]]]:
    """Read the polygons of a GeoJSON file or GeoPackage.

    Args:
        path: File; the extension `.gpkg` indicates a GeoPackage, any other extension GeoJSON.
        attribute: Attribute (property) to read from each feature.

    Returns:
        Coordinate reference system, and (polygon, attribute value) of each feature.

    Raises:
        ConfigError: If the file cannot be read, a feature is not a polygon, or a feature lacks the attribute.
    """
    return _read_gpkg(path, attribute) if path.suffix.lower() == ".gpkg" else _read_geojson(path, attribute)


def _read_geojson(path: Path, attribute: str) -> tuple[CRS, list[tuple[BaseGeometry, str]]]:
    """Read a GeoJSON feature collection; in degrees unless it has the older `crs` member (RFC 7946, section 4)."""
    try:
        data = json.loads(path.read_text())
        crs = CRS.from_user_input(data["crs"]["properties"]["name"] if data.get("crs") else "OGC:CRS84")
        found = [(shape(item["geometry"]), item.get("properties") or {}) for item in data["features"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, CRSError, ShapelyError) as error:
        raise ConfigError(
            f"{path} is not a valid GeoJSON feature collection with geometries: {error!r}; export the file again."
        ) from error
    return crs, list(_validate_polygons(path, found, attribute))


def _read_gpkg(path: Path, attribute: str) -> tuple[CRS, list[tuple[BaseGeometry, str]]]:
    """Read the first layer of a GeoPackage."""
    try:
        crs, found = read_first_layer(path)
    except (sqlite3.Error, TypeError, struct.error, IndexError, CRSError, ShapelyError) as error:
        raise ConfigError(
            f"{path} is not a valid GeoPackage with a layer of polygons: {error}; export the file again."
        ) from error
    return crs, list(_validate_polygons(path, found, attribute))


def _validate_polygons(
    path: Path, found: Sequence[tuple[BaseGeometry, dict[str, Any]]], attribute: str
) -> Iterator[tuple[BaseGeometry, str]]:
    for number, (geometry, properties) in enumerate(found, 1):
        if attribute not in properties:
            raise ConfigError(
                f"{path}: feature {number} has no attribute {attribute!r} (it has "
                f"{', '.join(map(str, properties)) or 'none'}); set `attribute` to one of these."
            )
        if geometry.geom_type not in ("Polygon", "MultiPolygon"):
            raise ConfigError(
                f"{path}: feature {number} is a {geometry.geom_type}, but a polygon is needed; draw polygons."
            )
        yield geometry, str(properties[attribute])

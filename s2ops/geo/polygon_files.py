"""Polygons that a user gives, with a name each: GeoJSON, or the first layer of a GeoPackage."""

import json
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import shapely
from pyproj import CRS
from pyproj.exceptions import CRSError
from shapely.errors import ShapelyError
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from s2ops.errors import ConfigError

_ENVELOPE_BYTES: Final = (0, 32, 48, 48, 64)
"""Size of a GeoPackage geometry's bounding box by its kind (OGC 12-128r17, table 6)."""


def read_polygons(path: Path, attribute: str) -> tuple[CRS, list[tuple[BaseGeometry, str]]]:
    """Coordinate system and (polygon, value of the attribute) of every feature; ConfigError for any other file."""
    return _read_gpkg(path, attribute) if path.suffix.lower() == ".gpkg" else _read_geojson(path, attribute)


def _read_geojson(path: Path, attribute: str) -> tuple[CRS, list[tuple[BaseGeometry, str]]]:
    """Polygons with their class; degrees unless an old-style `crs` says otherwise (RFC 7946, section 4)."""
    try:
        data = json.loads(path.read_text())
        crs = CRS.from_user_input(data["crs"]["properties"]["name"] if data.get("crs") else "OGC:CRS84")
        found = [(shape(item["geometry"]), item.get("properties") or {}) for item in data["features"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, CRSError, ShapelyError) as error:
        raise ConfigError(
            f"{path} is no GeoJSON feature collection with geometries ({error!r}): export it again"
        ) from error
    return crs, list(_polygons(path, found, attribute))


def _read_gpkg(path: Path, attribute: str) -> tuple[CRS, list[tuple[BaseGeometry, str]]]:
    """The first layer of a GeoPackage, which is an SQLite file with well-known binary behind a short header."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            layer, column, organization, number = database.execute(
                "SELECT g.table_name, g.column_name, s.organization, s.organization_coordsys_id "
                "FROM gpkg_geometry_columns g JOIN gpkg_spatial_ref_sys s USING (srs_id) ORDER BY g.rowid"
            ).fetchone()
            quoted = '"' + layer.replace('"', '""') + '"'
            rows = [dict(row) for row in database.execute(f"SELECT * FROM {quoted}")]  # noqa: S608 - a name, quoted
        crs = CRS.from_authority(organization, number)
        found = [(_from_blob(row[column]), row) for row in rows if row[column] is not None]
    except (sqlite3.Error, TypeError, struct.error, IndexError, CRSError, ShapelyError) as error:
        raise ConfigError(f"{path} is no GeoPackage with a layer of polygons ({error}): export it again") from error
    return crs, list(_polygons(path, found, attribute))


def _from_blob(blob: bytes) -> BaseGeometry:
    _, _, flags, _ = struct.unpack_from("<2sBBi", blob)
    geometry: BaseGeometry = shapely.from_wkb(blob[8 + _ENVELOPE_BYTES[flags >> 1 & 7] :])
    return geometry


def _polygons(
    path: Path, found: Sequence[tuple[BaseGeometry, dict[str, Any]]], attribute: str
) -> Iterator[tuple[BaseGeometry, str]]:
    for number, (geometry, properties) in enumerate(found, 1):
        if attribute not in properties:
            raise ConfigError(
                f"{path}: feature {number} has no attribute {attribute!r} (it has "
                f"{', '.join(map(str, properties)) or 'none'}): name another one as `attribute`"
            )
        if geometry.geom_type not in ("Polygon", "MultiPolygon"):
            raise ConfigError(
                f"{path}: feature {number} is a {geometry.geom_type}, but areas are asked for: draw polygons"
            )
        yield geometry, str(properties[attribute])

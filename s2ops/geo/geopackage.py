"""GeoPackage (OGC 12-128r17, version 1.3): SQL tables and geometry blobs, without GDAL.

A GeoPackage is an SQLite file whose geometries are well-known binary (WKB) behind a short header. s2ops reads and
writes it with SQL, because the GeoPackage driver is not in rasterio's GDAL, and a second GDAL is 100 MB.
"""

import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import shapely
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

Bounds = tuple[float, float, float, float]
"""Left, bottom, right, top."""

_HEADER: Final = struct.Struct("<2sBBi")
"""Header of a geometry blob: magic, version, flags, identifier of the reference system (section 2.1.3)."""

_LITTLE_ENDIAN_WITHOUT_ENVELOPE: Final = 1
"""Flags of the blobs that are written here."""

_ENVELOPE_SIZE_BYTES: Final = (0, 32, 48, 48, 64)
"""Size of the envelope (bounding box) between header and WKB, by the envelope code in the flags (table 6)."""

_FIXED_TIME: Final = "2000-01-01T00:00:00.000Z"
"""Time of the last change: constant, so that equal content gives equal bytes."""

_EXTENSION_URL: Final = "http://www.geopackage.org/spec130/"

SCHEMA: Final = """
PRAGMA page_size = 4096;
PRAGMA application_id = 0x47504B47;
PRAGMA user_version = 10300;
CREATE TABLE gpkg_spatial_ref_sys (srs_name TEXT NOT NULL, srs_id INTEGER PRIMARY KEY, organization TEXT NOT NULL,
    organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL, description TEXT);
CREATE TABLE gpkg_contents (table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE,
    description TEXT DEFAULT '', last_change DATETIME NOT NULL, min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE,
    srs_id INTEGER REFERENCES gpkg_spatial_ref_sys(srs_id));
CREATE TABLE gpkg_geometry_columns (table_name TEXT NOT NULL, column_name TEXT NOT NULL,
    geometry_type_name TEXT NOT NULL, srs_id INTEGER NOT NULL, z TINYINT NOT NULL, m TINYINT NOT NULL,
    PRIMARY KEY (table_name, column_name));
CREATE TABLE gpkg_extensions (table_name TEXT, column_name TEXT, extension_name TEXT NOT NULL,
    definition TEXT NOT NULL, scope TEXT NOT NULL, UNIQUE (table_name, column_name, extension_name));
CREATE TABLE gpkg_metadata (id INTEGER PRIMARY KEY, md_scope TEXT NOT NULL, md_standard_uri TEXT NOT NULL,
    mime_type TEXT NOT NULL, metadata TEXT NOT NULL);
CREATE TABLE gpkg_metadata_reference (reference_scope TEXT NOT NULL, table_name TEXT, column_name TEXT,
    row_id_value INTEGER, timestamp DATETIME NOT NULL, md_file_id INTEGER NOT NULL, md_parent_id INTEGER);
"""
"""SQL that creates the tables of every GeoPackage; the tables of a layer follow it."""


def encode_geometry(geometry: BaseGeometry, epsg: int) -> bytes:
    """Encode a geometry as a GeoPackage blob (little-endian, without envelope)."""
    header = _HEADER.pack(b"GP", 0, _LITTLE_ENDIAN_WITHOUT_ENVELOPE, epsg)
    return header + bytes(shapely.to_wkb(geometry, byte_order=1))


def decode_geometry(blob: bytes) -> BaseGeometry:
    """Decode a GeoPackage blob.

    Raises:
        struct.error, IndexError, ShapelyError: If the blob is not a GeoPackage geometry.
    """
    _, _, flags, _ = _HEADER.unpack_from(blob)
    geometry: BaseGeometry = shapely.from_wkb(blob[_HEADER.size + _ENVELOPE_SIZE_BYTES[flags >> 1 & 7] :])
    return geometry


def read_first_layer(path: Path) -> tuple[CRS, list[tuple[BaseGeometry, dict[str, Any]]]]:
    """Read the coordinate system and all features (geometry and row) of the first layer.

    Rows without geometry are left out.

    Raises:
        sqlite3.Error, TypeError, CRSError: If the file is not a GeoPackage with a layer.
        struct.error, IndexError, ShapelyError: If a geometry cannot be decoded.
    """
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        layer, column, organization, number = database.execute(
            "SELECT g.table_name, g.column_name, s.organization, s.organization_coordsys_id "
            "FROM gpkg_geometry_columns g JOIN gpkg_spatial_ref_sys s USING (srs_id) ORDER BY g.rowid"
        ).fetchone()
        quoted = '"' + layer.replace('"', '""') + '"'
        rows = [dict(row) for row in database.execute(f"SELECT * FROM {quoted}")]  # noqa: S608 -- a quoted name
    crs = CRS.from_authority(organization, number)
    return crs, [(decode_geometry(row[column]), row) for row in rows if row[column] is not None]


def insert_layer(database: sqlite3.Connection, layer: str, column: str, bounds: Bounds, epsg: int) -> None:
    """Register a layer of polygons and its reference system.

    Args:
        database: Open GeoPackage with `SCHEMA`, the layer's table, and its R-tree.
        layer: Name of the layer's table.
        column: Name of the geometry column.
        bounds: Bounds of all features.
        epsg: EPSG code of the coordinates.
    """
    insert = database.execute
    wkt = CRS.from_epsg(epsg).to_wkt("WKT1_GDAL")
    insert("INSERT INTO gpkg_spatial_ref_sys VALUES ('WGS 84', ?, 'EPSG', ?, ?, NULL)", (epsg, epsg, wkt))
    for srs, name in ((-1, "Undefined Cartesian"), (0, "Undefined geographic")):  # the standard requires both
        insert("INSERT INTO gpkg_spatial_ref_sys VALUES (?, ?, 'NONE', ?, 'undefined', NULL)", (name, srs, srs))
    contents = (layer, "features", layer, "", _FIXED_TIME, *bounds, epsg)
    insert("INSERT INTO gpkg_contents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", contents)
    insert("INSERT INTO gpkg_geometry_columns VALUES (?, ?, 'POLYGON', ?, 0, 0)", (layer, column, epsg))
    _insert_extension(database, (layer, column, "gpkg_rtree_index", "#extension_rtree", "write-only"))


def insert_metadata(database: sqlite3.Connection, layer: str, xml: str) -> None:
    """Attach an XML document to a layer; GDAL reads it as the layer's metadata."""
    for table in ("gpkg_metadata", "gpkg_metadata_reference"):
        _insert_extension(database, (table, None, "gpkg_metadata", "#extension_metadata", "read-write"))
    insert = database.execute
    insert("INSERT INTO gpkg_metadata VALUES (1, 'dataset', 'http://gdal.org', 'text/xml', ?)", (xml,))
    values = (layer, _FIXED_TIME)
    insert("INSERT INTO gpkg_metadata_reference VALUES ('table', ?, NULL, NULL, ?, 1, NULL)", values)


def _insert_extension(database: sqlite3.Connection, extension: tuple[str, str | None, str, str, str]) -> None:
    """Register an extension: table, column, name, anchor of its definition, scope."""
    table, column, name, anchor, scope = extension
    values = (table, column, name, f"{_EXTENSION_URL}{anchor}", scope)
    database.execute("INSERT INTO gpkg_extensions VALUES (?, ?, ?, ?, ?)", values)

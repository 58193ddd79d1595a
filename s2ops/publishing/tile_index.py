"""All tiles of a product as one raster: a GDAL raster tile index (GTI) in a GeoPackage, as bytes. It opens no tile.

GDAL 3.9 and later opens `mosaic.gti.gpkg` as one raster across UTM zones, and older programs as a layer of outlines. A
GeoPackage is the one index that rasterio's GDAL reads with paths relative to the index, so a run can be moved. Written
with SQL (GeoPackage 1.3) because GDAL's own writer is not in rasterio, and another GDAL is 100 MB; equal tiles give
equal bytes, so its clock stands still.
"""

import sqlite3
import struct
from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import Final
from xml.etree import ElementTree as ET

import shapely
from pyproj import CRS

from s2ops.errors import InputError
from s2ops.geo.footprint import merge_bboxes
from s2ops.geo.mgrs_tiles import Tile

METRES_PER_DEGREE: Final = 111_319.49079327358
"""Along the equator of WGS 84."""

Rgba = tuple[int, int, int, int]

_INTERPRETATION: Final = {"red": "Red", "green": "Green", "blue": "Blue", "confidence": "Gray"}
_EPSG: Final = 4326
_NO_CLOCK: Final = "2000-01-01T00:00:00.000Z"
_NAMESPACE: Final = "http://www.geopackage.org/spec130/"

_TABLES: Final = """
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
CREATE TABLE tiles (fid INTEGER PRIMARY KEY, geom BLOB NOT NULL, tile TEXT NOT NULL, epsg INTEGER NOT NULL,
    location TEXT NOT NULL);
CREATE VIRTUAL TABLE rtree_tiles_geom USING rtree(id, minx, maxx, miny, maxy);
"""


def get_tile_index_key(product: str) -> str:
    """Such as 'mosaic.gti.gpkg'."""
    return f"{product}.gti.gpkg"


def build_tile_index(
    locations: Mapping[Tile, str],
    res: float,
    bands: Sequence[str],
    nodata: int,
    smooth: bool,
    palette: Mapping[int, Rgba] | None = None,
) -> bytes:
    """The GeoPackage over the tiles at `locations` (keys, relative to the index at the run's root).

    `res`: metres a pixel, along the equator. `smooth`: resample bilinearly, else take the nearest pixel. `palette`:
    colours of codes. A tile across the antimeridian is two rows with the same file; GDAL 3.10 draws nothing of it,
    because its warper looks for one box in degrees. Raises InputError where there is no tile.
    """
    if not locations:
        raise InputError("a tile index needs at least one tile: run the steps before publish first")
    rows = [
        (tile, part, location)
        for tile, location in sorted(locations.items())
        for part in shapely.get_parts(tile.footprint)
    ]
    bounds = _merge_bounds(rows)
    db = sqlite3.connect(":memory:")
    try:
        db.executescript(_TABLES)
        _insert_metadata(db, bounds, _build_raster_metadata(bounds, res, smooth, [_build_band(name, nodata, palette) for name in bands]))
        for number, (tile, part, location) in enumerate(rows, 1):
            west, south, east, north = part.bounds
            geometry = b"GP\x00\x01" + struct.pack("<i", _EPSG) + shapely.to_wkb(part, byte_order=1)
            db.execute("INSERT INTO tiles VALUES (?, ?, ?, ?, ?)", (number, geometry, tile.name, tile.epsg, location))
            db.execute("INSERT INTO rtree_tiles_geom VALUES (?, ?, ?, ?, ?)", (number, west, east, south, north))
        db.commit()
        return db.serialize()
    finally:
        db.close()


_Row = tuple[Tile, shapely.Polygon, str]
_Box = tuple[float, float, float, float]


def _merge_bounds(rows: Sequence[_Row]) -> _Box:
    """Around all rows; the whole turn where they lie on both sides of the antimeridian, since a raster cannot wrap."""
    west, south, east, north = merge_bboxes([part.bounds for _, part, _ in rows])
    return (-180.0, south, 180.0, north) if west > east else (west, south, east, north)


def _build_raster_metadata(bounds: _Box, res: float, smooth: bool, bands: Sequence[ET.Element]) -> ET.Element:
    """What GDAL would otherwise open tiles for. The corners lie on multiples of a pixel."""
    step = res / METRES_PER_DEGREE
    west, south = (floor(value / step) * step for value in bounds[:2])
    east, north = (ceil(value / step) * step for value in bounds[2:])
    root = ET.Element("GDALTileIndexDataset")
    facts = {
        "LocationField": "location", "SRS": f"EPSG:{_EPSG}", "ResX": repr(step), "ResY": repr(step),
        "MinX": repr(west), "MinY": repr(south), "MaxX": repr(east), "MaxY": repr(north),
        "Resampling": "bilinear" if smooth else "nearest",
    }  # fmt: skip
    for name, value in facts.items():
        ET.SubElement(root, name).text = value
    for number, band in enumerate(bands, 1):
        band.set("band", str(number))
        root.append(band)
    return root


def _build_band(name: str, nodata: int, palette: Mapping[int, Rgba] | None) -> ET.Element:
    band = ET.Element("Band", dataType="Byte")
    ET.SubElement(band, "Description").text = name
    ET.SubElement(band, "NoDataValue").text = str(nodata)
    ET.SubElement(band, "ColorInterp").text = "Palette" if palette else _INTERPRETATION.get(name, "Undefined")
    if palette:
        table = ET.SubElement(band, "ColorTable")
        for value in range(max(palette) + 1):
            parts = zip(("c1", "c2", "c3", "c4"), palette.get(value, (0, 0, 0, 0)), strict=True)
            ET.SubElement(table, "Entry", {part: str(level) for part, level in parts})
    return band


def _insert_metadata(db: sqlite3.Connection, bounds: _Box, raster: ET.Element) -> None:
    """The rows by which a GeoPackage says what it holds."""
    wkt = CRS.from_epsg(_EPSG).to_wkt("WKT1_GDAL")
    db.execute("INSERT INTO gpkg_spatial_ref_sys VALUES ('WGS 84', ?, 'EPSG', ?, ?, NULL)", (_EPSG, _EPSG, wkt))
    for srs, name in ((-1, "Undefined Cartesian"), (0, "Undefined geographic")):  # both are required
        db.execute("INSERT INTO gpkg_spatial_ref_sys VALUES (?, ?, 'NONE', ?, 'undefined', NULL)", (name, srs, srs))
    contents = ("tiles", "features", "tiles", "", _NO_CLOCK, *bounds, _EPSG)
    db.execute("INSERT INTO gpkg_contents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", contents)
    db.execute("INSERT INTO gpkg_geometry_columns VALUES ('tiles', 'geom', 'POLYGON', ?, 0, 0)", (_EPSG,))
    extensions = [
        ("tiles", "geom", "gpkg_rtree_index", "#extension_rtree", "write-only"),
        ("gpkg_metadata", None, "gpkg_metadata", "#extension_metadata", "read-write"),
        ("gpkg_metadata_reference", None, "gpkg_metadata", "#extension_metadata", "read-write"),
    ]
    for table, column, name, anchor, scope in extensions:
        values = (table, column, name, f"{_NAMESPACE}{anchor}", scope)
        db.execute("INSERT INTO gpkg_extensions VALUES (?, ?, ?, ?, ?)", values)
    root = ET.Element("GDALMultiDomainMetadata")
    ET.SubElement(root, "Metadata", domain="xml:GTI", format="xml").append(raster)
    text = ET.tostring(root, encoding="unicode")
    db.execute("INSERT INTO gpkg_metadata VALUES (1, 'dataset', 'http://gdal.org', 'text/xml', ?)", (text,))
    db.execute("INSERT INTO gpkg_metadata_reference VALUES ('table', 'tiles', NULL, NULL, ?, 1, NULL)", (_NO_CLOCK,))

"""GDAL raster tile index (GTI) of all tiles of a product, as a GeoPackage. Builder of bytes; it opens no tile.

GDAL 3.9 and later opens `mosaic.gti.gpkg` as one raster across UTM zones. Older programs open it as a layer of tile
outlines. A GeoPackage is the only index for which rasterio's GDAL accepts paths relative to the index, which lets a run
be moved. Equal tiles give equal bytes.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import Final
from xml.etree import ElementTree as ET

import shapely

from s2ops.errors import InputError
from s2ops.geo import geopackage
from s2ops.geo.footprint import merge_bboxes
from s2ops.geo.geopackage import Bounds
from s2ops.geo.mgrs_tiles import Tile
from s2ops.publishing.mosaicjson import Rgba

METRES_PER_DEGREE: Final = 111_319.49079327358
"""Length of a degree along the equator of WGS 84."""

_LAYER: Final = "tiles"
_EPSG: Final = 4326
_INTERPRETATION: Final = {"red": "Red", "green": "Green", "blue": "Blue", "confidence": "Gray"}
"""GDAL's colour interpretation of each band."""

_LAYER_SCHEMA: Final = """
CREATE TABLE tiles (fid INTEGER PRIMARY KEY, geom BLOB NOT NULL, tile TEXT NOT NULL, epsg INTEGER NOT NULL,
    location TEXT NOT NULL);
CREATE VIRTUAL TABLE rtree_tiles_geom USING rtree(id, minx, maxx, miny, maxy);
"""

_Row = tuple[Tile, shapely.Polygon, str]
"""Tile, its outline (or one of two parts at the antimeridian), and the location of its file."""


def build_tile_index(
    locations: Mapping[Tile, str],
    res: float,
    bands: Sequence[str],
    nodata: int,
    smooth: bool,
    palette: Mapping[int, Rgba] | None = None,
) -> bytes:
    """Build the GeoPackage of a tile index.

    A tile across the antimeridian becomes two rows with the same file. GDAL 3.10 draws nothing of such a tile, because
    its warper expects a single box in degrees.

    Args:
        locations: Key of each tile's file, relative to the index at the root of the run.
        res: Pixel size in metres along the equator.
        bands: Band names in file order.
        nodata: No-data value of all bands.
        smooth: True for bilinear resampling, False for the nearest pixel.
        palette: Red, green, blue, alpha (0 to 255) of each code.

    Raises:
        InputError: If there is no tile.
    """
    if not locations:
        raise InputError("Cannot build a tile index without tiles: run the steps before publish first.")
    rows = [
        (tile, part, location)
        for tile, location in sorted(locations.items())
        for part in shapely.get_parts(tile.footprint)
    ]
    bounds = _merge_bounds(rows)
    dataset = _build_dataset_xml(bounds, res, smooth, [_build_band_xml(name, nodata, palette) for name in bands])
    database = sqlite3.connect(":memory:")
    try:
        database.executescript(geopackage.SCHEMA + _LAYER_SCHEMA)
        geopackage.insert_layer(database, _LAYER, "geom", bounds, _EPSG)
        geopackage.insert_metadata(database, _LAYER, ET.tostring(dataset, encoding="unicode"))
        for number, (tile, part, location) in enumerate(rows, 1):
            west, south, east, north = part.bounds
            values = (number, geopackage.encode_geometry(part, _EPSG), tile.name, tile.epsg, location)
            database.execute("INSERT INTO tiles VALUES (?, ?, ?, ?, ?)", values)
            box = (number, west, east, south, north)
            database.execute("INSERT INTO rtree_tiles_geom VALUES (?, ?, ?, ?, ?)", box)
        database.commit()
        return database.serialize()
    finally:
        database.close()


def _merge_bounds(rows: Sequence[_Row]) -> Bounds:
    """Merge the bounds of all rows; all longitudes if tiles lie on both sides of the antimeridian.

    A raster cannot wrap around the antimeridian.
    """
    west, south, east, north = merge_bboxes([part.bounds for _, part, _ in rows])
    return (-180.0, south, 180.0, north) if west > east else (west, south, east, north)


def _build_dataset_xml(bounds: Bounds, res: float, smooth: bool, bands: Sequence[ET.Element]) -> ET.Element:
    """Build the description of the raster, which saves GDAL opening the tiles.

    The corners are multiples of a pixel.
    """
    step = res / METRES_PER_DEGREE
    west, south = (floor(value / step) * step for value in bounds[:2])
    east, north = (ceil(value / step) * step for value in bounds[2:])
    dataset = ET.Element("GDALTileIndexDataset")
    facts = {
        "LocationField": "location", "SRS": f"EPSG:{_EPSG}", "ResX": repr(step), "ResY": repr(step),
        "MinX": repr(west), "MinY": repr(south), "MaxX": repr(east), "MaxY": repr(north),
        "Resampling": "bilinear" if smooth else "nearest",
    }  # fmt: skip
    for name, value in facts.items():
        ET.SubElement(dataset, name).text = value
    for number, band in enumerate(bands, 1):
        band.set("band", str(number))
        dataset.append(band)
    root = ET.Element("GDALMultiDomainMetadata")
    ET.SubElement(root, "Metadata", domain="xml:GTI", format="xml").append(dataset)
    return root


def _build_band_xml(name: str, nodata: int, palette: Mapping[int, Rgba] | None) -> ET.Element:
    """Build the description of a band."""
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

"""GDAL VRT (virtual mosaic) of all tiles of one UTM zone. Builder of a string; it opens no file."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Final
from xml.etree import ElementTree as ET

from odc.geo.geobox import GeoBox

from s2ops.constants import CLASS_COLOURS, LandCover
from s2ops.errors import GridError

Colour = tuple[int, int, int]
"""Red, green, blue: 0 to 255."""

LANDCOVER_COLOURS: Final[dict[int, Colour]] = {int(code): CLASS_COLOURS[code] for code in LandCover}

_INTERPRETATION: Final = {"red": "Red", "green": "Green", "blue": "Blue"}


@dataclass(frozen=True, slots=True)
class VrtSource:
    """File of one tile: its key, which is also its path relative to the VRT at the root of the run, and its grid."""

    key: str
    geobox: GeoBox


def build_vrt(
    tiles: Sequence[VrtSource],
    bands: Sequence[str],
    dtype: str = "Byte",
    nodata: int = 0,
    colour_table: dict[int, Colour] | None = None,
) -> str:
    """Build the VRT of tiles in one zone, at one resolution.

    Where tiles overlap, the last by key is on top; blended tiles are equal there. Tiles whose grids are not aligned
    (neighbours at 120 m) are resampled to the nearest pixel.

    Args:
        tiles: Files of the tiles, in any order.
        bands: Band names in file order.
        dtype: GDAL data type of all bands.
        nodata: No-data value of all bands.
        colour_table: Colour of each code.

    Returns:
        The XML text.

    Raises:
        GridError: If there is no tile, or the tiles differ in reference system or resolution.
    """
    ordered = sorted(tiles, key=lambda tile: tile.key)
    canvas = _compute_union_grid(ordered)
    root = ET.Element("VRTDataset", rasterXSize=str(canvas.shape.x), rasterYSize=str(canvas.shape.y))
    ET.SubElement(root, "SRS").text = str(canvas.crs)
    ET.SubElement(root, "GeoTransform").text = ", ".join(repr(float(v)) for v in canvas.transform.to_gdal())
    for number, name in enumerate(bands, start=1):
        band = ET.SubElement(root, "VRTRasterBand", dataType=dtype, band=str(number))
        ET.SubElement(band, "Description").text = name
        ET.SubElement(band, "NoDataValue").text = str(nodata)
        interpretation = "Palette" if colour_table else _INTERPRETATION.get(name, "Undefined")
        ET.SubElement(band, "ColorInterp").text = interpretation
        if colour_table:
            _add_colour_table(band, colour_table)
        for tile in ordered:
            band.append(_build_source(tile, number, canvas, dtype, nodata))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _compute_union_grid(tiles: Sequence[VrtSource]) -> GeoBox:
    """Compute the union of the tiles' outlines on the pixel grid of the first tile."""
    if not tiles:
        raise GridError("Cannot build a virtual mosaic without tiles: run the steps before publish first.")
    first = tiles[0].geobox
    for tile in tiles:
        if tile.geobox.crs != first.crs or tile.geobox.resolution != first.resolution:
            raise GridError(
                f"Cannot build one virtual mosaic: {tile.key} is in {tile.geobox.crs} at {tile.geobox.resolution.x} m, "
                f"but {tiles[0].key} in {first.crs} at {first.resolution.x} m; build one per zone and resolution."
            )
    bounds = reduce(or_, (tile.geobox.boundingbox for tile in tiles))
    step = first.resolution.x
    left, top = first.boundingbox.left, first.boundingbox.top
    # rounded outwards to whole pixels of the first tile, so that no tile is cut where grids are half a pixel apart
    west = left - -(-(left - bounds.left) // step) * step
    north = top + -(-(bounds.top - top) // step) * step
    east = west + -(-(bounds.right - west) // step) * step
    south = north - -(-(north - bounds.bottom) // step) * step
    return GeoBox.from_bbox((west, south, east, north), first.crs, resolution=step, tight=True)


def _build_source(tile: VrtSource, band: int, canvas: GeoBox, dtype: str, nodata: int) -> ET.Element:
    """Build the reference to one band of a tile."""
    source = ET.Element("ComplexSource", resampling="nearest")
    ET.SubElement(source, "SourceFilename", relativeToVRT="1").text = tile.key
    ET.SubElement(source, "SourceBand").text = str(band)
    size = {"xSize": str(tile.geobox.shape.x), "ySize": str(tile.geobox.shape.y)}
    ET.SubElement(
        source,
        "SourceProperties",  # lets GDAL open the VRT without opening the tiles
        {"RasterXSize": size["xSize"], "RasterYSize": size["ySize"], "DataType": dtype}
        | {"BlockXSize": "512", "BlockYSize": "512"},
    )
    column = (tile.geobox.boundingbox.left - canvas.boundingbox.left) / canvas.resolution.x
    row = (canvas.boundingbox.top - tile.geobox.boundingbox.top) / canvas.resolution.x
    ET.SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0"} | size)
    ET.SubElement(source, "DstRect", {"xOff": repr(column), "yOff": repr(row)} | size)
    ET.SubElement(source, "NODATA").text = str(nodata)
    return source


def _add_colour_table(band: ET.Element, colours: dict[int, Colour]) -> None:
    """Add a colour table; code 0 is transparent."""
    table = ET.SubElement(band, "ColorTable")
    for value in range(max(colours) + 1):
        red, green, blue = colours.get(value, (0, 0, 0))
        alpha = 0 if value == 0 else 255
        ET.SubElement(table, "Entry", c1=str(red), c2=str(green), c3=str(blue), c4=str(alpha))

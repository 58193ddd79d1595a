"""Virtual mosaics: the text of a GDAL VRT over the tiles of one UTM zone. A string builder; it opens nothing."""

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

LANDCOVER_COLOURS: Final[dict[int, Colour]] = {int(code): CLASS_COLOURS[code] for code in LandCover}

_INTERPRETATION: Final = {"red": "Red", "green": "Green", "blue": "Blue"}


@dataclass(frozen=True, slots=True)
class VrtSource:
    """One tile's file: its key, which is also its path relative to the VRT at the run's root, and its grid."""

    key: str
    geobox: GeoBox


def vrt_key(product: str, epsg: int) -> str:
    """Such as 'mosaic-32633.vrt'."""
    return f"{product}-{epsg}.vrt"


def vrt(
    tiles: Sequence[VrtSource],
    bands: Sequence[str],
    dtype: str = "Byte",
    nodata: int = 0,
    colour_table: dict[int, Colour] | None = None,
) -> str:
    """The VRT over `tiles` of one zone and resolution, later tiles on top; blended tiles agree where they overlap.

    `bands`: names in file order. Grids that are not aligned (neighbours at 120 m) are read nearest. Raises GridError
    for an empty list, two reference systems or two resolutions.
    """
    ordered = sorted(tiles, key=lambda tile: tile.key)
    canvas = _canvas(ordered)
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
            _add_colours(band, colour_table)
        for tile in ordered:
            band.append(_source(tile, number, canvas, dtype, nodata))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _canvas(tiles: Sequence[VrtSource]) -> GeoBox:
    """The union of the tiles' outlines on the pixel lattice of the first."""
    if not tiles:
        raise GridError("a virtual mosaic needs at least one tile")
    first = tiles[0].geobox
    for tile in tiles:
        if tile.geobox.crs != first.crs or tile.geobox.resolution != first.resolution:
            raise GridError(
                f"{tile.key} lies in {tile.geobox.crs} at {tile.geobox.resolution.x} m, {tiles[0].key} in {first.crs} "
                f"at {first.resolution.x} m: build one virtual mosaic for each zone and resolution"
            )
    bounds = reduce(or_, (tile.geobox.boundingbox for tile in tiles))
    step = first.resolution.x
    left, top = first.boundingbox.left, first.boundingbox.top
    # outwards to whole pixels of the first tile's lattice, so that no tile is cut where grids are half a pixel apart
    west = left - -(-(left - bounds.left) // step) * step
    north = top + -(-(bounds.top - top) // step) * step
    east = west + -(-(bounds.right - west) // step) * step
    south = north - -(-(north - bounds.bottom) // step) * step
    return GeoBox.from_bbox((west, south, east, north), first.crs, resolution=step, tight=True)


def _source(tile: VrtSource, band: int, canvas: GeoBox, dtype: str, nodata: int) -> ET.Element:
    source = ET.Element("ComplexSource", resampling="nearest")
    ET.SubElement(source, "SourceFilename", relativeToVRT="1").text = tile.key
    ET.SubElement(source, "SourceBand").text = str(band)
    size = {"xSize": str(tile.geobox.shape.x), "ySize": str(tile.geobox.shape.y)}
    ET.SubElement(
        source,
        "SourceProperties",  # lets GDAL open the VRT without touching any tile
        {"RasterXSize": size["xSize"], "RasterYSize": size["ySize"], "DataType": dtype}
        | {"BlockXSize": "512", "BlockYSize": "512"},
    )
    column = (tile.geobox.boundingbox.left - canvas.boundingbox.left) / canvas.resolution.x
    row = (canvas.boundingbox.top - tile.geobox.boundingbox.top) / canvas.resolution.x
    ET.SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0"} | size)
    ET.SubElement(source, "DstRect", {"xOff": repr(column), "yOff": repr(row)} | size)
    ET.SubElement(source, "NODATA").text = str(nodata)
    return source


def _add_colours(band: ET.Element, colours: dict[int, Colour]) -> None:
    table = ET.SubElement(band, "ColorTable")
    for value in range(max(colours) + 1):
        red, green, blue = colours.get(value, (0, 0, 0))
        alpha = 0 if value == 0 else 255
        ET.SubElement(table, "Entry", c1=str(red), c2=str(green), c3=str(blue), c4=str(alpha))

"""Image file of a user (8-bit, reflectance or digital numbers), read as 8-bit levels on a grid."""

from dataclasses import dataclass

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.io import DatasetReader
from rasterio.windows import Window

from s2ops.constants import UInt8
from s2ops.imaging.swath_edge import convert_image_to_levels
from s2ops.imaging.tone_curve import apply_tone_curve


@dataclass(frozen=True)
class ImageFile:
    """Open raster file of 8-bit levels, float reflectance or 16-bit digital numbers."""

    src: DatasetReader
    grid: GeoBox
    bands: tuple[int, ...]
    """Numbers of the bands to read, from 1."""
    offset: int
    """Added to digital numbers (BOA_ADD_OFFSET)."""

    @property
    def res(self) -> float:
        """Pixel size in metres, also of a grid in degrees."""
        size = abs(self.grid.resolution.y)
        if self.grid.crs is not None and self.grid.crs.geographic:
            return float(size * 111_320.0)  # metres per degree of latitude
        return float(size)

    def read(self, top: int, end: int) -> UInt8:
        """Read the rows `top` to `end` as (band, end - top, x) levels; 0 is nodata."""
        window = Window(0, top, self.grid.width, end - top)
        pixels = self.src.read(list(self.bands), window=window)
        if pixels.dtype == np.uint8:
            out: UInt8 = pixels
            return out
        if pixels.dtype.kind == "f":
            empty = ~np.isfinite(pixels) | (pixels == (self.src.nodata if self.src.nodata is not None else 0))
            levels = np.rint(apply_tone_curve(np.where(empty, 0, pixels))).astype(np.uint8)
            levels[:, empty.any(axis=0)] = 0
            return levels
        return convert_image_to_levels(np.maximum(pixels, 0).astype(np.uint16), self.offset, edge_px=1)

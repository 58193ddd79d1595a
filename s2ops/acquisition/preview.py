"""Preview (quicklook) of a scene: its thumbnail if that is cheap to read, otherwise a decimated read of its bands."""

import logging
from typing import Final, Literal

import numpy as np
import scipy
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from s2ops.catalog.hrefs import is_remote
from s2ops.catalog.scene import Scene
from s2ops.catalog.signing import sign
from s2ops.constants import UInt8
from s2ops.errors import RasterError
from s2ops.geo.mgrs_tiles import Tile
from s2ops.imaging.tone_curve import NODATA_RESIDUE_DN, SCALE, compute_tci_levels
from s2ops.raster.gdal_env import configure_gdal, to_gdal_path
from s2ops.raster.reader import BandFile, open_ungeoreferenced
from s2ops.telemetry.gdal_network_stats import count_scene_bytes

_LOG: Final = logging.getLogger(__name__)

PREVIEW_SIZE_PX: Final = 343
"""Width and height of ESA's preview images (PVI): 320 m per pixel."""

PreviewSource = Literal["thumbnail", "bands"]

_MAX_DARK_LEVEL: Final = 3
"""Thumbnails are JPEG: no data is black with a few levels of noise at its edge."""
_MIN_NODATA_AREA_PX: Final = 200
"""Black water is rarely so large and never touches the edge of the swath."""


def read_preview(scene: Scene, tile: Tile) -> tuple[UInt8, PreviewSource]:
    """Read the preview of a scene.

    A thumbnail is preferred, unless it is remote while the bands are local files: then the bands cost less. If a
    thumbnail cannot be read, the bands are used.

    Returns:
        Red, green and blue (3, 343, 343) in ESA's true-colour levels (uint8, 0 is no data), and their source.

    Raises:
        RasterError: If the bands are needed and cannot be read.
    """
    if scene.preview and not (is_remote(scene.preview) and not is_remote(scene.band_hrefs["red"])):
        try:
            return _read_thumbnail(scene.preview), "thumbnail"
        except RasterError as error:
            fields = {"scene": scene.id, "tile": tile.name, "reason": str(error)}
            _LOG.warning("fallback from thumbnail to bands", extra=fields)
    return _read_bands(scene, tile), "bands"


def build_preview_grid(tile: Tile) -> GeoBox:
    """Build the pixel grid of a tile's previews."""
    return GeoBox.from_bbox(tile.build_geobox(10).boundingbox, shape=(PREVIEW_SIZE_PX, PREVIEW_SIZE_PX), tight=True)


def _read_thumbnail(href: str) -> UInt8:
    shape = (3, PREVIEW_SIZE_PX, PREVIEW_SIZE_PX)
    try:
        with configure_gdal(), open_ungeoreferenced(to_gdal_path(sign(href))) as src:  # it covers exactly the tile
            if src.count < 3:
                raise RasterError(f"Cannot use the thumbnail {href}: it has {src.count} bands, not 3.")
            with count_scene_bytes():
                rgb: UInt8 = src.read([1, 2, 3], out_shape=shape, resampling=Resampling.average)
    except RasterioError as error:
        raise RasterError(f"Cannot read the thumbnail {href}: it is broken or missing.") from error
    dark = (rgb <= _MAX_DARK_LEVEL).all(axis=0)
    labels, count = scipy.ndimage.label(dark)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    empty = dark & (sizes >= _MIN_NODATA_AREA_PX)[labels]
    out: UInt8 = np.where(empty, 0, np.maximum(rgb, 1)).astype(np.uint8)
    return out


def _read_bands(scene: Scene, tile: Tile) -> UInt8:
    grid = build_preview_grid(tile)
    hrefs = scene.band_hrefs
    bands = []
    for name in ("red", "green", "blue"):
        file = BandFile(to_gdal_path(sign(hrefs[name])), f"band {name} of {scene.id}")
        with configure_gdal():
            bands.append(file.read(grid, slice(0, PREVIEW_SIZE_PX)))
    numbers = np.stack(bands)
    levels = compute_tci_levels((numbers.astype(np.float32) + scene.offset) / SCALE)
    levels[:, (numbers <= NODATA_RESIDUE_DN).all(axis=0)] = 0
    return levels

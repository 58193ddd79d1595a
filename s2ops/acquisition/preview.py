"""The preview of a scene: its thumbnail where that is cheap, else a decimated read of its bands."""

import logging
from typing import Final, Literal

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from s2ops.catalog.scene import Scene
from s2ops.catalog.signing import sign
from s2ops.constants import UInt8
from s2ops.errors import RasterError
from s2ops.geo.mgrs_tiles import Tile
from s2ops.imaging.tone_curve import NODATA_RESIDUE_DN, SCALE, compute_tci_levels
from s2ops.raster.gdal_env import configure_gdal, to_gdal_path
from s2ops.raster.reader import BandFile, open_picture
from s2ops.runtime.lazy_scipy import ndimage
from s2ops.telemetry.gdal_network_stats import scene_files

_LOG: Final = logging.getLogger(__name__)

SIZE = 343
"""Pixels a side, as ESA's preview images (PVI) have: 320 m on the ground."""

Source = Literal["thumbnail", "bands"]

_DARK = 3
"""Thumbnails are JPEG: no data is black with a few levels of noise at its edge."""


def read_preview(scene: Scene, tile: Tile) -> tuple[UInt8, Source]:
    """(3, 343, 343) red, green, blue in ESA true-colour levels, 0 = no data, and where it came from.

    A thumbnail is preferred, unless it lies on a remote host while the bands are local files: then the bands cost
    less. A thumbnail that cannot be read gives way to the bands; RasterError when those cannot be read either.
    """
    if scene.preview and not (_remote(scene.preview) and not _remote(scene.band_hrefs["red"])):
        try:
            return _thumbnail(scene.preview), "thumbnail"
        except RasterError as error:
            fields = {"scene": scene.id, "tile": tile.name, "reason": str(error)}
            _LOG.warning("fallback from thumbnail to bands", extra=fields)
    return _from_bands(scene, tile), "bands"


def preview_grid(tile: Tile) -> GeoBox:
    """The grid of a tile's previews."""
    return GeoBox.from_bbox(tile.build_geobox(10).boundingbox, shape=(SIZE, SIZE), tight=True)


def _remote(href: str) -> bool:
    return "://" in href


def _thumbnail(href: str) -> UInt8:
    try:
        with configure_gdal(), open_picture(to_gdal_path(sign(href))) as src:  # its place is the tile's outline
            if src.count < 3:
                raise RasterError(f"the thumbnail {href} has {src.count} bands, not 3")
            with scene_files():
                rgb: UInt8 = src.read([1, 2, 3], out_shape=(3, SIZE, SIZE), resampling=Resampling.average)
    except RasterioError as error:
        raise RasterError(f"the thumbnail {href} cannot be read: broken or gone") from error
    dark = (rgb <= _DARK).all(axis=0)
    # black water is rarely so large and never touches the edge of the swath: only large black areas are no data
    labels, count = ndimage.label(dark)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    empty = dark & (sizes >= 200)[labels]
    out: UInt8 = np.where(empty, 0, np.maximum(rgb, 1)).astype(np.uint8)
    return out


def _from_bands(scene: Scene, tile: Tile) -> UInt8:
    grid = preview_grid(tile)
    hrefs = scene.band_hrefs
    bands = []
    for name in ("red", "green", "blue"):
        file = BandFile(to_gdal_path(sign(hrefs[name])), f"band {name} of {scene.id}")
        with configure_gdal():
            bands.append(file.read(grid, slice(0, SIZE)))
    numbers = np.stack(bands)
    levels = compute_tci_levels((numbers.astype(np.float32) + scene.offset) / SCALE)
    levels[:, (numbers <= NODATA_RESIDUE_DN).all(axis=0)] = 0
    return levels

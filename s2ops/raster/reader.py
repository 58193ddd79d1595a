"""Raster reader: rows of a tile's grid from the bands of a scene, and windows of the run's own COGs."""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.enums import MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.transform import Affine
from rasterio.warp import reproject
from rasterio.windows import Window

from s2ops.constants import UInt8, UInt16
from s2ops.errors import CatalogUnreachable, RasterError, StoreUnreachable, Translation, translate_errors
from s2ops.raster.gdal_env import ALLOWED_DRIVERS, configure_gdal
from s2ops.telemetry.gdal_network_stats import count_scene_bytes

SLAB_ROWS: Final = 512
"""Rows per slab: one row of COG blocks, so that no block is decoded twice."""


def open_untrusted(path: str) -> DatasetReader:
    """Open a file of others with the allowed drivers only: a VRT, for example, could name any local file.

    `rasterio.open` accepts a single driver; `DatasetReader` accepts a list.

    Raises:
        RasterioError: If no allowed driver can open the file.
    """
    return DatasetReader(path, driver=list(ALLOWED_DRIVERS))


_WARNINGS_LOCK = Lock()
"""Lock around `catch_warnings`, which is not thread-safe: it changes the filters of the whole process."""


def open_ungeoreferenced(path: str) -> DatasetReader:
    """Open an image without georeference (a thumbnail) like `open_untrusted`, without rasterio's warning."""
    with _WARNINGS_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return open_untrusted(path)


def get_overview_step(zoom: float) -> int:
    """Return the decimation factor of the nearest finer overview for reading codes `zoom` times coarser.

    Nearest-neighbour decimation by a factor between two overviews costs GDAL many times as much.
    """
    return 1 << int(math.log2(zoom))


def get_source_span(start: float, length: float, size: int, step: int) -> slice:
    """Return the pixels of a file that resampling a part of it needs: two pixels of margin, in whole steps.

    Args:
        start: First pixel of the part.
        length: Length of the part in pixels.
        size: Length of the file in pixels.
        step: Decimation factor by which start and end must be divisible (the end of the file excepted).
    """
    first = max(math.floor(start) - 2, 0) // step * step
    return slice(first, min(math.ceil((start + length + 2) / step) * step, size))


def reproject_pixels(
    pixels: UInt8, out: UInt8, *, src: tuple[Affine, Any], dst: tuple[Affine, Any], nodata: int, resampling: Resampling
) -> None:
    """Reproject `pixels` into `out` by `rasterio.warp.reproject`, one thread at a time.

    rasterio creates a raster before it sets the georeference and suppresses the warning about that, which is not
    thread-safe.

    Args:
        pixels: (band, y, x) or (y, x) values on the grid `src`.
        out: Array to fill, on the grid `dst`.
        src: Transform and CRS of `pixels`.
        dst: Transform and CRS of `out`.
        nodata: Value without data in both.
        resampling: Resampling method of GDAL.
    """
    with _WARNINGS_LOCK:
        reproject(
            pixels,
            out,
            src_transform=src[0],
            src_crs=src[1],
            src_nodata=nodata,
            dst_transform=dst[0],
            dst_crs=dst[1],
            dst_nodata=nodata,
            resampling=resampling,
        )


def split_rows(height: int, rows: int = SLAB_ROWS) -> Iterator[slice]:
    """Split `height` rows into slices of `rows` rows, top to bottom."""
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


@dataclass(frozen=True, slots=True)
class BandFile:
    """Band file of a scene, checked against the grid of its tile.

    The messages of its errors are written into records as reasons.
    """

    path: str
    """GDAL path, signed if the provider requires it."""
    label: str
    """Name in error messages, such as 'B04 of S2A_33TWL_20230815_0_L2A'."""

    def check(self, src: DatasetReader, geobox: GeoBox) -> None:
        """Check data type, CRS, extent and resolution.

        Raises:
            RasterError: If `src` is not 16-bit, not in the tile's CRS, does not span the tile, or is too coarse.
        """
        if src.dtypes[0] not in {"uint16", "int16"}:
            raise RasterError(
                f"{self.label} is {src.dtypes[0]} instead of uint16; use digital numbers, not a rendered image."
            )
        wanted = geobox.crs.epsg if geobox.crs else None
        found = src.crs.to_epsg() if src.crs else None
        if found != wanted:
            raise RasterError(
                f"{self.label} is in EPSG:{found}, but its tile is in EPSG:{wanted}; the item names another tile."
            )
        box = geobox.boundingbox
        if max(abs(a - b) for a, b in zip(src.bounds, (box.left, box.bottom, box.right, box.top), strict=True)) > 1:
            raise RasterError(
                f"{self.label} covers {tuple(src.bounds)}, but its tile covers {tuple(box.bbox)}; "
                "it belongs to another tile."
            )
        if src.width < geobox.width:
            have, want = (box.right - box.left) / src.width, abs(geobox.resolution.x)
            raise RasterError(
                f"{self.label} has {have:g} m pixels, coarser than resolution {want:g}; set resolution to {have:g}."
            )

    def read(self, geobox: GeoBox, rows: slice) -> UInt16:
        """Read rows of the tile's grid; a finer file is averaged.

        Args:
            geobox: Pixel grid of the tile.
            rows: Rows of that grid.

        Returns:
            (rows, x) digital numbers; 0 is nodata.

        Raises:
            CatalogUnreachable: If a remote read failed for a reason that may pass.
            RasterError: If the file is broken or does not fit the tile.
        """
        try:
            with open_untrusted(self.path) as src:
                self.check(src, geobox)
                scale = src.height / geobox.height
                window = Window(0, rows.start * scale, src.width, (rows.stop - rows.start) * scale)
                shape = (rows.stop - rows.start, geobox.width)
                with count_scene_bytes():
                    if src.width == geobox.width and _is_zero_nodata(src):
                        return _clip_negative(src.read(1, window=window))
                    # masked: GDAL reads and decodes the file a second time
                    pixels = src.read(1, window=window, out_shape=shape, resampling=Resampling.average, masked=True)
        except RasterioError as error:
            if _is_transient(self.path, str(error)):
                raise CatalogUnreachable(
                    f"Cannot read {self.label} at the moment ({_extract_first_line(error)}); run again."
                ) from error
            raise RasterError(
                f"Cannot read {self.label} ({_extract_first_line(error)}): broken, truncated or missing."
            ) from error
        return _clip_negative(pixels.filled(0))


def _is_zero_nodata(src: DatasetReader) -> bool:
    """Return whether the mask of the first band is given by its zeros alone."""
    return not src.nodata and set(src.mask_flag_enums[0]) <= {MaskFlags.all_valid, MaskFlags.nodata}


def _clip_negative(numbers: np.ndarray[tuple[int, int], np.dtype[np.generic]]) -> UInt16:
    """Convert digital numbers to uint16; int16 files may have a negative nodata value, which becomes 0."""
    out: UInt16 = np.maximum(numbers, 0).astype(np.uint16)
    return out


def translate_read_errors(path: str) -> AbstractContextManager[None]:
    """Translate GDAL's errors while reading a file of the run.

    In an object store nearly all errors are transient (no response, connection lost); on a disk the file is damaged.

    Raises:
        StoreUnreachable: If the file is in an object store.
        RasterError: If it is a local file.
    """
    if path.startswith("/vsi"):
        rule = Translation((RasterioError,), StoreUnreachable, "run again")
    else:
        rule = Translation((RasterioError,), RasterError, "delete it and the .json beside it, then run again")
    return translate_errors(f"Cannot read {path}", rule)


def read_window(path: str, rows: slice, cols: slice | None = None, bands: Sequence[int] | None = None) -> UInt8:
    """Read a window of a COG of the run as (band, rows, columns).

    Args:
        path: GDAL path.
        rows: Rows to read.
        cols: Columns to read; default: all.
        bands: Band numbers from 1; default: all.
    """
    with translate_read_errors(path), configure_gdal(), rasterio.open(path) as src:
        across = cols or slice(0, src.width)
        window = Window(across.start, rows.start, across.stop - across.start, rows.stop - rows.start)
        out: UInt8 = src.read(list(bands) if bands else None, window=window)
    return out


def read_all(path: str) -> UInt8:
    """Read a whole small file as (band, y, x)."""
    with translate_read_errors(path), configure_gdal(), rasterio.open(path) as src:
        out: UInt8 = src.read()
    return out


def read_decimated(path: str, shape: tuple[int, int], resampling: Resampling = Resampling.average) -> UInt8:
    """Read a COG of the run at another size (height, width) from its overviews, as (band, y, x)."""
    with translate_read_errors(path), configure_gdal(), rasterio.open(path) as src:
        out: UInt8 = src.read(out_shape=(src.count, *shape), resampling=resampling)
    return out


def read_sampled(path: str, side: int) -> UInt8:
    """Read a square COG of the run as (band, side, side): nearest pixels of the smallest sufficient overview.

    GDAL would take a second or more to average overviews, which are averages already, and minutes for nearest
    neighbours.
    """
    with translate_read_errors(path), configure_gdal():
        with rasterio.open(path) as src:
            sizes = [src.width, *(-(-src.width // factor) for factor in src.overviews(1))]
        level = sum(size >= side for size in sizes) - 1
        with rasterio.open(path, **({"overview_level": level - 1} if level > 0 else {})) as src:
            pixels: UInt8 = src.read()
    rows, cols = (((np.arange(side) + 0.5) * have / side).astype(np.int64) for have in pixels.shape[1:])
    return pixels[:, rows][:, :, cols]


def _is_transient(path: str, message: str) -> bool:
    """Return whether a remote read failed for a transient reason: no response, HTTP 5xx or 429."""
    signs = ("CURL error", "timed out", "Could not resolve", "response code: 5", "response code: 429")
    return path.startswith("/vsi") and any(sign in message for sign in signs)


def _extract_first_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__

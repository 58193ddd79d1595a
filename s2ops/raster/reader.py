"""Rasters in: rows of a tile's grid from a scene's bands, and windows of our own files."""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

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
from s2ops.errors import CatalogUnreachable, RasterError, StoreUnreachable
from s2ops.raster.gdal_env import ALLOWED_DRIVERS, configure_gdal
from s2ops.telemetry.gdal_network_stats import count_scene_bytes

SLAB = 512
"""Rows a slab: one row of COG blocks, so no block is decoded twice."""


def open_foreign(path: str) -> DatasetReader:
    """Open a file that is not ours with the few drivers we read: a VRT, say, could name any local file.

    `rasterio.open` takes a single driver, the class behind it a list. Raises RasterioError.
    """
    return DatasetReader(path, driver=list(ALLOWED_DRIVERS))


_SILENCE = Lock()
"""Held around `catch_warnings`, which holds for the whole process: of two threads at once, one ends the other's."""


def open_picture(path: str) -> DatasetReader:
    """`open_foreign` for a picture without a place on Earth, about which rasterio would warn."""
    with _SILENCE, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return open_foreign(path)


def whole_step(zoom: float) -> int:
    """How many pixels of a file to a side make one when codes are wanted `zoom` times coarser: those of an overview.

    GDAL picks nearest pixels between two overviews at many times the cost.
    """
    return 1 << int(math.log2(zoom))


def span(start: float, length: float, size: int, step: int) -> slice:
    """Pixels of a file for a part of it: two more around for the resampling's reach, in whole steps."""
    first = max(math.floor(start) - 2, 0) // step * step
    return slice(first, min(math.ceil((start + length + 2) / step) * step, size))


def warp(
    pixels: UInt8, out: UInt8, *, src: tuple[Affine, Any], dst: tuple[Affine, Any], nodata: int, resampling: Resampling
) -> None:
    """Fill `out` with `pixels` moved from one (transform, CRS) to another: `rasterio.warp.reproject`, for threads.

    rasterio makes a raster before it places it and silences the warning about that; so they take turns.
    """
    with _SILENCE:
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


def slabs(height: int, rows: int = SLAB) -> Iterator[slice]:
    """The row slices that cover `height`, top to bottom."""
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


@dataclass(frozen=True, slots=True)
class BandFile:
    """One band of one scene, checked against the tile that it must cover."""

    path: str
    """GDAL path; signed where the provider needs it."""
    label: str
    """What errors call it, such as 'B04 of S2A_33TWL_20230815_0_L2A'."""

    def check(self, src: DatasetReader, geobox: GeoBox) -> None:
        """Raise RasterError unless `src` is 16-bit, in the tile's CRS, covers the tile and is fine enough."""
        if src.dtypes[0] not in {"uint16", "int16"}:
            raise RasterError(f"{self.label} holds {src.dtypes[0]}, not uint16: give digital numbers, not a rendering")
        wanted = geobox.crs.epsg if geobox.crs else None
        found = src.crs.to_epsg() if src.crs else None
        if found != wanted:
            raise RasterError(
                f"{self.label} is in EPSG:{found}, its tile in EPSG:{wanted}: the item names another tile"
            )
        box = geobox.boundingbox
        if max(abs(a - b) for a, b in zip(src.bounds, (box.left, box.bottom, box.right, box.top), strict=True)) > 1:
            raise RasterError(f"{self.label} spans {tuple(src.bounds)}, its tile {tuple(box.bbox)}: not this tile")
        if src.width < geobox.width:
            have, want = (box.right - box.left) / src.width, abs(geobox.resolution.x)
            raise RasterError(
                f"{self.label} has {have:g} m pixels, coarser than resolution {want:g}: set it to {have:g}"
            )

    def read(self, geobox: GeoBox, rows: slice) -> UInt16:
        """Rows of the tile's grid, (rows, x) digital numbers, 0 = no data; averaged where the file is finer."""
        try:
            with open_foreign(self.path) as src:
                self.check(src, geobox)
                scale = src.height / geobox.height
                window = Window(0, rows.start * scale, src.width, (rows.stop - rows.start) * scale)
                shape = (rows.stop - rows.start, geobox.width)
                with count_scene_bytes():
                    if src.width == geobox.width and _zero_is_no_data(src):
                        return _of_band(src.read(1, window=window))
                    # for the mask GDAL reads and decodes the file once more
                    pixels = src.read(1, window=window, out_shape=shape, resampling=Resampling.average, masked=True)
        except RasterioError as error:
            if _passing(self.path, str(error)):
                raise CatalogUnreachable(
                    f"{self.label} cannot be read for now ({_first_line(error)}): run again"
                ) from error
            raise RasterError(
                f"{self.label} cannot be read ({_first_line(error)}): broken, truncated or gone"
            ) from error
        return _of_band(pixels.filled(0))


def _zero_is_no_data(src: DatasetReader) -> bool:
    """Whether the first band's mask says nothing that its zeros do not say."""
    return not src.nodata and set(src.mask_flag_enums[0]) <= {MaskFlags.all_valid, MaskFlags.nodata}


def _of_band(numbers: np.ndarray[tuple[int, int], np.dtype[np.generic]]) -> UInt16:
    """Digital numbers as such: int16 files may hold negative no data."""
    out: UInt16 = np.maximum(numbers, 0).astype(np.uint16)
    return out


@contextmanager
def own(path: str) -> Iterator[None]:
    """Around reads of one of our own files: GDAL's errors become ours.

    In an object store nearly all of them pass (no answer, cut off while reading); on a disk the file is damaged.
    """
    try:
        yield
    except RasterioError as error:
        cause = error.__cause__ or error
        if path.startswith("/vsi"):
            raise StoreUnreachable(f"{path} cannot be read for now ({_first_line(cause)}): run again") from error
        raise RasterError(
            f"{path} cannot be read ({_first_line(cause)}): delete it and the .json beside it, then run again"
        ) from error


def read_window(path: str, rows: slice, cols: slice | None = None, bands: Sequence[int] | None = None) -> UInt8:
    """(band, rows, columns) of one of our own COGs; all columns and bands unless said."""
    with own(path), configure_gdal(), rasterio.open(path) as src:
        across = cols or slice(0, src.width)
        window = Window(across.start, rows.start, across.stop - across.start, rows.stop - rows.start)
        out: UInt8 = src.read(list(bands) if bands else None, window=window)
    return out


def read_all(path: str) -> UInt8:
    """(band, y, x) of a whole small file."""
    with own(path), configure_gdal(), rasterio.open(path) as src:
        out: UInt8 = src.read()
    return out


def read_decimated(path: str, shape: tuple[int, int], resampling: Resampling = Resampling.average) -> UInt8:
    """(band, y, x) of one of our own COGs at another size, by its overviews."""
    with own(path), configure_gdal(), rasterio.open(path) as src:
        out: UInt8 = src.read(out_shape=(src.count, *shape), resampling=resampling)
    return out


def read_sampled(path: str, side: int) -> UInt8:
    """(band, side, side) of one of our own square COGs: the nearest pixels of the smallest overview that has as many.

    GDAL would take a second or more for a mean of what are means already, and minutes to take the nearest.
    """
    with own(path), configure_gdal():
        with rasterio.open(path) as src:
            sizes = [src.width, *(-(-src.width // factor) for factor in src.overviews(1))]
        level = sum(size >= side for size in sizes) - 1
        with rasterio.open(path, **({"overview_level": level - 1} if level > 0 else {})) as src:
            pixels: UInt8 = src.read()
    rows, cols = (((np.arange(side) + 0.5) * have / side).astype(np.int64) for have in pixels.shape[1:])
    return pixels[:, rows][:, :, cols]


def _passing(path: str, message: str) -> bool:
    """Whether a remote read failed for reasons that pass: no answer, a server error, too many requests."""
    signs = ("CURL error", "timed out", "Could not resolve", "response code: 5", "response code: 429")
    return path.startswith("/vsi") and any(sign in message for sign in signs)


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__

"""Map canvas (overview map, mosaic of tiles) in an equal-area projection, filled from overviews of the tiles' files."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Final, Self

import numpy as np
import rasterio
import shapely
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.transform import Affine
from rasterio.warp import transform_bounds
from rasterio.windows import Window, from_bounds
from shapely.geometry.base import BaseGeometry

from s2ops.constants import UInt8
from s2ops.geo.footprint import merge_bboxes
from s2ops.geo.mgrs_tiles import Tile
from s2ops.raster.gdal_env import configure_gdal
from s2ops.raster.reader import get_overview_step, get_source_span, reproject_pixels
from s2ops.runtime.threads import map_ordered_on
from s2ops.storage.object_store import Store

MAX_SIDE_PX: Final = 1400
"""Maximum pixels of the longer side: sharp on a large screen, about half a megabyte as JPEG."""

_READER_THREADS: Final = 8
"""Number of threads that read files; on an object store they mostly wait."""


@cache
def _get_thread_pool() -> ThreadPoolExecutor:
    """Get the thread pool shared by all layers: GDAL opens PROJ's database again in every new thread."""
    return ThreadPoolExecutor(_READER_THREADS, "s2ops-report")


Recode = Callable[[Tile, UInt8], UInt8]
"""Function from a tile and its codes `(band, y, x)` to codes of the same shape.

It maps provenance numbers, which differ by tile, to the numbers of a common list of dates.
"""


@dataclass(frozen=True, slots=True)
class CanvasWindow:
    """Part of a canvas that a tile may cover."""

    window: tuple[slice, slice]
    """Rows and columns."""
    whole: bool
    """True if the whole tile lies on the canvas."""


@dataclass(frozen=True)
class Canvas:
    """North-up grid in Lambert's azimuthal equal-area projection around the centre of a region.

    Areas are proportional to pixel counts.
    """

    geobox: GeoBox

    @classmethod
    def from_tiles(cls, tiles: Sequence[Tile], res: float, max_side: int = MAX_SIDE_PX) -> Self:
        """Build a canvas around all tiles.

        Args:
            tiles: Tiles to show.
            res: Pixel size in metres; increased if a side would exceed `max_side`.
            max_side: Maximum side in pixels.
        """
        shapes = [tile.footprint for tile in tiles]
        west, south, east, north = merge_bboxes([part.bounds for shape in shapes for part in shapely.get_parts(shape)])
        lon = (west + (east if east >= west else east + 360.0)) / 2
        crs = _build_equal_area_crs((lon + 180.0) % 360.0 - 180.0, (south + north) / 2)
        project = Transformer.from_crs(4326, crs, always_xy=True)
        points = np.concatenate([np.column_stack(project.transform(*_list_corners(shape))) for shape in shapes])
        (left, bottom), (right, top) = points.min(axis=0), points.max(axis=0)
        step = max(res, (right - left) / max_side, (top - bottom) / max_side)
        shape = (max(int(np.ceil((top - bottom) / step)), 1), max(int(np.ceil((right - left) / step)), 1))
        return cls(GeoBox(shape, Affine(step, 0, left, 0, -step, top), crs))

    @classmethod
    def from_center(cls, lon: float, lat: float, res: float, side: int) -> Self:
        """Build a square canvas of `side` pixels of `res` metres around a point in degrees."""
        half = side * res / 2
        return cls(GeoBox((side, side), Affine(res, 0, -half, 0, -res, half), _build_equal_area_crs(lon, lat)))

    @property
    def res(self) -> float:
        """Pixel size in metres."""
        return float(self.geobox.resolution.x)

    @property
    def km2(self) -> float:
        """Area of a pixel in square kilometres."""
        return self.res**2 / 1e6

    def paint(
        self,
        store: Store,
        files: Sequence[tuple[Tile, str]],
        bands: Sequence[int],
        nodata: int = 0,
        recode: Recode | None = None,
    ) -> UInt8:
        """Paint files onto the canvas; where files overlap, the first in the list is on top.

        A missing or damaged file leaves its area empty; the report states that in another place.

        Args:
            store: Store of the run.
            files: Tiles with the keys of their files.
            bands: Band numbers. A single band contains codes (nearest pixel), several contain imagery (averaged).
            nodata: No-data value.
            recode: Function that is applied to the pixels of each tile.

        Returns:
            Pixels `(band, y, x)` as uint8.
        """
        shape = (len(bands), *self.geobox.shape)
        out = np.full(shape, nodata, np.uint8)
        for tile, place, part in map_ordered_on(
            _get_thread_pool(), partial(self._read_part, store, bands, nodata), files, _READER_THREADS + 1
        ):
            if part is None or place is None:
                continue
            shown = recode(tile, part) if recode else part
            target = out[:, place.window[0], place.window[1]]
            free = (target == nodata).all(axis=0) & (shown != nodata).any(axis=0)
            target[:, free] = shown[:, free]
        return out

    def _read_part(
        self, store: Store, bands: Sequence[int], nodata: int, file: tuple[Tile, str]
    ) -> tuple[Tile, CanvasWindow | None, UInt8 | None]:
        """Read the part of a file that covers the canvas; None if there is none or the file is damaged."""
        tile, key = file
        place = self._locate(tile)
        if place is None:
            return tile, None, None
        try:
            with configure_gdal(), rasterio.open(store.get_gdal_path(key)) as src:
                return tile, place, self._read_warped(src, place, bands, nodata)
        except RasterioError:
            return tile, place, None

    @cached_property
    def _project(self) -> Transformer:
        """Transformer from longitude and latitude to metres on the canvas."""
        return Transformer.from_crs(4326, str(self.geobox.crs), always_xy=True)

    def _locate(self, tile: Tile) -> CanvasWindow | None:
        """Locate the part of the canvas that a tile may cover; None if there is none."""
        x, y = self._project.transform(*_list_corners(tile.footprint))
        columns, rows = ~self.geobox.transform @ (np.asarray(x), np.asarray(y))
        # a margin of one pixel, because an outline is curved between its points
        top, bottom = int(np.floor(rows.min())) - 1, int(np.ceil(rows.max())) + 1
        left, right = int(np.floor(columns.min())) - 1, int(np.ceil(columns.max())) + 1
        height, width = self.geobox.shape
        seen_rows, seen_columns = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
        if seen_rows.start >= seen_rows.stop or seen_columns.start >= seen_columns.stop:
            return None
        whole = top >= -1 and left >= -1 and bottom <= height + 1 and right <= width + 1
        return CanvasWindow((seen_rows, seen_columns), whole)

    def _read_warped(self, src: DatasetReader, place: CanvasWindow, bands: Sequence[int], nodata: int) -> UInt8:
        """Read the part of a file under `place` through its overviews, resampled to the canvas: `(band, y, x)`."""
        geobox = self.geobox[place.window]
        nearest = len(bands) == 1
        zoom = max(self.res / src.transform.a, 1.0)
        step = get_overview_step(zoom) if nearest else 1
        rows, columns = slice(0, src.height), slice(0, src.width)
        if not place.whole:
            box = transform_bounds(str(self.geobox.crs), src.crs, *geobox.boundingbox.bbox, densify_pts=21)
            window = from_bounds(*box, transform=src.transform)
            rows = get_source_span(window.row_off, window.height, src.height, step)
            columns = get_source_span(window.col_off, window.width, src.width, step)
        out = np.full((len(bands), *geobox.shape), nodata, np.uint8)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return out
        height, width = rows.stop - rows.start, columns.stop - columns.start
        fewer = step if nearest else zoom
        shape = (max(math.ceil(height / fewer), 1), max(math.ceil(width / fewer), 1))
        pixels = src.read(
            list(bands),
            window=Window(columns.start, rows.start, width, height),
            out_shape=(len(bands), *shape),
            resampling=Resampling.nearest if nearest else Resampling.average,
        )
        corner = src.transform @ Affine.translation(columns.start, rows.start)
        reproject_pixels(
            pixels,
            out,
            src=(corner @ Affine.scale(width / shape[1], height / shape[0]), src.crs),
            dst=(geobox.transform, str(geobox.crs)),
            nodata=nodata,
            resampling=Resampling.nearest if nearest else Resampling.bilinear,
        )
        return out


def find_border_midpoint(upper: Tile, lower: Tile) -> tuple[float, float] | None:
    """Find the midpoint (longitude, latitude) of the border of `upper` inside `lower`, where a seam would be visible.

    None if the tiles do not overlap.
    """
    line = upper.footprint.boundary & lower.footprint
    if line.length == 0:
        return None
    longest = max(shapely.get_parts(shapely.line_merge(line)), key=lambda part: part.length)
    middle = longest.interpolate(0.5, normalized=True)
    return float(middle.x), float(middle.y)


def _build_equal_area_crs(lon: float, lat: float) -> str:
    """Build the PROJ string of an azimuthal equal-area projection around a point."""
    return f"+proj=laea +lat_0={lat:.4f} +lon_0={lon:.4f} +datum=WGS84 +units=m +no_defs"


def _list_corners(shape: BaseGeometry) -> tuple[list[float], list[float]]:
    """List longitudes and latitudes of the vertices of a shape."""
    points = shapely.get_coordinates(shape)
    return points[:, 0].tolist(), points[:, 1].tolist()

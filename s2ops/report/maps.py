"""Tiles on one map: an equal-area canvas around a region, filled from overviews of the tiles' files."""

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
from s2ops.raster.reader import span, warp, whole_step
from s2ops.runtime.threads import ordered_map_on
from s2ops.storage.object_store import Store

MAX_SIDE_PX: Final = 1400
"""Pixels of the longer side of an overview: sharp on a large screen, about half a megabyte as JPEG."""

_READER_THREADS: Final = 8
"""Threads that read files: on an object store each of them mostly waits."""


@cache
def _get_thread_pool() -> ThreadPoolExecutor:
    """Kept from one layer to the next: in each new thread GDAL opens PROJ's database and looks up systems anew."""
    return ThreadPoolExecutor(_READER_THREADS, "s2ops-report")


Recode = Callable[[Tile, UInt8], UInt8]
"""(tile, (band, y, x)) -> the same shape; provenance numbers become those of a common list of dates."""


@dataclass(frozen=True, slots=True)
class CanvasWindow:
    """Where a tile may show on a canvas."""

    window: tuple[slice, slice]
    """Rows and columns."""
    whole: bool
    """Whether no part of the tile lies beyond the canvas."""


@dataclass(frozen=True)
class Canvas:
    """A north-up grid in Lambert's equal-area projection around a region's middle; areas are pixel counts."""

    geobox: GeoBox

    @classmethod
    def from_tiles(cls, tiles: Sequence[Tile], res: float, max_side: int = MAX_SIDE_PX) -> Self:
        """All tiles, at `res` metres or coarser so that neither side exceeds `max_side` pixels."""
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
        """A square of `side` pixels of `res` metres around a place."""
        half = side * res / 2
        return cls(GeoBox((side, side), Affine(res, 0, -half, 0, -res, half), _build_equal_area_crs(lon, lat)))

    @property
    def res(self) -> float:
        """Metres per pixel."""
        return float(self.geobox.resolution.x)

    @property
    def km2(self) -> float:
        """Square kilometres of a pixel."""
        return self.res**2 / 1e6

    def paint(
        self,
        store: Store,
        files: Sequence[tuple[Tile, str]],
        bands: Sequence[int],
        nodata: int = 0,
        recode: Recode | None = None,
    ) -> UInt8:
        """(band, y, x) with every file in its place; where files overlap the first in the list stays on top.

        One band counts as codes (nearest), more as imagery (averaged). A file that is missing or broken leaves its
        place empty: the report states that elsewhere.
        """
        shape = (len(bands), *self.geobox.shape)
        out = np.full(shape, nodata, np.uint8)
        for tile, place, part in ordered_map_on(_get_thread_pool(), partial(self._part, store, bands, nodata), files, _READER_THREADS + 1):
            if part is None or place is None:
                continue
            shown = recode(tile, part) if recode else part
            target = out[:, place.window[0], place.window[1]]
            free = (target == nodata).all(axis=0) & (shown != nodata).any(axis=0)
            target[:, free] = shown[:, free]
        return out

    def _part(
        self, store: Store, bands: Sequence[int], nodata: int, file: tuple[Tile, str]
    ) -> tuple[Tile, CanvasWindow | None, UInt8 | None]:
        """A file's place and what it shows there; None where it shows nothing."""
        tile, key = file
        place = self._place(tile)
        if place is None:
            return tile, None, None
        try:
            with configure_gdal(), rasterio.open(store.gdal(key)) as src:
                return tile, place, self._warped(src, place, bands, nodata)
        except RasterioError:
            return tile, place, None

    @cached_property
    def _project(self) -> Transformer:
        """Longitude and latitude to the canvas' metres."""
        return Transformer.from_crs(4326, str(self.geobox.crs), always_xy=True)

    def _place(self, tile: Tile) -> CanvasWindow | None:
        """Where a tile may show."""
        x, y = self._project.transform(*_list_corners(tile.footprint))
        columns, rows = ~self.geobox.transform @ (np.asarray(x), np.asarray(y))
        # a pixel of margin: an outline bends between its points
        top, bottom = int(np.floor(rows.min())) - 1, int(np.ceil(rows.max())) + 1
        left, right = int(np.floor(columns.min())) - 1, int(np.ceil(columns.max())) + 1
        height, width = self.geobox.shape
        seen_rows, seen_columns = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
        if seen_rows.start >= seen_rows.stop or seen_columns.start >= seen_columns.stop:
            return None
        whole = top >= -1 and left >= -1 and bottom <= height + 1 and right <= width + 1
        return CanvasWindow((seen_rows, seen_columns), whole)

    def _warped(self, src: DatasetReader, place: CanvasWindow, bands: Sequence[int], nodata: int) -> UInt8:
        """The file's part under `place`, read through its overviews, on the canvas' pixels."""
        geobox = self.geobox[place.window]
        nearest = len(bands) == 1
        zoom = max(self.res / src.transform.a, 1.0)
        step = whole_step(zoom) if nearest else 1
        rows, columns = slice(0, src.height), slice(0, src.width)
        if not place.whole:
            box = transform_bounds(str(self.geobox.crs), src.crs, *geobox.boundingbox.bbox, densify_pts=21)
            window = from_bounds(*box, transform=src.transform)
            rows = span(window.row_off, window.height, src.height, step)
            columns = span(window.col_off, window.width, src.width, step)
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
        warp(
            pixels,
            out,
            src=(corner @ Affine.scale(width / shape[1], height / shape[0]), src.crs),
            dst=(geobox.transform, str(geobox.crs)),
            nodata=nodata,
            resampling=Resampling.nearest if nearest else Resampling.bilinear,
        )
        return out


def find_border_midpoint(upper: Tile, lower: Tile) -> tuple[float, float] | None:
    """Longitude and latitude of the middle of `upper`'s border inside `lower`: where a hard edge would show."""
    line = upper.footprint.boundary & lower.footprint
    if line.length == 0:
        return None
    longest = max(shapely.get_parts(shapely.line_merge(line)), key=lambda part: part.length)
    middle = longest.interpolate(0.5, normalized=True)
    return float(middle.x), float(middle.y)


def _build_equal_area_crs(lon: float, lat: float) -> str:
    return f"+proj=laea +lat_0={lat:.4f} +lon_0={lon:.4f} +datum=WGS84 +units=m +no_defs"


def _list_corners(shape: BaseGeometry) -> tuple[list[float], list[float]]:
    points = shapely.get_coordinates(shape)
    return points[:, 0].tolist(), points[:, 1].tolist()

"""Tiles on one map: an equal-area canvas around a region, filled from overviews of the tiles' files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from rasterio.warp import reproject, transform_bounds
from rasterio.windows import Window, from_bounds
from shapely.geometry.base import BaseGeometry

from s2ops.codes import UInt8
from s2ops.footprint import union_bbox
from s2ops.grid import Tile
from s2ops.raster import gdal_env
from s2ops.store import Store

MAX_SIDE: Final = 1400
"""Pixels of the longer side of an overview: sharp on a large screen, about half a megabyte as JPEG."""

Recode = Callable[[Tile, UInt8], UInt8]
"""(tile, (band, y, x)) -> the same shape; provenance numbers become those of a common list of dates."""


@dataclass(frozen=True)
class Canvas:
    """A north-up grid in Lambert's equal-area projection around a region's middle; areas are pixel counts."""

    geobox: GeoBox

    @classmethod
    def around(cls, tiles: Sequence[Tile], res: float, max_side: int = MAX_SIDE) -> Self:
        """All tiles, at `res` metres or coarser so that neither side exceeds `max_side` pixels."""
        shapes = [tile.footprint for tile in tiles]
        west, south, east, north = union_bbox([part.bounds for shape in shapes for part in shapely.get_parts(shape)])
        lon = (west + (east if east >= west else east + 360.0)) / 2
        crs = _equal_area((lon + 180.0) % 360.0 - 180.0, (south + north) / 2)
        project = Transformer.from_crs(4326, crs, always_xy=True)
        points = np.concatenate([np.column_stack(project.transform(*_corners(shape))) for shape in shapes])
        (left, bottom), (right, top) = points.min(axis=0), points.max(axis=0)
        step = max(res, (right - left) / max_side, (top - bottom) / max_side)
        shape = (max(int(np.ceil((top - bottom) / step)), 1), max(int(np.ceil((right - left) / step)), 1))
        return cls(GeoBox(shape, Affine(step, 0, left, 0, -step, top), crs))

    @classmethod
    def at(cls, lon: float, lat: float, res: float, side: int) -> Self:
        """A square of `side` pixels of `res` metres around a place."""
        half = side * res / 2
        return cls(GeoBox((side, side), Affine(res, 0, -half, 0, -res, half), _equal_area(lon, lat)))

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
        for tile, key in files:
            place = self._place(tile)
            if place is None or not store.exists(key):
                continue
            try:
                with gdal_env(), rasterio.open(store.gdal(key)) as src:
                    part = self._warped(src, place, bands, nodata)
            except RasterioError:
                continue
            part = recode(tile, part) if recode else part
            target = out[:, place[0], place[1]]
            free = (target == nodata).all(axis=0) & (part != nodata).any(axis=0)
            target[:, free] = part[:, free]
        return out

    def _place(self, tile: Tile) -> tuple[slice, slice] | None:
        """Rows and columns of the canvas that a tile may touch."""
        box = transform_bounds(f"EPSG:{tile.epsg}", str(self.geobox.crs), *tile.bounds, densify_pts=21)
        across = ~self.geobox.transform
        left, top = across @ (box[0], box[3])
        right, bottom = across @ (box[2], box[1])
        height, width = self.geobox.shape
        rows = slice(max(int(np.floor(top)), 0), min(int(np.ceil(bottom)), height))
        columns = slice(max(int(np.floor(left)), 0), min(int(np.ceil(right)), width))
        return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None

    def _warped(self, src: DatasetReader, place: tuple[slice, slice], bands: Sequence[int], nodata: int) -> UInt8:
        """The file's part under `place`, read through its overviews, on the canvas' pixels."""
        geobox = self.geobox[place]
        nearest = len(bands) == 1
        box = transform_bounds(str(self.geobox.crs), src.crs, *geobox.boundingbox.bbox, densify_pts=21)
        window = from_bounds(*box, transform=src.transform)
        # two pixels around it for the resampling's reach
        rows = slice(max(int(window.row_off) - 2, 0), min(int(window.row_off + window.height) + 3, src.height))
        columns = slice(max(int(window.col_off) - 2, 0), min(int(window.col_off + window.width) + 3, src.width))
        out = np.full((len(bands), *geobox.shape), nodata, np.uint8)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return out
        zoom = max(self.res / src.transform.a, 1.0)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        shape = (max(round(height / zoom), 1), max(round(width / zoom), 1))
        pixels = src.read(
            list(bands),
            window=Window(columns.start, rows.start, width, height),
            out_shape=(len(bands), *shape),
            resampling=Resampling.nearest if nearest else Resampling.average,
        )
        corner = src.transform @ Affine.translation(columns.start, rows.start)
        reproject(
            pixels,
            out,
            src_transform=corner @ Affine.scale(width / shape[1], height / shape[0]),
            src_crs=src.crs,
            src_nodata=nodata,
            dst_transform=geobox.transform,
            dst_crs=str(geobox.crs),
            dst_nodata=nodata,
            resampling=Resampling.nearest if nearest else Resampling.bilinear,
        )
        return out


def meeting_place(upper: Tile, lower: Tile) -> tuple[float, float] | None:
    """Longitude and latitude of the middle of `upper`'s border inside `lower`: where a hard edge would show."""
    line = upper.footprint.boundary & lower.footprint
    if line.length == 0:
        return None
    longest = max(shapely.get_parts(shapely.line_merge(line)), key=lambda part: part.length)
    middle = longest.interpolate(0.5, normalized=True)
    return float(middle.x), float(middle.y)


def _equal_area(lon: float, lat: float) -> str:
    return f"+proj=laea +lat_0={lat:.4f} +lon_0={lon:.4f} +datum=WGS84 +units=m +no_defs"


def _corners(shape: BaseGeometry) -> tuple[list[float], list[float]]:
    points = shapely.get_coordinates(shape)
    return points[:, 0].tolist(), points[:, 1].tolist()

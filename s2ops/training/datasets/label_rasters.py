"""Label rasters and polygons on the grid of an image."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import rasterio
import shapely
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio import features
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.warp import reproject

from s2ops.constants import Int32
from s2ops.errors import ConfigError, RasterError
from s2ops.geo.polygon_files import read_polygons

UNLABELLED: Final = -1
_OUTSIDE: Final = -(2**31)


def read_label_raster(path: Path, grid: GeoBox, keys: Sequence[str]) -> Int32:
    """(y, x) index into `keys` of a one-band raster of whole numbers, nearest pixel; its no data is `UNLABELLED`."""
    try:
        with rasterio.open(path) as src:
            if src.count != 1 or np.dtype(src.dtypes[0]).kind not in "iu" or src.crs is None:
                raise RasterError(
                    f"{path} has {src.count} bands of {src.dtypes[0]} and the coordinate system {src.crs}: "
                    "labels are one band of whole numbers with a coordinate system"
                )
            values: Int32 = np.full(grid.shape, _OUTSIDE, np.int32)
            reproject(
                rasterio.band(src, 1), values, dst_transform=grid.transform, dst_crs=str(grid.crs),
                src_nodata=src.nodata, dst_nodata=_OUTSIDE, resampling=Resampling.nearest,
            )  # fmt: skip
    except RasterioError as error:
        raise RasterError(f"{path} cannot be read ({error}): give a whole GeoTIFF of labels") from error
    codes: Int32 = np.full(grid.shape, UNLABELLED, np.int32)
    unknown = []
    for value in np.unique(values[values != _OUTSIDE]).tolist():
        if str(value) in keys:
            codes[values == value] = keys.index(str(value))
        else:
            unknown.append(str(value))
    _refuse_unknown(path, unknown, keys)
    return codes


def rasterize_labels(path: Path, grid: GeoBox, keys: Sequence[str], attribute: str) -> Int32:
    """(y, x) index into `keys` of polygons; where two overlap, the later one counts, all else is `UNLABELLED`."""
    crs, shapes = read_polygons(path, attribute)
    _refuse_unknown(path, [value for _, value in shapes if value not in keys], keys)
    move = Transformer.from_crs(crs, str(grid.crs), always_xy=True)
    burnt = []
    for geometry, value in shapes:
        moved = shapely.transform(geometry, lambda places: np.column_stack(move.transform(*places.T)))
        if not moved.is_empty and np.isfinite(moved.bounds).all():
            burnt.append((moved, keys.index(value)))
    codes: Int32 = np.full(grid.shape, UNLABELLED, np.int32)
    if burnt:
        features.rasterize(burnt, out=codes, transform=grid.transform)
    return codes


def _refuse_unknown(path: Path, values: Sequence[str], keys: Sequence[str]) -> None:
    if values:
        named = sorted(set(values))
        raise ConfigError(
            f"{path} holds the class {', '.join(named[:5])}, which `classes` does not map (it maps {', '.join(keys)}): "
            "add it there, as `ignore` if it says nothing"
        )

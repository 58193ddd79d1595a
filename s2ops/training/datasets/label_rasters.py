"""Label rasters and polygons (GeoTIFF, GeoJSON, GeoPackage), read onto the grid of an image."""

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
"""Index of pixels without a label."""

_OUTSIDE: Final = -(2**31)


def read_label_raster(path: Path, grid: GeoBox, keys: Sequence[str]) -> Int32:
    """Read a one-band raster of integers onto a grid by nearest neighbour.

    Args:
        path: Label raster.
        grid: Grid of the image.
        keys: Values that have a class.

    Returns:
        Index into `keys` (y, x); `UNLABELLED` where the raster has no data.

    Raises:
        RasterError: If the file is broken, has several bands, no integers or no coordinate system.
        ConfigError: If a value is not in `keys`.
    """
    try:
        with rasterio.open(path) as src:
            if src.count != 1 or np.dtype(src.dtypes[0]).kind not in "iu" or src.crs is None:
                raise RasterError(
                    f"{path} has {src.count} bands of {src.dtypes[0]} and the coordinate system {src.crs}; "
                    "give labels as one band of integers with a coordinate system."
                )
            values: Int32 = np.full(grid.shape, _OUTSIDE, np.int32)
            reproject(
                rasterio.band(src, 1), values, dst_transform=grid.transform, dst_crs=str(grid.crs),
                src_nodata=src.nodata, dst_nodata=_OUTSIDE, resampling=Resampling.nearest,
            )  # fmt: skip
    except RasterioError as error:
        raise RasterError(f"Cannot read {path}: {error}; give a complete GeoTIFF of labels.") from error
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
    """Rasterize label polygons onto a grid.

    Args:
        path: GeoJSON or GeoPackage.
        grid: Grid of the image.
        keys: Values of the attribute that have a class.
        attribute: Property of the polygons that contains the class.

    Returns:
        Index into `keys` (y, x), `UNLABELLED` outside all polygons; where two overlap, the later one counts.

    Raises:
        ConfigError: If the file cannot be read, or a value is not in `keys`.
    """
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
    """Raise ConfigError if there are values without a class."""
    if values:
        named = sorted(set(values))
        raise ConfigError(
            f"{path} contains the class {', '.join(named[:5])}, which `classes` does not map (it maps "
            f"{', '.join(keys)}); add it there, as `ignore` if it is not needed."
        )

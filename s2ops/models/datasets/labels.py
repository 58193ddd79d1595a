"""Label rasters and polygons on the grid of an image."""

import json
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
import shapely
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError
from rasterio import features
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.warp import reproject
from shapely.errors import ShapelyError
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from s2ops.codes import Int32
from s2ops.errors import ConfigError, RasterError

UNLABELLED: Final = -1
_OUTSIDE: Final = -(2**31)

_ENVELOPE_BYTES: Final = (0, 32, 48, 48, 64)
"""Size of a GeoPackage geometry's bounding box by its kind (OGC 12-128r17, table 6)."""


def of_raster(path: Path, grid: GeoBox, keys: Sequence[str]) -> Int32:
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


def of_vectors(path: Path, grid: GeoBox, keys: Sequence[str], attribute: str) -> Int32:
    """(y, x) index into `keys` of polygons; where two overlap, the later one counts, all else is `UNLABELLED`."""
    crs, shapes = _read_geojson(path, attribute) if path.suffix.lower() != ".gpkg" else _read_gpkg(path, attribute)
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


def _read_geojson(path: Path, attribute: str) -> tuple[CRS, list[tuple[BaseGeometry, str]]]:
    """Polygons with their class; degrees unless an old-style `crs` says otherwise (RFC 7946, section 4)."""
    try:
        data = json.loads(path.read_text())
        crs = CRS.from_user_input(data["crs"]["properties"]["name"] if data.get("crs") else "OGC:CRS84")
        found = [(shape(item["geometry"]), item.get("properties") or {}) for item in data["features"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, CRSError, ShapelyError) as error:
        raise ConfigError(
            f"{path} is no GeoJSON feature collection with geometries ({error!r}): export it again"
        ) from error
    return crs, list(_polygons(path, found, attribute))


def _read_gpkg(path: Path, attribute: str) -> tuple[CRS, list[tuple[BaseGeometry, str]]]:
    """The first layer of a GeoPackage, which is an SQLite file with well-known binary behind a short header."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            layer, column, organization, number = database.execute(
                "SELECT g.table_name, g.column_name, s.organization, s.organization_coordsys_id "
                "FROM gpkg_geometry_columns g JOIN gpkg_spatial_ref_sys s USING (srs_id) ORDER BY g.rowid"
            ).fetchone()
            quoted = '"' + layer.replace('"', '""') + '"'
            rows = [dict(row) for row in database.execute(f"SELECT * FROM {quoted}")]  # noqa: S608 - a name, quoted
        crs = CRS.from_authority(organization, number)
        found = [(_from_blob(row[column]), row) for row in rows if row[column] is not None]
    except (sqlite3.Error, TypeError, struct.error, IndexError, CRSError, ShapelyError) as error:
        raise ConfigError(f"{path} is no GeoPackage with a layer of polygons ({error}): export it again") from error
    return crs, list(_polygons(path, found, attribute))


def _from_blob(blob: bytes) -> BaseGeometry:
    _, _, flags, _ = struct.unpack_from("<2sBBi", blob)
    geometry: BaseGeometry = shapely.from_wkb(blob[8 + _ENVELOPE_BYTES[flags >> 1 & 7] :])
    return geometry


def _polygons(
    path: Path, found: Sequence[tuple[BaseGeometry, dict[str, Any]]], attribute: str
) -> Iterator[tuple[BaseGeometry, str]]:
    for number, (geometry, properties) in enumerate(found, 1):
        if attribute not in properties:
            raise ConfigError(
                f"{path}: feature {number} has no attribute {attribute!r} (it has "
                f"{', '.join(map(str, properties)) or 'none'}): name the one that holds the class as `attribute`"
            )
        if geometry.geom_type not in ("Polygon", "MultiPolygon"):
            raise ConfigError(
                f"{path}: feature {number} is a {geometry.geom_type}, but labels are areas: draw polygons"
            )
        yield geometry, str(properties[attribute])

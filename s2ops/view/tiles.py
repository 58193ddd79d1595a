"""Map tiles (XYZ, Web Mercator, 512 pixels) rendered from the COGs of a run, read with rio-tiler through overviews."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Final, TypeAlias

import numpy as np
import rasterio
import shapely
from morecantile import Tile as MapTile
from morecantile import tms
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.transform import from_bounds as transform_from_bounds
from rasterio.warp import transform_bounds
from rasterio.windows import Window, from_bounds
from rio_tiler import reader

from s2ops.constants import UInt8
from s2ops.geo.mgrs_tiles import Tile
from s2ops.geo.tile_ownership import compute_border_distance_on_map
from s2ops.raster.gdal_env import configure_gdal
from s2ops.raster.reader import get_overview_step, get_source_span, reproject_pixels
from s2ops.storage import layout
from s2ops.view.layers import LAYERS, DateColours, MapLayer, Recode, encode_layer
from s2ops.view.run import RunState, ViewedRun

TILE_SIZE_PX: Final = 512
"""Side of a map tile in pixels."""

MAX_FILES: Final = 25
"""Maximum number of COGs per map tile. At lower zooms, which would need more, the map shows outlines of tiles."""

MAX_ZOOM: Final = 20
"""Highest zoom that may be requested."""

Box: TypeAlias = tuple[float, float, float, float]
"""Left, bottom, right, top in Web Mercator metres."""

_NO_BORDER_DISTANCE: Final = np.zeros((1, 1), np.float32)
"""Border distance of a tile that no other tile overlaps."""

_MERCATOR: Final = tms.get("WebMercatorQuad")
_CRS: Final = CRS.from_epsg(3857)
_VERSION: Final = 2
"""Part of every ETag: raise it when the rendering of unchanged files changes."""


@dataclass(frozen=True, slots=True)
class TileSource:
    """File that a map tile shows."""

    tile: Tile
    key: str
    version: str
    """Text that changes when the file changes."""


@dataclass(frozen=True)
class TileDrawing:
    """Map tile of a layer whose sources are known, and whose pixels are read by `draw`."""

    run: ViewedRun
    layer: str
    place: MapTile
    sources: tuple[TileSource, ...]
    state: RunState

    @cached_property
    def etag(self) -> str:
        """ETag, which changes with the files and with the colours of dates."""
        colours = self.state.dates if self.layer == "dates" else ()
        facts = _VERSION, self.layer, self.place, [(one.key, one.version) for one in self.sources], colours
        return sha256(repr(facts).encode()).hexdigest()[:32]

    def draw(self) -> bytes | None:
        """Draw the image (blocks); None if there is no data. Files that cannot be read are noted and left out."""
        layer = LAYERS[self.layer]
        out = np.full((len(layer.bands), TILE_SIZE_PX, TILE_SIZE_PX), layer.nodata, np.uint8)
        shown = np.full((TILE_SIZE_PX, TILE_SIZE_PX), -np.inf, np.float32)  # border distance of the shown pixels
        for source in self.sources:
            for rows, columns, box in _split_parts(source.tile, self.place):
                target = out[:, rows, columns]
                depth = (
                    compute_border_distance_on_map(source.tile, target.shape[1:], box)
                    if len(self.sources) > 1
                    else _NO_BORDER_DISTANCE
                )
                # a hole is filled by a neighbour that has data
                free = ((target == layer.nodata) | (target == 0)).all(axis=0)
                wanted = free | (depth > shown[rows, columns])
                if not wanted.any():
                    continue
                part = self._read_source(source, target.shape, box)
                if part is not None:
                    part = self._build_recoding(source)(part)
                    has = (part != layer.nodata).any(axis=0)
                    fills = has & (free | (wanted & (part != 0).any(axis=0)))
                    target[:, fills] = part[:, fills]
                    shown[rows, columns] = np.where(fills, depth, shown[rows, columns])
        return None if (out == layer.nodata).all() else encode_layer(self.layer, out, DateColours(self.state.dates))

    def _read_source(self, source: TileSource, shape: tuple[int, ...], box: Box) -> UInt8 | None:
        """Read a source on the grid of the map tile; None if it cannot be read, which is noted."""
        layer = LAYERS[self.layer]
        path = self.run.store.get_gdal_path(source.key)
        try:
            # files may be rewritten while they are viewed: GDAL must not use its cache of older versions
            with configure_gdal(), rasterio.Env(CPL_VSIL_CURL_NON_CACHED=path), rasterio.open(path) as src:
                return _read_on_map(src, layer, shape, box)
        except (RasterioError, IndexError, ValueError):
            self.run.note(f"{source.key} cannot be read: it is missing or damaged; run s2ops verify for details")
            return None

    def _build_recoding(self, source: TileSource) -> Recode:
        """Build the function from codes of a source to codes of the layer."""
        if self.layer != "dates":
            return lambda pixels: pixels
        facts = self.state.tiles[source.tile.name]
        return DateColours(self.state.dates).build_recoding([scene.date for scene in facts.scenes])


def _read_on_map(src: DatasetReader, layer: MapLayer, shape: tuple[int, ...], box: Box) -> UInt8:
    """Read a raster on a part of the map grid.

    The window is read through overviews at about the resolution of the map, then warped to the pixels of the map. A
    WarpedVRT warps before it averages, which takes several times as long for pictures (docs/how-to/view-a-run.md).

    Args:
        src: Open raster.
        layer: Layer, which determines bands, no-data value and resampling.
        shape: Bands, rows and columns of the result.
        box: Bounds of the result.

    Returns:
        Pixels `(band, y, x)` as uint8.
    """
    out = np.full(shape, layer.nodata, np.uint8)
    across = from_bounds(*transform_bounds(_CRS, src.crs, *box, densify_pts=21), transform=src.transform)
    smooth = layer.kind == "picture"
    finer = max(math.sqrt(across.height * across.width / (shape[1] * shape[2])), 1.0)
    step = 1 if smooth else get_overview_step(finer)
    rows = get_source_span(across.row_off, across.height, src.height, step)
    cols = get_source_span(across.col_off, across.width, src.width, step)
    height, width = rows.stop - rows.start, cols.stop - cols.start
    if height <= 0 or width <= 0:
        return out
    fewer = finer if smooth else step
    image = reader.read(
        src,
        window=Window(cols.start, rows.start, width, height),
        height=max(math.ceil(height / fewer), 1),
        width=max(math.ceil(width / fewer), 1),
        indexes=layer.bands,
        nodata=layer.nodata,
        resampling_method="average" if smooth else "nearest",
    )
    reproject_pixels(
        np.ma.getdata(image.array),
        out,
        src=(image.transform, src.crs),
        dst=(transform_from_bounds(*box, shape[2], shape[1]), _CRS),
        nodata=layer.nodata,
        resampling=Resampling.bilinear if smooth else Resampling.nearest,
    )
    return out


def plan_drawing(run: ViewedRun, layer: str, place: MapTile, date: str | None = None) -> TileDrawing | None:
    """Find the sources of a map tile; None if it would open too many files. Blocks only for single scenes."""
    tiles = find_tiles(run, place)
    if len(tiles) > MAX_FILES:
        return None
    state = run.state
    return TileDrawing(run, layer, place, tuple(_list_sources(run, state, layer, tiles, date)), state)


def find_tiles(run: ViewedRun, place: MapTile) -> tuple[Tile, ...]:
    """Find the tiles of the run that overlap a map tile, sorted by name."""
    return run.index.find_overlapping(shapely.box(*_MERCATOR.bounds(place)))


def compute_max_zoom(res: int) -> int:
    """Compute the zoom at which the map has the resolution of the run; above it the browser enlarges images."""
    return math.ceil(math.log2(40_075_017 / TILE_SIZE_PX / res))


def compute_min_zoom(run: ViewedRun) -> int:
    """Compute the lowest zoom at which no map tile overlaps more than MAX_FILES tiles of the run."""
    lon, lat = (np.array([one.footprint.bounds for one in run.tiles])[:, axes].T for axes in ((0, 2), (1, 3)))
    lat = np.radians(np.clip(lat, -85.05, 85.05))
    wide = lon[1] - lon[0] > 180  # across the antimeridian, only the part on one side is counted
    lon[0][wide] = lon[1][wide] - 1.0
    x, y = (lon + 180) / 360, (1 - np.arcsinh(np.tan(lat[::-1])) / np.pi) / 2
    for zoom in range(9):
        side = 2**zoom
        counts = np.zeros((side, side), np.int32)
        for west, east, north, south in zip(
            *(np.clip(v * side, 0, side - 1).astype(int) for v in (*x, *y)), strict=True
        ):
            counts[north : south + 1, west : east + 1] += 1
        if counts.max() <= MAX_FILES:
            return zoom
    return 9  # at this zoom a map tile is smaller than a tile


def _list_sources(
    run: ViewedRun, state: RunState, name: str, tiles: Sequence[Tile], date: str | None
) -> Iterator[TileSource]:
    """List the files of a layer under a map tile."""
    layer = LAYERS[name]
    for tile in tiles:
        facts = state.tiles.get(tile.name)
        if layer.dated:
            version = state.versions.get(layout.TileKeys(tile.name).get_item("mosaic"), "")
            record = run.read_acquired(tile.name, version)
            for scene in (*record.scenes, *record.series) if record else ():
                if scene.date == date:
                    yield TileSource(tile, layout.SceneKeys(tile.name, scene.id).image, scene.image_sha256)
            continue
        key = layout.TileKeys(tile.name).get_raster(layer.folder, layer.file)
        if layer.folder == "composite":
            if facts is not None and facts.scenes:
                yield TileSource(tile, key, state.versions.get(layout.TileKeys(tile.name).get_item("mosaic"), ""))
        elif facts is not None and key in state.versions and (name != "dates" or facts.scenes):
            yield TileSource(tile, key, state.versions[key])


def _split_parts(tile: Tile, place: MapTile) -> Iterator[tuple[slice, slice, Box]]:
    """Split a tile into the parts (two at the antimeridian) that may overlap a map tile: rows, columns, bounds.

    Only these parts are read, which keeps large regions at low zooms fast.
    """
    left, _, right, top = _MERCATOR.xy_bounds(place)
    step = (right - left) / TILE_SIZE_PX
    for part in shapely.get_parts(tile.footprint):
        west, south, east, north = part.bounds
        x0, y0 = _MERCATOR.xy(west, south)
        x1, y1 = _MERCATOR.xy(east, north)
        columns = slice(max(math.floor((x0 - left) / step), 0), min(math.ceil((x1 - left) / step), TILE_SIZE_PX))
        rows = slice(max(math.floor((top - y1) / step), 0), min(math.ceil((top - y0) / step), TILE_SIZE_PX))
        if rows.start < rows.stop and columns.start < columns.stop:
            box = (
                left + columns.start * step,
                top - rows.stop * step,
                left + columns.stop * step,
                top - rows.start * step,
            )
            yield rows, columns, box

"""Land-cover area statistics of a run, per tile or per polygon (zonal statistics).

Overlaps of tiles count once, areas are those on the ellipsoid, and the maps are read in blocks of 5 km.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import rasterio
import shapely
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from rasterio import features
from rasterio.enums import Resampling
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from s2ops.constants import CLASS_NAMES, Bool, Float64, LandCover, UInt8
from s2ops.errors import ConfigError, InputError, MissingInput
from s2ops.geo.equal_area import compute_area_km2
from s2ops.geo.mgrs_tiles import TILE_SIZE_M, Tile, find_neighbours, parse_tiles
from s2ops.geo.tile_ownership import BLOCK_SIZE_M, compute_ownership_mask, compute_pixel_area_km2
from s2ops.raster.gdal_env import configure_gdal
from s2ops.raster.reader import translate_read_errors
from s2ops.storage import layout
from s2ops.storage.done_marker import read_json
from s2ops.storage.object_store import Store

OUTSIDE_RUN: Final = "outside the run"
_MAX_EDGE_DEGREES: Final = 0.01
"""Maximum length of a polygon's edge before projection; longer edges are split."""


@dataclass
class AreaSums:
    """Area sums of one tile or polygon."""

    km2: Float64 = field(default_factory=lambda: np.zeros(len(LandCover)))
    """Area by class code; code 0 is no data."""
    percent_km2: Float64 = field(default_factory=lambda: np.zeros(len(LandCover)))
    """Confidence in percent times area, by class code."""

    def add(self, classes: UInt8, confidence: UInt8, counted: Bool, km2: float) -> None:
        """Add the pixels (y, x) that are True in `counted`, of `km2` each."""
        codes = classes[counted]
        size = len(LandCover)
        self.km2 += np.bincount(codes, minlength=size)[:size] * km2
        self.percent_km2 += (
            np.bincount(codes, weights=confidence[counted].astype(np.float64), minlength=size)[:size] * km2
        )


@dataclass(frozen=True, slots=True)
class AreaRow:
    """Row of the table of areas."""

    name: str
    """Name of the tile or polygon."""
    kind: str
    """Class, 'no data' (a hole), or 'outside the run'."""
    km2: float
    share: float | None
    """Fraction of the classified area; None for unclassified ground."""
    mean_confidence: float | None
    """Mean confidence in percent; None without pixels."""


def list_land_cover_tiles(store: Store) -> tuple[Tile, ...]:
    """List the run's tiles that have a land-cover map.

    Raises:
        InputError: If there is no plan.
        MissingInput: If no tile has a land-cover map.
    """
    plan = read_json(store, layout.PLAN)
    if plan is None:
        raise InputError(f"Cannot read {layout.PLAN} in {store.uri}: it does not exist; give the `out` of a run.")
    found = tuple(
        tile
        for tile in parse_tiles(sorted(plan["tiles"]))
        if store.has_key(layout.TileKeys(tile.name).get_item("landcover"))
    )
    if not found:
        raise MissingInput(
            f"Cannot measure areas in {store.uri}: no tile has a land-cover map; run with landcover.enabled first."
        )
    return found


def measure_tile_areas(store: Store, res: int | None = None) -> Iterator[AreaRow]:
    """Measure the class areas of each tile, within the part of the ground that the tile owns.

    Args:
        store: Output of a run.
        res: Pixel size in metres (reads overviews); the map's own by default.

    Raises:
        ConfigError: If `res` is finer than the map or does not divide a tile.
        InputError: If there is no plan.
        MissingInput: If no tile has a land-cover map.
    """
    tiles = list_land_cover_tiles(store)
    for tile in tiles:
        sums = AreaSums()
        for block in _read_blocks(store, tile, tiles, res):
            sums.add(block.classes, block.confidence, block.own, block.km2)
        yield from _build_rows(tile.name, sums, None)


def measure_polygon_areas(
    store: Store, crs: CRS, polygons: Sequence[tuple[BaseGeometry, str]], res: int | None = None
) -> list[AreaRow]:
    """Measure the class areas of each polygon, in the order of `polygons`.

    Polygons with the same name count together; where two names overlap, the ground counts for both.

    Args:
        store: Output of a run.
        crs: Coordinate reference system of the polygons.
        polygons: (polygon, name).
        res: Pixel size in metres (reads overviews); the map's own by default.

    Raises:
        ConfigError: If a polygon is invalid, or `res` is finer than the map or does not divide a tile.
        InputError: If there is no plan.
        MissingInput: If no tile has a land-cover map.
    """
    tiles = list_land_cover_tiles(store)
    shapes = _merge_polygons(crs, polygons)
    tree = shapely.STRtree(list(shapes.values()))
    names, sums = list(shapes), defaultdict[str, AreaSums](AreaSums)
    for tile in tiles:
        near = [names[index] for index in sorted(tree.query(tile.footprint, predicate="intersects").tolist())]
        moved = {name: _project_to_tile(shapes[name], tile) for name in near}
        if not moved:
            continue
        for block in _read_blocks(store, tile, tiles, res):
            for name, polygon in moved.items():
                inside = _rasterize_polygon(polygon, block.grid)
                if inside is not None:
                    sums[name].add(block.classes, block.confidence, block.own & inside, block.km2)
    whole = {name: compute_area_km2(shape) for name, shape in shapes.items()}
    return [row for name in names for row in _build_rows(name, sums[name], whole[name])]


@dataclass(frozen=True, slots=True)
class _AreaBlock:
    """Block of a tile: the pixels of 5 km."""

    grid: GeoBox
    classes: UInt8
    confidence: UInt8
    own: Bool
    km2: float
    """Area of a pixel."""


def _read_blocks(store: Store, tile: Tile, tiles: tuple[Tile, ...], res: int | None) -> Iterator[_AreaBlock]:
    """Read the blocks of a tile, top to bottom; use an overview if `res` is coarser than the map."""
    paths = [
        store.get_gdal_path(layout.TileKeys(tile.name).get_raster("landcover", name))
        for name in ("landcover", "confidence")
    ]
    others = find_neighbours(tile, tiles)
    with (
        translate_read_errors(paths[0]),
        configure_gdal(),
        rasterio.open(paths[0]) as classes,
        rasterio.open(paths[1]) as confidence,
    ):
        full = TILE_SIZE_M / classes.width
        if res is not None and (res < full or TILE_SIZE_M % res):
            raise ConfigError(
                f"Cannot measure areas at --resolution {res}: the map has pixels of {full:g} m; "
                "use that, 60, 120 or 1200."
            )
        grid = tile.build_geobox(res or round(full))
        side, factor = max(BLOCK_SIZE_M // (res or round(full)), 1), grid.resolution.x / full
        for top in range(0, grid.height, side):
            rows = slice(top, min(top + side, grid.height))
            window = Window(0, rows.start * factor, classes.width, (rows.stop - rows.start) * factor)
            shape = (rows.stop - rows.start, grid.width)
            # nearest: the overviews contain the most common class already, and a mean of class codes has no meaning
            band = [
                src.read(1, window=window, out_shape=shape, resampling=Resampling.nearest)
                for src in (classes, confidence)
            ]
            for left in range(0, grid.width, side):
                cols = slice(left, min(left + side, grid.width))
                part = grid[rows, cols]
                yield _AreaBlock(
                    part,
                    band[0][:, cols],
                    band[1][:, cols],
                    compute_ownership_mask(tile, others, part),
                    compute_pixel_area_km2(tile, part),
                )


def _build_rows(name: str, sums: AreaSums, whole: float | None) -> Iterator[AreaRow]:
    """Build a row per class, then rows for unclassified ground; `whole` is the polygon's area in km2."""
    classified = float(sums.km2[1:].sum())
    for code in LandCover:
        if code is not LandCover.NODATA:
            km2 = float(sums.km2[code])
            share, mean = (km2 / classified, float(sums.percent_km2[code]) / km2) if km2 else (0.0, None)
            yield AreaRow(
                name, CLASS_NAMES[code], round(km2, 4), round(share, 6), None if mean is None else round(mean, 2)
            )
    yield AreaRow(name, CLASS_NAMES[LandCover.NODATA], round(float(sums.km2[0]), 4), None, None)
    if whole is not None:
        yield AreaRow(name, OUTSIDE_RUN, round(max(whole - float(sums.km2.sum()), 0.0), 4), None, None)


def _merge_polygons(crs: CRS, polygons: Sequence[tuple[BaseGeometry, str]]) -> Mapping[str, BaseGeometry]:
    """Merge polygons by name in WGS 84, and split long edges so that they can be projected vertex by vertex."""
    move = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    parts = defaultdict[str, list[BaseGeometry]](list)
    for polygon, name in polygons:
        if not polygon.is_valid:
            raise ConfigError(
                f"Cannot use polygon {name!r}: it is invalid ({shapely.is_valid_reason(polygon)}); repair it first."
            )
        parts[name].append(shapely.transform(polygon, lambda places: np.column_stack(move.transform(*places.T))))
    return {name: shapely.segmentize(shapely.union_all(found), _MAX_EDGE_DEGREES) for name, found in parts.items()}


def _project_to_tile(shape: BaseGeometry, tile: Tile) -> BaseGeometry:
    """Project the part of a polygon near the tile to the tile's UTM zone."""
    near = shapely.intersection(shape, shapely.buffer(tile.footprint, 0.05))
    move = Transformer.from_crs(4326, tile.epsg, always_xy=True)
    moved = shapely.transform(near, lambda places: np.column_stack(move.transform(*places.T)))
    shapely.prepare(moved)
    return moved


def _rasterize_polygon(polygon: BaseGeometry, grid: GeoBox) -> Bool | None:
    """Rasterize a polygon: True for pixels (y, x) whose centre is inside; return None if it misses the grid."""
    box = shapely.box(*grid.boundingbox.bbox)
    if not polygon.intersects(box):
        return None
    if polygon.contains(box):
        return np.ones(grid.shape, np.bool_)
    clipped = shapely.intersection(polygon, box)
    if clipped.area == 0:
        return None
    out: Bool = features.geometry_mask([clipped], grid.shape, grid.transform, invert=True)
    return out

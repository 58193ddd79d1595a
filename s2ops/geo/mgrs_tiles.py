"""Sentinel-2 tiling grid (MGRS tiles): pixel grids, footprints, spatial index of overlapping tiles (neighbours)."""

import difflib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, cast

import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from s2ops.errors import GridError
from s2ops.geo import mgrs_names

TILE_SIZE_M: Final = 109_800
"""Width and height of a tile in metres: a 100 km square plus 9.8 km of overlap."""
SQUARE_SIZE_M: Final = 100_000
"""Width and height of an MGRS square in metres."""
CORNER_SNAP_M: Final = 60
"""Tile corners lie at multiples of 60 m of easting, and of northing from the equator."""
FALSE_NORTHING_M: Final = 10_000_000
"""Offset in metres that UTM adds to northings of the southern hemisphere, so that they are positive."""

_POINTS_PER_EDGE: Final = 16
"""Points along each edge of a footprint. Chords of 6.9 km differ from the true edge by 2 m at 60 degrees of latitude
and by 10 m at 84 degrees."""
_MIN_OVERLAP_DEGREES2: Final = 1e-8
"""Minimum area of an overlap in square degrees: about one 10 m pixel at the equator. Less is a rounding error."""


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """Sentinel-2 (MGRS) tile: UTM zone and south-west corner of its 100 km square.

    Attributes:
        name: MGRS name such as ``33TWL``.
        epsg: EPSG code of the UTM zone.
        east, north: South-west corner of the square in metres.
    """

    name: str
    epsg: int
    east: int
    north: int

    @property
    def zone(self) -> int:
        """UTM zone, 1 to 60."""
        return self.epsg % 100

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """Left, bottom, right, top in metres in the tile's UTM zone.

        Corners are snapped relative to the equator: in the south, northings are 10,000,000 minus a multiple of 60.
        """
        false = FALSE_NORTHING_M if self.epsg // 100 == 327 else 0
        left = self.east // CORNER_SNAP_M * CORNER_SNAP_M
        top = false + math.ceil((self.north - false + SQUARE_SIZE_M) / CORNER_SNAP_M) * CORNER_SNAP_M
        return left, top - TILE_SIZE_M, left + TILE_SIZE_M, top

    def build_geobox(self, res: int = 10) -> GeoBox:
        """Build the tile's pixel grid, north up. Its outline is the same at every resolution.

        Args:
            res: Pixel size in metres; must divide 109,800.

        Raises:
            GridError: If pixels of ``res`` metres do not fill the tile.
        """
        if res <= 0 or TILE_SIZE_M % res:
            raise GridError(f"{self.name}: pixels of {res} m do not fill {TILE_SIZE_M} m; use 10, 20, 60 or 120")
        left, _, _, top = self.bounds
        return GeoBox((TILE_SIZE_M // res, TILE_SIZE_M // res), Affine(res, 0, left, 0, -res, top), f"EPSG:{self.epsg}")

    @property
    def footprint(self) -> Polygon | MultiPolygon:
        """Densified outline in WGS 84 longitude and latitude; two parts if it crosses the antimeridian."""
        return build_footprint(self.zone, self.east, self.bounds[3] - (FALSE_NORTHING_M if self.epsg >= 32700 else 0))


def parse_tile(name: str) -> Tile:
    """Return the tile with a given name.

    Args:
        name: MGRS name with or without the letter T in front ('33TWL' or 'T33TWL').

    Raises:
        GridError: If the grid has no such tile; the message suggests similar names.
    """
    plain = name.strip().upper().removeprefix("T")
    square = mgrs_names.parse_square(plain)
    if square is None:
        near = suggest_names(plain)
        remedy = f"did you mean {', '.join(near)}?" if near else "names look like 33TWL"
        raise GridError(f"there is no Sentinel-2 tile {name[:40]!r}; {remedy}")
    return _build_tile(*square)


def suggest_names(name: str) -> list[str]:
    """Suggest up to three tile names that are similar to an unknown name."""
    padded = name[:8].zfill(5)
    near = [other for other in mgrs_names.list_square_names() if other[:2] == padded[:2]]
    return difflib.get_close_matches(padded, near, 3, 0.6)


@lru_cache(maxsize=1)
def list_all_tiles() -> tuple[Tile, ...]:
    """List all 56,686 tiles, sorted by name."""
    return tuple(sorted(_build_tile(*square) for square in mgrs_names.iterate_squares()))


class TileIndex:
    """Spatial index (R-tree) of tiles in longitude and latitude: works across UTM zones, equator and antimeridian."""

    def __init__(self, tiles: Iterable[Tile]) -> None:
        self._tiles = tuple(sorted(set(tiles)))
        footprints = np.array([each.footprint for each in self._tiles], dtype=object)
        self._parts, self._owners = shapely.get_parts(footprints, return_index=True)
        self._tree = shapely.STRtree(self._parts)

    def find_overlapping(self, area: BaseGeometry) -> tuple[Tile, ...]:
        """Find the tiles that share area with a geometry.

        A common edge or a sliver smaller than one pixel is not an overlap. A point or line has no area: the tiles that
        it touches are returned.

        Args:
            area: WGS 84 geometry with longitudes between -180 and 180.

        Returns:
            Tiles, sorted by name.
        """
        hits = self._tree.query(area, predicate="intersects")
        if area.area > 0:
            shared = shapely.area(shapely.intersection(self._parts[hits], area))
            hits = hits[shared > min(_MIN_OVERLAP_DEGREES2, area.area / 2)]
        return tuple(self._tiles[owner] for owner in sorted(set(self._owners[hits].tolist())))

    def find_neighbours(self, tile: Tile) -> tuple[Tile, ...]:
        """Find the other tiles that overlap a tile, sorted by name. The relation is symmetric."""
        return tuple(other for other in self.find_overlapping(tile.footprint) if other != tile)

    def count_neighbours(self) -> dict[str, int]:
        """Count the neighbours of each tile within the index, by tile name; 20,000 tiles take seconds."""
        one, other = self._tree.query(self._parts, predicate="intersects")
        pairs = self._owners[one] < self._owners[other]
        one, other = one[pairs], other[pairs]
        shared = shapely.area(shapely.intersection(self._parts[one], self._parts[other])) > _MIN_OVERLAP_DEGREES2
        met = np.unique(np.column_stack([self._owners[one[shared]], self._owners[other[shared]]]), axis=0)
        counts = np.bincount(met.ravel(), minlength=len(self._tiles))
        return {tile.name: int(count) for tile, count in zip(self._tiles, counts, strict=True)}


def find_neighbours(tile: Tile, among: tuple[Tile, ...] | None = None) -> tuple[Tile, ...]:
    """Find the tiles of `among`, or of the whole grid, that overlap a tile: see TileIndex.find_neighbours.

    The index of the latest `among` is cached, so it is built once for a loop over all tiles of one tuple.
    """
    index = get_global_index() if among is None else _LATEST_INDEX.get_index(among)
    return index.find_neighbours(tile)


@lru_cache(maxsize=1)
def get_global_index() -> TileIndex:
    """Return the index of all 56,686 tiles; the first call takes one to two seconds."""
    return TileIndex(list_all_tiles())


class _LatestIndex:
    """Cache of one index, keyed by the identity of its tuple: comparing or hashing 20,000 tiles per call is slower."""

    def __init__(self) -> None:
        self._cached: tuple[tuple[Tile, ...], TileIndex] | None = None

    def get_index(self, tiles: tuple[Tile, ...]) -> TileIndex:
        cached = self._cached  # read once: another thread may replace it
        if cached is None or cached[0] is not tiles:
            cached = self._cached = (tiles, TileIndex(tiles))
        return cached[1]


_LATEST_INDEX: Final = _LatestIndex()


def build_footprint(zone: int, east: int, top: int) -> Polygon | MultiPolygon:
    """Build the WGS 84 outline of a tile; two parts if it crosses the antimeridian.

    Args:
        zone: UTM zone, 1 to 60.
        east: Easting of the tile's MGRS square in metres.
        top: Northing of the tile's upper edge in metres from the equator, negative in the south.
    """
    ring = _compute_relative_outline(east, top).copy()
    ring[:, 0] += zone * 6 - 183
    outline = Polygon(ring)
    west, _, east_most, _ = outline.bounds
    if west >= -180 and east_most <= 180:
        return outline
    shift = 360 if west < -180 else -360
    world = shapely.box(-180, -90, 180, 90)
    ring[:, 0] += shift
    moved = Polygon(ring)
    return MultiPolygon([cast(Polygon, part.intersection(world)) for part in (outline, moved)])  # both are convex


@lru_cache(maxsize=4096)
def _compute_relative_outline(east: int, top: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Compute the outline relative to the zone's central meridian, which is the same in all zones.

    Returns:
        Longitude from the central meridian and latitude in degrees, shape `(point, 2)`.
    """
    left = east // CORNER_SNAP_M * CORNER_SNAP_M
    steps = np.arange(_POINTS_PER_EDGE) * (TILE_SIZE_M / _POINTS_PER_EDGE)
    x = np.concatenate([left + steps, np.full(_POINTS_PER_EDGE, left + TILE_SIZE_M)])
    y = np.concatenate([np.full(_POINTS_PER_EDGE, top - TILE_SIZE_M), top - TILE_SIZE_M + steps])
    x = np.concatenate([x, 2 * left + TILE_SIZE_M - x])
    y = np.concatenate([y, 2 * top - TILE_SIZE_M - y])
    lon, lat = _get_utm_transformer().transform(x, y)
    return np.column_stack([np.asarray(lon) - 3, lat])


@lru_cache(maxsize=1)
def _get_utm_transformer() -> Transformer:
    """Return the transformer from UTM zone 31 north (central meridian 3 degrees east), also for negative northings."""
    return Transformer.from_crs(32631, 4326, always_xy=True)


def _build_tile(zone: int, row: int, column: int) -> Tile:
    epsg, false = (32600, 0) if row >= 0 else (32700, FALSE_NORTHING_M)
    name = mgrs_names.format_square_name(zone, row, column)
    return Tile(name, epsg + zone, column * SQUARE_SIZE_M, false + row * SQUARE_SIZE_M)


def parse_tiles(names: Sequence[str]) -> tuple[Tile, ...]:
    """Return the tiles with the given names, without duplicates, sorted by name."""
    return tuple(sorted({parse_tile(name) for name in names}))

"""The Sentinel-2 tiling grid: tiles, their pixel grids, their footprints, and which of them overlap."""

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

SIDE: Final = 109_800
"""Width and height of a tile in metres: a 100 km square and 9.8 km of overlap."""
SQUARE: Final = 100_000
SNAP: Final = 60
"""Corners lie at multiples of 60 m of easting, and of northing from the equator."""
FALSE_NORTHING: Final = 10_000_000
"""Added to northings in the south, so that they are positive."""

_EDGE_POINTS: Final = 16
"""Points along each edge of a footprint: chords of 6.9 km stray from the true edge by 2 m at 60 degrees of latitude, by
10 m at 84."""
_LEAST_OVERLAP: Final = 1e-8
"""Square degrees, about one 10 m pixel at the equator: less is rounding, not an overlap."""


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """A Sentinel-2 tile: UTM zone (EPSG) and south-west corner of its MGRS square, in metres."""

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
        """Left, bottom, right, top in the tile's UTM zone, metres.

        Snapping counts from the equator: in the south, northings are 10,000,000 minus a multiple of 60.
        """
        false = FALSE_NORTHING if self.epsg // 100 == 327 else 0
        left = self.east // SNAP * SNAP
        top = false + math.ceil((self.north - false + SQUARE) / SNAP) * SNAP
        return left, top - SIDE, left + SIDE, top

    def geobox(self, res: int = 10) -> GeoBox:
        """The tile's pixel grid, north up, pixels of `res` metres. Its outline is the same at every resolution."""
        if res <= 0 or SIDE % res:
            raise GridError(f"{self.name}: pixels of {res} m do not fill {SIDE} m; take 10, 20, 60 or 120")
        left, _, _, top = self.bounds
        return GeoBox((SIDE // res, SIDE // res), Affine(res, 0, left, 0, -res, top), f"EPSG:{self.epsg}")

    @property
    def footprint(self) -> Polygon | MultiPolygon:
        """Outline in WGS 84 longitude and latitude, densified; in two parts where it crosses the antimeridian."""
        return footprint_of(self.zone, self.east, self.bounds[3] - (FALSE_NORTHING if self.epsg >= 32700 else 0))


def tile(name: str) -> Tile:
    """The tile of that name, given as '33TWL' or 'T33TWL'; an unknown name is a GridError with near ones."""
    plain = name.strip().upper().removeprefix("T")
    square = mgrs_names.parse_square(plain)
    if square is None:
        near = suggestions(plain)
        remedy = f"did you mean {', '.join(near)}?" if near else "names look like 33TWL"
        raise GridError(f"there is no Sentinel-2 tile {name[:40]!r}; {remedy}")
    return _tile_of(*square)


def suggestions(name: str) -> list[str]:
    """Up to three tile names that resemble a wrong one."""
    padded = name[:8].zfill(5)
    near = [other for other in mgrs_names.all_names() if other[:2] == padded[:2]]
    return difflib.get_close_matches(padded, near, 3, 0.6)


@lru_cache(maxsize=1)
def all_tiles() -> tuple[Tile, ...]:
    """All 56,686 tiles, sorted by name."""
    return tuple(sorted(_tile_of(*square) for square in mgrs_names.squares()))


class TileIndex:
    """Tiles in a search tree on the sphere, so also across UTM zones, the equator and the antimeridian."""

    def __init__(self, tiles: Iterable[Tile]) -> None:
        self._tiles = tuple(sorted(set(tiles)))
        footprints = np.array([each.footprint for each in self._tiles], dtype=object)
        self._parts, self._owners = shapely.get_parts(footprints, return_index=True)
        self._tree = shapely.STRtree(self._parts)

    def overlapping(self, area: BaseGeometry) -> tuple[Tile, ...]:
        """The tiles that share area with a WGS 84 geometry, sorted by name; longitudes lie within -180 and 180.

        A common edge or a sliver below one pixel is no overlap. A point or line has no area: what it touches counts.
        """
        hits = self._tree.query(area, predicate="intersects")
        if area.area > 0:
            shared = shapely.area(shapely.intersection(self._parts[hits], area))
            hits = hits[shared > min(_LEAST_OVERLAP, area.area / 2)]
        return tuple(self._tiles[owner] for owner in sorted(set(self._owners[hits].tolist())))

    def neighbours(self, of: Tile) -> tuple[Tile, ...]:
        """The tiles that overlap a tile, sorted by name, without itself; `a` is one of `b`'s if `b` is one of `a`'s."""
        return tuple(other for other in self.overlapping(of.footprint) if other != of)

    def edges(self) -> dict[str, int]:
        """How many of the index's tiles overlap each one, by name: all at once, for 20,000 tiles in seconds."""
        one, other = self._tree.query(self._parts, predicate="intersects")
        pairs = self._owners[one] < self._owners[other]
        one, other = one[pairs], other[pairs]
        shared = shapely.area(shapely.intersection(self._parts[one], self._parts[other])) > _LEAST_OVERLAP
        met = np.unique(np.column_stack([self._owners[one[shared]], self._owners[other[shared]]]), axis=0)
        counts = np.bincount(met.ravel(), minlength=len(self._tiles))
        return {tile.name: int(count) for tile, count in zip(self._tiles, counts, strict=True)}


def neighbours(of: Tile, among: tuple[Tile, ...] | None = None) -> tuple[Tile, ...]:
    """The tiles of `among`, or of the whole grid, that overlap a tile: see TileIndex.neighbours.

    The index of the latest `among` is kept, so asking for all tiles of one tuple in turn builds it once.
    """
    return whole_grid().neighbours(of) if among is None else _LATEST.of(among).neighbours(of)


@lru_cache(maxsize=1)
def whole_grid() -> TileIndex:
    """All 56,686 tiles; a second or two when first asked for."""
    return TileIndex(all_tiles())


class _LatestIndex:
    """One index, kept with the very tuple it was made of: comparing or hashing 20,000 tiles each time costs more."""

    def __init__(self) -> None:
        self._kept: tuple[tuple[Tile, ...], TileIndex] | None = None

    def of(self, tiles: tuple[Tile, ...]) -> TileIndex:
        kept = self._kept  # one read: another thread may replace it
        if kept is None or kept[0] is not tiles:
            kept = self._kept = (tiles, TileIndex(tiles))
        return kept[1]


_LATEST: Final = _LatestIndex()


def footprint_of(zone: int, east: int, top: int) -> Polygon | MultiPolygon:
    """WGS 84 outline of a tile from its zone, its square's easting, and its top in metres from the equator."""
    ring = _ring(east, top).copy()
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
def _ring(east: int, top: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(point, 2) degrees of longitude from the zone's central meridian, and of latitude; the same in all zones."""
    left = east // SNAP * SNAP
    steps = np.arange(_EDGE_POINTS) * (SIDE / _EDGE_POINTS)
    x = np.concatenate([left + steps, np.full(_EDGE_POINTS, left + SIDE)])
    y = np.concatenate([np.full(_EDGE_POINTS, top - SIDE), top - SIDE + steps])
    x = np.concatenate([x, 2 * left + SIDE - x])
    y = np.concatenate([y, 2 * top - SIDE - y])
    lon, lat = _to_degrees().transform(x, y)
    return np.column_stack([np.asarray(lon) - 3, lat])


@lru_cache(maxsize=1)
def _to_degrees() -> Transformer:
    """From zone 31 north, whose central meridian is 3 degrees east; it takes negative northings as well."""
    return Transformer.from_crs(32631, 4326, always_xy=True)


def _tile_of(zone: int, row: int, column: int) -> Tile:
    epsg, false = (32600, 0) if row >= 0 else (32700, FALSE_NORTHING)
    name = mgrs_names.square_name(zone, row, column)
    return Tile(name, epsg + zone, column * SQUARE, false + row * SQUARE)


def by_name(names: Sequence[str]) -> tuple[Tile, ...]:
    """The tiles of those names, each once, sorted by name."""
    return tuple(sorted({tile(name) for name in names}))

"""The simulated ground: which kind of cover lies where, as a function of world metres alone.

The world's plane is a Mercator map scaled to true size at 45 degrees, so that a point has the same place whatever UTM
zone looks at it, and angles are true everywhere.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from s2ops.constants import Float32, Float64, UInt8
from s2ops.simulate.ground_types import CLASS_OF, Kind
from s2ops.simulate.noise import Points, UInt32, fbm, intervals, mix, unit, value_noise, voronoi
from s2ops.simulate.towns import build, towns

RADIUS: Final = 6_371_000.0 * np.cos(np.pi / 4)
"""Earth's radius times the scale that makes distances true at 45 degrees."""

SHORE: Final = -1.0
"""Height noise below which the sea lies: a sixth of the world."""

CUT: Final = -145.0
"""Longitude (degrees) where the plane is cut: open Pacific, so that the antimeridian is an ordinary place."""


def world_xy(lon: Float64, lat: Float64) -> tuple[Float64, Float64]:
    """Degrees -> world metres; same shape. Latitudes beyond 85 degrees share one line."""
    turned = (lon - CUT) % 360.0 + CUT
    angle = np.radians(np.clip(lat, -85.0, 85.0))
    return RADIUS * np.radians(turned), RADIUS * np.arcsinh(np.tan(angle))


def latitude(y: Float64) -> Float64:
    """World metres -> degrees of latitude."""
    out: Float64 = np.degrees(np.arctan(np.sinh(y / RADIUS)))
    return out


@dataclass(frozen=True)
class Climate:
    """Slow fields that decide what grows and who lives somewhere; each broadcastable to (y, x)."""

    latitude: Float32
    """Degrees."""
    arid: Float32
    """0 wet .. 1 desert."""
    woods: Float32
    """Threshold of the forest noise; lower is more forest."""
    people: Float32
    """Scale of the settlements' radii, 0..1.1."""


@dataclass(frozen=True)
class Ground:
    """The truth of a window, (y, x)."""

    kind: UInt8
    """Codes of `Kind`."""
    variety: Float32
    """0..1, one value a parcel, building or stand of trees."""
    timing: Float32
    """0..1, one value a parcel: how early it dries or is harvested."""
    climate: Climate

    @property
    def classes(self) -> UInt8:
        """Land-cover codes 1..6."""
        out: UInt8 = CLASS_OF[self.kind]
        return out


def climate(seed: int, at: Points) -> Climate:
    """The climate of each pixel: dry belts around 24 degrees, and a few hundred kilometres of luck."""
    lat = latitude(at.y).astype(np.float32)
    belt = np.exp(-(((np.abs(lat) - np.float32(24)) / np.float32(13)) ** 2))
    arid = np.clip(np.float32(0.75) * belt + np.float32(0.16) * fbm(seed + 1, at, 420e3, 2) + np.float32(0.06), 0, 1)
    luck = fbm(seed + 2, at, 70e3, 2)
    woods = np.float32(0.2) + np.float32(2.4) * np.maximum(arid - np.float32(0.2), 0) + np.float32(0.55) * luck
    people = np.clip(np.float32(0.85) + np.float32(0.25) * fbm(seed + 3, at, 90e3, 2) - 0.45 * arid, 0.02, 1.1)
    return Climate(lat, arid, woods, people.astype(np.float32))


@dataclass(frozen=True)
class _Land:
    """A window while it is being laid out; `kind` and `variety` are painted over in place."""

    seed: int
    at: Points
    air: Climate
    parcel: UInt32  # random bits of each field
    border: Float32  # metres to the field's border
    kind: UInt8
    variety: Float32


def ground(seed: int, at: Points) -> Ground:
    """The ground that a window sees; detail finer than `at.finest` metres is left out."""
    air = climate(seed, at)
    parcel, border = _parcels(seed + 20, at)
    land = _Land(seed, at, air, parcel, border, _open_land(parcel, air), unit(parcel, 0))
    height = fbm(seed + 5, at, 80e3, 9, gain=0.48)
    _plant(land)
    _raise_mountains(land, height)
    _settle(land)
    _flood(land, height)
    return Ground(land.kind, land.variety, unit(parcel, 1), air)


def _parcels(seed: int, at: Points) -> tuple[UInt32, Float32]:
    """Fields: districts with one direction and field size each, cut into strips, strips cut into fields.

    Returns each field's random bits, and the distance to its border in metres. Sizes are constant in a district:
    world metres are large, so dividing them by anything that varies would shear the fields.
    """
    district = voronoi(seed, at, 2600.0)
    u, v = at.turned((unit(district, 0) * np.float32(np.pi)).astype(np.float64))
    size = 80 + 280 * unit(district, 1) ** 2
    length = size * (1 + 1.3 * unit(district, 2))
    own = district.astype(np.int64)
    strip, du = intervals(seed + 1, own, u / size)
    field, dv = intervals(seed + 2, own + strip, v / length)
    return mix(seed + 3, field, own + strip), np.minimum(du * size, dv * length).astype(np.float32)


def _open_land(parcel: UInt32, air: Climate) -> UInt8:
    """Fields, meadows, bare soil; in dry land steppe and desert."""
    use = unit(parcel, 2)
    kind = np.full(parcel.shape, Kind.CROP, np.uint8)
    np.copyto(kind, np.uint8(Kind.MEADOW), where=use < np.float32(0.36))
    np.copyto(kind, np.uint8(Kind.SOIL), where=use > np.float32(0.84) - np.float32(0.4) * air.arid)
    dry = air.arid - np.float32(0.42)
    np.copyto(kind, np.uint8(Kind.STEPPE), where=use < np.float32(2.6) * dry)
    np.copyto(kind, np.uint8(Kind.DESERT), where=use < np.float32(3.0) * (dry - np.float32(0.2)))
    return kind


def _plant(land: _Land) -> None:
    """Forests with ragged and straight edges, hedges, scrub in dry land; quarries at the edge of woods."""
    seed, at, air = land.seed, land.at, land.air
    density = fbm(seed + 6, at, 5200.0, 8, gain=0.6) - air.woods
    density += np.float32(0.5) * (unit(land.parcel, 1) - np.float32(0.5))
    stand = value_noise(seed + 7, at, 3100.0) + np.float32(0.012) * (np.abs(air.latitude) - np.float32(44))
    trees = np.where(stand > np.float32(0.12), np.uint8(Kind.CONIFER), np.uint8(Kind.BROADLEAF))
    np.copyto(trees, np.uint8(Kind.SHRUB), where=(air.arid > np.float32(0.36)) & (stand < np.float32(0.3)))
    chance = unit(land.parcel, 0)
    hedge = (land.border < np.float32(7)) & (chance < np.float32(0.3) - np.float32(0.3) * air.arid)
    np.copyto(land.kind, trees, where=(density > 0) | hedge)
    pit = (np.abs(density) < np.float32(0.2)) & (chance > np.float32(0.985))
    np.copyto(land.kind, np.uint8(Kind.QUARRY), where=pit)


def _raise_mountains(land: _Land, height: Float32) -> None:
    """Meadows above the tree line and bare rock on the tops."""
    if float(height.max()) < 1.3:
        return
    top = height + np.float32(0.18) * fbm(land.seed + 8, land.at, 1900.0, 6)
    np.copyto(land.kind, np.uint8(Kind.MEADOW), where=top > np.float32(1.75))
    np.copyto(land.kind, np.uint8(Kind.ROCK), where=top > np.float32(1.95))


def _settle(land: _Land) -> None:
    """Towns over the fields, and the roads between them (contour lines of a slow noise)."""
    seed, at = land.seed, land.at
    way = np.abs(value_noise(seed + 9, at, 9000.0) + np.float32(0.12) * value_noise(seed + 10, at, 1700.0))
    np.copyto(land.kind, np.uint8(Kind.ROAD), where=(way < np.float32(0.0026)) & (land.air.people > np.float32(0.4)))
    near = towns(seed, at, land.air.people)
    ragged = np.float32(1) + np.float32(0.4) * value_noise(seed + 15, at, 700.0)
    ragged += np.float32(0.45) * value_noise(seed + 16, at, 190.0)
    inside = near.edge < ragged
    if inside.any():
        x, y = (np.broadcast_to(each, inside.shape)[inside] for each in (at.x, at.y))
        kind, variety = build(seed, Points(x, y, at.finest), near.edge[inside], near.bits[inside])
        land.kind[inside], land.variety[inside] = kind, variety


def _flood(land: _Land, height: Float32) -> None:
    """Rivers, lakes, beaches and the sea, over everything else."""
    seed, at, arid = land.seed, land.at, land.air.arid
    bed = fbm(seed + 17, at, 26e3, 7, gain=0.42)
    broad = np.exp(np.float32(0.8) * value_noise(seed + 18, at, 60e3)) * (1 - np.float32(0.6) * arid)
    np.copyto(land.kind, np.uint8(Kind.RIVER), where=np.abs(bed) < np.float32(0.009) * broad)
    basin = fbm(seed + 19, at, 8e3, 6, gain=0.45)
    np.copyto(land.kind, np.uint8(Kind.LAKE), where=basin > np.float32(2.15) + np.float32(0.9) * arid)
    waters = (land.kind == Kind.RIVER) | (land.kind == Kind.LAKE)
    # one colour a water body, not one a field under it
    np.copyto(land.variety, np.float32(0.5) + np.float32(0.5) * value_noise(seed + 22, at, 7e3), where=waters)
    if float(height.min()) > SHORE + 0.1:
        return
    beach = height < np.float32(SHORE + 0.015) + np.float32(0.012) * value_noise(seed + 21, at, 2500.0)
    np.copyto(land.kind, np.uint8(Kind.SAND), where=beach)
    sea = height < np.float32(SHORE)
    np.copyto(land.kind, np.uint8(Kind.SEA), where=sea)
    # water near the shore is brighter: variety stands for shallowness
    np.copyto(land.variety, np.exp(np.float32(9) * (height - np.float32(SHORE))), where=sea)

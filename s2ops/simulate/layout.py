"""The simulated ground: which kind of cover lies where, as a function of world metres alone.

The world's plane is a Mercator map scaled to true size at 45 degrees, so that a point has the same place whatever UTM zone
looks at it, and angles are true everywhere.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from s2ops.codes import Float32, Float64, UInt8
from s2ops.simulate.kinds import CLASS_OF, Kind
from s2ops.simulate.noise import UInt32, fbm, intervals, mix, unit, value_noise, voronoi
from s2ops.simulate.town import build, towns

RADIUS: Final = 6_371_000.0 * np.cos(np.pi / 4)
"""Earth's radius times the scale that makes distances true at 45 degrees."""

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


def climate(seed: int, x: Float64, y: Float64) -> Climate:
    """The climate of each pixel: dry belts around 24 degrees, and a few hundred kilometres of weather luck."""
    lat = latitude(y).astype(np.float32)
    belt = np.exp(-(((np.abs(lat) - np.float32(24)) / np.float32(13)) ** 2))
    arid = np.clip(np.float32(0.75) * belt + np.float32(0.16) * fbm(seed + 1, x, y, 420e3, 2) + np.float32(0.06), 0, 1)
    luck = fbm(seed + 2, x, y, 70e3, 2)
    woods = np.float32(-0.1) + np.float32(2.6) * np.maximum(arid - np.float32(0.2), 0) + np.float32(0.55) * luck
    people = np.clip(np.float32(0.8) + np.float32(0.25) * fbm(seed + 3, x, y, 90e3, 2) - 0.45 * arid, 0.02, 1.1)
    return Climate(lat, arid, woods, people.astype(np.float32))


def ground(seed: int, x: Float64, y: Float64, finest: float) -> Ground:
    """The ground at world metres `x`, `y` (broadcastable to (y, x)); detail finer than `finest` metres is left out."""
    air = climate(seed, x, y)
    parcel, border = _parcels(seed + 20, x, y, air)
    variety, timing = unit(parcel, 0), unit(parcel, 1)
    height = fbm(seed + 5, x, y, 80e3, 9, gain=0.48, finest=finest)
    kind = _open_land(parcel, air)
    _plant(kind, seed, x, y, finest, air, parcel, border)
    _mountains(kind, height, seed, x, y, finest)
    _settle(kind, variety, seed, x, y, air)
    _flood(kind, variety, height, seed, x, y, finest, air)
    return Ground(kind, variety, timing, air)


def _parcels(seed: int, x: Float64, y: Float64, air: Climate) -> tuple[UInt32, Float32]:
    """Fields: districts with one direction and field size each, cut into strips, strips cut into fields.

    Returns each field's random bits, and the distance to its border in metres.
    """
    district = voronoi(seed, x, y, 2600.0)
    angle = (unit(district, 0) * np.float32(np.pi)).astype(np.float64)
    size = (80 + 260 * unit(district, 1) ** 2) * (1 + air.arid)
    length = size * (1 + 1.3 * unit(district, 2))
    u = (x * np.cos(angle) + y * np.sin(angle)) / size
    v = (y * np.cos(angle) - x * np.sin(angle)) / length
    own = district.astype(np.int64)
    strip, du = intervals(seed + 1, own, u)
    field, dv = intervals(seed + 2, own + strip, v)
    return mix(seed + 3, field, own + strip), np.minimum(du * size, dv * length).astype(np.float32)


def _open_land(parcel: UInt32, air: Climate) -> UInt8:
    """Fields, meadows, bare soil; in dry land steppe and desert."""
    use = unit(parcel, 2)
    kind = np.full(parcel.shape, Kind.CROP, np.uint8)
    np.copyto(kind, np.uint8(Kind.MEADOW), where=use < np.float32(0.36))
    np.copyto(kind, np.uint8(Kind.SOIL), where=use > np.float32(0.84) - np.float32(0.4) * air.arid)
    dry = air.arid - np.float32(0.42)
    np.copyto(kind, np.uint8(Kind.STEPPE), where=(use < np.float32(2.6) * dry))
    np.copyto(kind, np.uint8(Kind.DESERT), where=(use < np.float32(3.0) * (dry - np.float32(0.2))))
    return kind


def _plant(
    kind: UInt8, seed: int, x: Float64, y: Float64, finest: float, air: Climate, parcel: UInt32, border: Float32
) -> None:
    """Forests with ragged and straight edges, hedges, scattered trees in dry land."""
    density = fbm(seed + 6, x, y, 5200.0, 8, gain=0.55, finest=finest)
    density += np.float32(0.5) * (unit(parcel, 1) - np.float32(0.5))
    stand = value_noise(seed + 7, x, y, 3100.0) + np.float32(0.012) * (np.abs(air.latitude) - np.float32(44))
    trees = np.where(stand > np.float32(0.12), np.uint8(Kind.CONIFER), np.uint8(Kind.BROADLEAF))
    np.copyto(trees, np.uint8(Kind.SHRUB), where=(air.arid > np.float32(0.36)) & (stand < np.float32(0.3)))
    wooded = density > air.woods
    hedge = (border < np.float32(7)) & (unit(parcel, 0) < np.float32(0.3) - np.float32(0.3) * air.arid)
    np.copyto(kind, trees, where=wooded | hedge)
    # quarries are rare parcels at the edge of woods
    pit = (np.abs(density - air.woods) < np.float32(0.2)) & (unit(parcel, 0) > np.float32(0.985))
    np.copyto(kind, np.uint8(Kind.QUARRY), where=pit)


def _mountains(kind: UInt8, height: Float32, seed: int, x: Float64, y: Float64, finest: float) -> None:
    """Meadows above the tree line and bare rock on the tops."""
    if float(height.max()) < 1.4:
        return
    top = height + np.float32(0.18) * fbm(seed + 8, x, y, 1900.0, 6, finest=finest)
    np.copyto(kind, np.uint8(Kind.MEADOW), where=top > np.float32(1.85))
    np.copyto(kind, np.uint8(Kind.ROCK), where=top > np.float32(2.1))


def _settle(kind: UInt8, variety: Float32, seed: int, x: Float64, y: Float64, air: Climate) -> None:
    """Towns over the fields, and the roads between them (contour lines of a slow noise)."""
    way = np.abs(value_noise(seed + 9, x, y, 9000.0) + np.float32(0.12) * value_noise(seed + 10, x, y, 1700.0))
    np.copyto(kind, np.uint8(Kind.ROAD), where=(way < np.float32(0.0026)) & (air.people > np.float32(0.4)))
    near = towns(seed, x, y, air.people)
    ragged = np.float32(1) + np.float32(0.35) * value_noise(seed + 15, x, y, 700.0)
    ragged += np.float32(0.2) * value_noise(seed + 16, x, y, 230.0)
    inside = near.edge < ragged
    if not inside.any():
        return
    shape = kind.shape
    px, py = np.broadcast_to(x, shape)[inside], np.broadcast_to(y, shape)[inside]
    kind[inside], variety[inside] = build(seed, px, py, near.edge[inside], near.bits[inside])


def _flood(
    kind: UInt8, variety: Float32, height: Float32, seed: int, x: Float64, y: Float64, finest: float, air: Climate
) -> None:
    """Rivers, lakes, beaches and the sea, over everything else."""
    bed = fbm(seed + 17, x, y, 26e3, 7, gain=0.42, finest=finest)
    broad = np.exp(np.float32(0.8) * value_noise(seed + 18, x, y, 60e3)) * (1 - np.float32(0.6) * air.arid)
    np.copyto(kind, np.uint8(Kind.RIVER), where=np.abs(bed) < np.float32(0.009) * broad)
    basin = fbm(seed + 19, x, y, 8e3, 6, gain=0.45, finest=finest)
    lake = basin > np.float32(2.15) + np.float32(0.9) * air.arid
    np.copyto(kind, np.uint8(Kind.LAKE), where=lake)
    if float(height.min()) > -0.9:
        return
    sea = height < np.float32(-1.0)
    beach = ~sea & (height < np.float32(-0.985) + np.float32(0.012) * value_noise(seed + 21, x, y, 2500.0))
    np.copyto(kind, np.uint8(Kind.SAND), where=beach)
    np.copyto(kind, np.uint8(Kind.SEA), where=sea)
    # water near the shore is brighter: variety stands for shallowness
    np.copyto(variety, np.exp(np.float32(9) * (height + np.float32(1.0))), where=sea)

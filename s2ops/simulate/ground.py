"""Simulated ground (terrain and land cover): ground type of each point as a function of world metres alone.

The world's plane is a Mercator map scaled to true size at 45 degrees. A point has the same position in every UTM zone,
and angles are true everywhere.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from s2ops.constants import Float32, Float64, UInt8
from s2ops.simulate.ground_types import LAND_COVER_CODES, GroundType
from s2ops.simulate.noise import (
    SamplePoints,
    UInt32,
    compute_fbm,
    compute_value_noise,
    compute_voronoi,
    find_intervals,
    hash_cells,
    to_unit,
)
from s2ops.simulate.towns import build_town, find_towns

WORLD_RADIUS_M: Final = 6_371_000.0 * np.cos(np.pi / 4)
"""Earth's radius in metres, scaled so that distances are true at 45 degrees."""

SEA_LEVEL: Final = -1.0
"""Value of the height noise below which there is sea: a sixth of the world."""

CUT_LONGITUDE_DEG: Final = -145.0
"""Longitude at which the plane is cut: open Pacific, so that the antimeridian is no special place."""


def project_to_world(lon: Float64, lat: Float64) -> tuple[Float64, Float64]:
    """Project degrees to world metres, same shape; latitudes beyond 85 degrees are clipped."""
    turned = (lon - CUT_LONGITUDE_DEG) % 360.0 + CUT_LONGITUDE_DEG
    angle = np.radians(np.clip(lat, -85.0, 85.0))
    return WORLD_RADIUS_M * np.radians(turned), WORLD_RADIUS_M * np.arcsinh(np.tan(angle))


def compute_latitude(y: Float64) -> Float64:
    """Compute degrees of latitude from world metres."""
    out: Float64 = np.degrees(np.arctan(np.sinh(y / WORLD_RADIUS_M)))
    return out


@dataclass(frozen=True)
class Climate:
    """Climate: slowly varying fields that control vegetation and settlement, each broadcastable to (y, x)."""

    latitude: Float32
    """Degrees."""
    arid: Float32
    """Aridity from 0 (wet) to 1 (desert)."""
    woods: Float32
    """Threshold of the forest noise; a lower one gives more forest."""
    people: Float32
    """Scale of the radii of settlements, 0 to 1.1."""


@dataclass(frozen=True)
class Ground:
    """True ground of a window, arrays (y, x)."""

    kind: UInt8
    """Codes of `GroundType`."""
    variety: Float32
    """Value from 0 to 1, constant per parcel, building or stand of trees."""
    timing: Float32
    """Value from 0 to 1, constant per parcel: time at which it dries or is harvested."""
    climate: Climate

    @property
    def classes(self) -> UInt8:
        """Land-cover codes 1..6."""
        out: UInt8 = LAND_COVER_CODES[self.kind]
        return out


def compute_climate(seed: int, at: SamplePoints) -> Climate:
    """Compute the climate: dry belts around 24 degrees, and random variation over a few hundred kilometres."""
    lat = compute_latitude(at.y).astype(np.float32)
    belt = np.exp(-(((np.abs(lat) - np.float32(24)) / np.float32(13)) ** 2))
    arid = np.clip(
        np.float32(0.75) * belt + np.float32(0.16) * compute_fbm(seed + 1, at, 420e3, 2) + np.float32(0.06), 0, 1
    )
    luck = compute_fbm(seed + 2, at, 70e3, 2)
    woods = np.float32(0.2) + np.float32(2.4) * np.maximum(arid - np.float32(0.2), 0) + np.float32(0.55) * luck
    people = np.clip(np.float32(0.85) + np.float32(0.25) * compute_fbm(seed + 3, at, 90e3, 2) - 0.45 * arid, 0.02, 1.1)
    return Climate(lat, arid, woods, people.astype(np.float32))


@dataclass(frozen=True)
class _Land:
    """Window under construction; `kind` and `variety` are overwritten in place."""

    seed: int
    at: SamplePoints
    air: Climate
    parcel: UInt32  # random bits of each field
    border: Float32  # metres to the border of the field
    kind: UInt8
    variety: Float32


def simulate_ground(seed: int, at: SamplePoints) -> Ground:
    """Simulate the ground of a window; detail finer than `at.finest` metres is left out."""
    air = compute_climate(seed, at)
    parcel, border = _divide_parcels(seed + 20, at)
    land = _Land(seed, at, air, parcel, border, _choose_open_land(parcel, air), to_unit(parcel, 0))
    height = compute_fbm(seed + 5, at, 80e3, 9, gain=0.48)
    _add_forests(land)
    _raise_mountains(land, height)
    _settle(land)
    _add_waters(land, height)
    return Ground(land.kind, land.variety, to_unit(parcel, 1), air)


def _divide_parcels(seed: int, at: SamplePoints) -> tuple[UInt32, Float32]:
    """Divide the land into fields: districts have one direction and field size, and are cut into strips and fields.

    Sizes are constant in a district: world metres are large, so that division by a varying size would shear the fields.

    Returns:
        Random bits of each field, and distance to its border in metres, (y, x).
    """
    district = compute_voronoi(seed, at, 2600.0)
    u, v = at.rotate((to_unit(district, 0) * np.float32(np.pi)).astype(np.float64))
    size = 80 + 280 * to_unit(district, 1) ** 2
    length = size * (1 + 1.3 * to_unit(district, 2))
    own = district.astype(np.int64)
    strip, du = find_intervals(seed + 1, own, u / size)
    field, dv = find_intervals(seed + 2, own + strip, v / length)
    return hash_cells(seed + 3, field, own + strip), np.minimum(du * size, dv * length).astype(np.float32)


def _choose_open_land(parcel: UInt32, air: Climate) -> UInt8:
    """Choose the type of open land: crops, meadows and bare soil; in dry land steppe and desert."""
    use = to_unit(parcel, 2)
    kind = np.full(parcel.shape, GroundType.CROP, np.uint8)
    np.copyto(kind, np.uint8(GroundType.MEADOW), where=use < np.float32(0.36))
    np.copyto(kind, np.uint8(GroundType.SOIL), where=use > np.float32(0.84) - np.float32(0.4) * air.arid)
    dry = air.arid - np.float32(0.42)
    np.copyto(kind, np.uint8(GroundType.STEPPE), where=use < np.float32(2.6) * dry)
    np.copyto(kind, np.uint8(GroundType.DESERT), where=use < np.float32(3.0) * (dry - np.float32(0.2)))
    return kind


def _add_forests(land: _Land) -> None:
    """Add forests with ragged and straight edges, hedges, scrub in dry land, and quarries at forest edges."""
    seed, at, air = land.seed, land.at, land.air
    density = compute_fbm(seed + 6, at, 5200.0, 8, gain=0.6) - air.woods
    density += np.float32(0.5) * (to_unit(land.parcel, 1) - np.float32(0.5))
    stand = compute_value_noise(seed + 7, at, 3100.0) + np.float32(0.012) * (np.abs(air.latitude) - np.float32(44))
    trees = np.where(stand > np.float32(0.12), np.uint8(GroundType.CONIFER), np.uint8(GroundType.BROADLEAF))
    np.copyto(trees, np.uint8(GroundType.SHRUB), where=(air.arid > np.float32(0.36)) & (stand < np.float32(0.3)))
    chance = to_unit(land.parcel, 0)
    hedge = (land.border < np.float32(7)) & (chance < np.float32(0.3) - np.float32(0.3) * air.arid)
    np.copyto(land.kind, trees, where=(density > 0) | hedge)
    pit = (np.abs(density) < np.float32(0.2)) & (chance > np.float32(0.985))
    np.copyto(land.kind, np.uint8(GroundType.QUARRY), where=pit)


def _raise_mountains(land: _Land, height: Float32) -> None:
    """Raise mountains: meadows above the tree line and bare rock on the tops."""
    if float(height.max()) < 1.3:
        return
    top = height + np.float32(0.18) * compute_fbm(land.seed + 8, land.at, 1900.0, 6)
    np.copyto(land.kind, np.uint8(GroundType.MEADOW), where=top > np.float32(1.75))
    np.copyto(land.kind, np.uint8(GroundType.ROCK), where=top > np.float32(1.95))


def _settle(land: _Land) -> None:
    """Settle the land: towns, and roads between them (contour lines of a slow noise)."""
    seed, at = land.seed, land.at
    way = np.abs(
        compute_value_noise(seed + 9, at, 9000.0) + np.float32(0.12) * compute_value_noise(seed + 10, at, 1700.0)
    )
    np.copyto(
        land.kind, np.uint8(GroundType.ROAD), where=(way < np.float32(0.0026)) & (land.air.people > np.float32(0.4))
    )
    near = find_towns(seed, at, land.air.people)
    ragged = np.float32(1) + np.float32(0.4) * compute_value_noise(seed + 15, at, 700.0)
    ragged += np.float32(0.45) * compute_value_noise(seed + 16, at, 190.0)
    inside = near.edge < ragged
    if inside.any():
        x, y = (np.broadcast_to(each, inside.shape)[inside] for each in (at.x, at.y))
        kind, variety = build_town(seed, SamplePoints(x, y, at.finest), near.edge[inside], near.bits[inside])
        land.kind[inside], land.variety[inside] = kind, variety


def _add_waters(land: _Land, height: Float32) -> None:
    """Add rivers, lakes, beaches and the sea, which replace everything else."""
    seed, at, arid = land.seed, land.at, land.air.arid
    bed = compute_fbm(seed + 17, at, 26e3, 7, gain=0.42)
    broad = np.exp(np.float32(0.8) * compute_value_noise(seed + 18, at, 60e3)) * (1 - np.float32(0.6) * arid)
    np.copyto(land.kind, np.uint8(GroundType.RIVER), where=np.abs(bed) < np.float32(0.009) * broad)
    basin = compute_fbm(seed + 19, at, 8e3, 6, gain=0.45)
    np.copyto(land.kind, np.uint8(GroundType.LAKE), where=basin > np.float32(2.15) + np.float32(0.9) * arid)
    waters = (land.kind == GroundType.RIVER) | (land.kind == GroundType.LAKE)
    # one colour per water body, instead of one per field below it
    np.copyto(land.variety, np.float32(0.5) + np.float32(0.5) * compute_value_noise(seed + 22, at, 7e3), where=waters)
    if float(height.min()) > SEA_LEVEL + 0.1:
        return
    beach = height < np.float32(SEA_LEVEL + 0.015) + np.float32(0.012) * compute_value_noise(seed + 21, at, 2500.0)
    np.copyto(land.kind, np.uint8(GroundType.SAND), where=beach)
    sea = height < np.float32(SEA_LEVEL)
    np.copyto(land.kind, np.uint8(GroundType.SEA), where=sea)
    # water near the shore is brighter: variety means shallowness here
    np.copyto(land.variety, np.exp(np.float32(9) * (height - np.float32(SEA_LEVEL))), where=sea)

"""How many scenes a tile may be expected to have, where no catalog was asked: orbits, sunlight, and a table of clouds.

A model: it knows no weather, no failed acquisition and no rule of ESA's about which sea is imaged. The plan says so
beside its figures, and `--search` asks the catalog instead.
"""

from dataclasses import dataclass
from datetime import date
from math import asin, cos, degrees, radians, sin
from typing import Final

import numpy as np

from s2ops.constants import Float64
from s2ops.runtime.lazy_scipy import special

SATELLITES: Final = 2
"""In regular operation over most of the years since 2017; a third flew at times."""
REPEAT_DAYS: Final = 10
ORBITS: Final = 143
"""Ground tracks of a repeat cycle."""
INCLINATION: Final = 98.62
SWATH_KM: Final = 290.0
EQUATOR_KM: Final = 40_075.0
TILE_KM: Final = 109.8
LOWEST_SUN: Final = 8.0
"""Degrees of elevation: with less, no image is taken (zenith angles beyond 82 degrees)."""
PASS_HOUR: Final = 10.5
"""Local solar time of the descending pass."""

CLOUD: Final = (
    (0, 0.65),
    (10, 0.60),
    (20, 0.40),
    (30, 0.38),
    (40, 0.52),
    (50, 0.62),
    (60, 0.66),
    (70, 0.68),
    (84, 0.70),
)
"""(degrees of latitude, mean cloud cover over land), linear between: our reading of the zonal means over land of a
decade of MODIS (King et al. 2013: 55 % over all land, most in the inner tropics and from 50 degrees on, least in the
belts of deserts). A year's mean: seasons are not in it."""

SPREAD: Final = 0.9
"""Sum of the two parameters of the beta distribution of a scene's cover: below 2 most scenes are mostly clear or mostly
cloudy, as real ones are (Zagreb, August 2023: 0.2, 0.4, 0.9, 17, 71 %)."""


@dataclass(frozen=True, slots=True)
class Sight:
    """One scene as far as it is known before it is looked at."""

    cloud: float
    """Part of what is seen, 0 to 1."""
    nodata: float
    """Part of the tile outside the swath, 0 to 1."""

    @property
    def clear(self) -> float:
        """Part of the tile seen clear."""
        return (1 - self.cloud) * (1 - self.nodata)


def sights(lat: float, start: date, end: date, max_cloud: float) -> tuple[Sight, ...]:
    """The scenes of a tile at that latitude in those days with at most `max_cloud` percent cloud, an expectation.

    Their cover is spread over the distribution's quantiles; each in turn is of one of the orbits that touch the tile.
    """
    days = np.arange(start.toordinal(), end.toordinal() + 1)
    lit = float(np.mean([sun_elevation(lat, date.fromordinal(int(day))) >= LOWEST_SUN for day in days[::5]]))
    passes = len(days) * lit * SATELLITES / REPEAT_DAYS * orbits(lat)
    mean = mean_cloud(lat)
    shape = SPREAD * mean, SPREAD * (1 - mean)
    part = float(special.betainc(*shape, max_cloud / 100))
    count = round(passes * part)
    quantiles: Float64 = (np.arange(count) + 0.5) / max(count, 1) * part
    outside = _outside(lat)
    clouds = special.betaincinv(*shape, quantiles)
    return tuple(Sight(float(cloud), outside[n % len(outside)]) for n, cloud in enumerate(clouds))


def orbits(lat: float) -> float:
    """Ground tracks of a repeat cycle whose swath touches a tile at that latitude, on average."""
    return min((_swath_km(lat) + TILE_KM) / _spacing_km(lat), ORBITS / 2)


def mean_cloud(lat: float) -> float:
    """Mean cloud cover over land, 0 to 1."""
    at, cover = zip(*CLOUD, strict=True)
    return float(np.interp(abs(lat), at, cover))


def sun_elevation(lat: float, day: date) -> float:
    """Degrees above the horizon when the satellite passes."""
    declination = radians(-23.44 * cos(2 * np.pi * (day.timetuple().tm_yday + 10) / 365.25))
    hour = radians(15 * (PASS_HOUR - 12))
    phi = radians(lat)
    return degrees(asin(sin(phi) * sin(declination) + cos(phi) * cos(declination) * cos(hour)))


def _spacing_km(lat: float) -> float:
    """Between neighbouring ground tracks, along the parallel."""
    return EQUATOR_KM / ORBITS * max(cos(radians(lat)), 0.05)


def _swath_km(lat: float) -> float:
    """Width of the swath along the parallel: it is oblique to the meridian by the track's heading."""
    most = abs(cos(radians(INCLINATION)))
    heading = asin(min(most / max(cos(radians(lat)), most), 0.95))
    return SWATH_KM / cos(heading)


def _outside(lat: float) -> tuple[float, ...]:
    """Parts of the tile outside the swath, for orbits spread evenly over the ways to touch it: the best seen first.

    A swath's edge lies anywhere within reach of the tile with the same chance, so what is seen grows linearly from
    none to all over a tile's width on each side.
    """
    whole = (_swath_km(lat) - TILE_KM) / (_swath_km(lat) + TILE_KM)
    count = max(round(orbits(lat)), 1)
    at = (np.arange(count) + 0.5) / count
    seen = np.where(at <= whole, 1.0, 1 - (at - whole) / (1 - whole))
    return tuple((1 - seen).tolist())

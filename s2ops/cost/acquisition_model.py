"""Acquisition model: expected scenes of a tile from orbits, sunlight and mean cloud cover, without a catalog search.

The model does not include weather, failed acquisitions, or ESA's rules on which seas are imaged. The plan states that
its numbers are modelled; `--search` queries the catalog instead.
"""

from dataclasses import dataclass
from datetime import date
from math import asin, cos, degrees, radians, sin
from typing import Final

import numpy as np
import scipy

from s2ops.constants import Float64

SATELLITE_COUNT: Final = 2
"""Satellites in regular operation during most years since 2017; at times there was a third."""
REPEAT_CYCLE_DAYS: Final = 10
ORBITS_PER_CYCLE: Final = 143
"""Ground tracks (relative orbits) per repeat cycle."""
INCLINATION_DEGREES: Final = 98.62
SWATH_WIDTH_KM: Final = 290.0
EQUATOR_LENGTH_KM: Final = 40_075.0
TILE_SIZE_KM: Final = 109.8
MIN_SUN_ELEVATION_DEGREES: Final = 8.0
"""Minimum sun elevation for an acquisition: no images are taken at zenith angles beyond 82 degrees."""
OVERPASS_SOLAR_HOUR: Final = 10.5
"""Local solar time of the descending pass in hours."""

MEAN_CLOUD_BY_LATITUDE: Final = (
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
"""(latitude in degrees, mean cloud cover over land, 0 to 1), with linear interpolation between. Read from zonal means
over land of ten years of MODIS (King et al. 2013: 55 % over all land, highest in the inner tropics and above 50
degrees, lowest in the desert belts). Annual means, without seasons."""

CLOUD_BETA_CONCENTRATION: Final = 0.9
"""Sum of the two parameters of the beta distribution of a scene's cloud cover. Below 2, most scenes are mostly clear or
mostly cloudy, as real scenes are (Zagreb, August 2023: 0.2, 0.4, 0.9, 17, 71 %)."""


@dataclass(frozen=True, slots=True)
class ExpectedScene:
    """Scene as it is known before its preview is read: cloud cover and nodata fraction."""

    cloud: float
    """Cloud fraction of the imaged part, 0 to 1."""
    nodata: float
    """Fraction of the tile outside the swath, 0 to 1."""

    @property
    def clear(self) -> float:
        """Fraction of the tile that is imaged without clouds, 0 to 1."""
        return (1 - self.cloud) * (1 - self.nodata)


def predict_scenes(lat: float, start: date, end: date, max_cloud: float) -> tuple[ExpectedScene, ...]:
    """Predict the scenes of a tile.

    Cloud cover is sampled at evenly spaced quantiles of its distribution. Scenes alternate between the orbits that
    touch the tile.

    Args:
        lat: Latitude of the tile in degrees.
        start: First day.
        end: Last day, inclusive.
        max_cloud: Maximum cloud cover of a scene in percent.
    """
    days = np.arange(start.toordinal(), end.toordinal() + 1)
    lit = float(
        np.mean(
            [compute_sun_elevation(lat, date.fromordinal(int(day))) >= MIN_SUN_ELEVATION_DEGREES for day in days[::5]]
        )
    )
    passes = len(days) * lit * SATELLITE_COUNT / REPEAT_CYCLE_DAYS * compute_orbit_count(lat)
    mean = interpolate_mean_cloud(lat)
    shape = CLOUD_BETA_CONCENTRATION * mean, CLOUD_BETA_CONCENTRATION * (1 - mean)
    part = float(scipy.special.betainc(*shape, max_cloud / 100))
    count = round(passes * part)
    quantiles: Float64 = (np.arange(count) + 0.5) / max(count, 1) * part
    outside = _compute_nodata_fractions(lat)
    clouds = scipy.special.betaincinv(*shape, quantiles)
    return tuple(ExpectedScene(float(cloud), outside[n % len(outside)]) for n, cloud in enumerate(clouds))


def compute_orbit_count(lat: float) -> float:
    """Compute the mean number of orbits per repeat cycle whose swath touches a tile at a latitude in degrees."""
    return min((_compute_swath_width_km(lat) + TILE_SIZE_KM) / _compute_track_spacing_km(lat), ORBITS_PER_CYCLE / 2)


def interpolate_mean_cloud(lat: float) -> float:
    """Interpolate the mean cloud cover over land (0 to 1) at a latitude in degrees."""
    at, cover = zip(*MEAN_CLOUD_BY_LATITUDE, strict=True)
    return float(np.interp(abs(lat), at, cover))


def compute_sun_elevation(lat: float, day: date) -> float:
    """Compute the sun elevation in degrees at the satellite overpass."""
    declination = radians(-23.44 * cos(2 * np.pi * (day.timetuple().tm_yday + 10) / 365.25))
    hour = radians(15 * (OVERPASS_SOLAR_HOUR - 12))
    phi = radians(lat)
    return degrees(asin(sin(phi) * sin(declination) + cos(phi) * cos(declination) * cos(hour)))


def _compute_track_spacing_km(lat: float) -> float:
    """Compute the distance in km between neighbouring ground tracks along the parallel."""
    return EQUATOR_LENGTH_KM / ORBITS_PER_CYCLE * max(cos(radians(lat)), 0.05)


def _compute_swath_width_km(lat: float) -> float:
    """Compute the width of the swath in km along the parallel; the ground track is oblique to the meridian."""
    most = abs(cos(radians(INCLINATION_DEGREES)))
    heading = asin(min(most / max(cos(radians(lat)), most), 0.95))
    return SWATH_WIDTH_KM / cos(heading)


def _compute_nodata_fractions(lat: float) -> tuple[float, ...]:
    """Compute the fraction of the tile outside the swath (0 to 1) per orbit that touches it, in ascending order.

    The position of the swath's edge is uniformly distributed. So the imaged fraction increases linearly from 0 to 1
    over the width of a tile on each side.
    """
    whole = (_compute_swath_width_km(lat) - TILE_SIZE_KM) / (_compute_swath_width_km(lat) + TILE_SIZE_KM)
    count = max(round(compute_orbit_count(lat)), 1)
    at = (np.arange(count) + 0.5) / count
    seen = np.where(at <= whole, 1.0, 1 - (at - whole) / (1 - whole))
    return tuple((1 - seen).tolist())

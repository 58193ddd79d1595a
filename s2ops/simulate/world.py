"""Simulated region: satellite passes with their skies, and rendering of a tile, slab by slab."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer
from scipy.interpolate import RectBivariateSpline
from scipy.stats import beta

from s2ops.constants import Bool, Float32, Float64, LandCover, Mask, UInt8
from s2ops.geo.mgrs_tiles import Tile
from s2ops.simulate.atmosphere import Sky, apply_atmosphere, compute_sun_position, draw_sky
from s2ops.simulate.ground import project_to_world, simulate_ground
from s2ops.simulate.noise import SamplePoints
from s2ops.simulate.reflectance import compute_reflectance, compute_texture

RELATIVE_ORBITS: Final = (22, 79, 122)
"""Relative orbits that cross the region in turn."""

SWATH_WIDTH_M: Final = 290e3
"""Width of the swath in world metres."""

TRACK_SPACING_M: Final = 405e3
"""Distance between two swaths of one orbit in world metres. The gap is wider than a tile, and at least two orbits cover
each point."""

SWATH_TILT_RAD: Final = np.radians(12.0)
"""Angle of the swath's edges to north: Sentinel-2 descends from the north-north-east."""

MAX_SLAB_SAMPLES: Final = 200_000
"""Maximum number of samples rendered at a time, so that the fields fit into the CPU's cache."""


@dataclass(frozen=True)
class SatellitePass:
    """Pass of a satellite over the whole region."""

    date: date
    platform: str
    """'S2A' or 'S2B'."""
    orbit: int
    """Relative orbit, one of `RELATIVE_ORBITS`."""
    sky: Sky
    gain: tuple[float, float, float, float]
    """Radiometric gain of each band."""
    slope: float
    """Gain at the eastern edge of the swath relative to its centre, minus 1 (view angle)."""
    offset: int
    """Offset of the digital numbers, 0 or -1000: reflectance = (DN + offset) / 10000."""

    @property
    def day(self) -> int:
        """Day of the year."""
        return self.date.timetuple().tm_yday

    def compute_swath_position(self, at: SamplePoints) -> Float32:
        """Compute the position across the swath: -1 and 1 are its edges, pixels beyond have no data."""
        turned, _ = at.rotate(-float(SWATH_TILT_RAD))
        phase = TRACK_SPACING_M * RELATIVE_ORBITS.index(self.orbit) / len(RELATIVE_ORBITS)
        middle = (turned - phase) % TRACK_SPACING_M - TRACK_SPACING_M / 2
        return (middle / (SWATH_WIDTH_M / 2)).astype(np.float32)

    def compute_datetime(self, lon: float) -> datetime:
        """Compute the time of the pass in UTC at a longitude: 10:30 local solar time."""
        # the orbit number as seconds distinguishes two passes of one day
        moment = datetime.combine(self.date, time(10, 30), UTC) - timedelta(hours=lon / 15)
        return (moment + timedelta(seconds=self.orbit)).replace(microsecond=0)


def plan_passes(tiles: Sequence[Tile], dates: Sequence[date], seed: int, cloudiness: float) -> list[SatellitePass]:
    """Plan one pass per date, in order of date; cloud cover varies from clear to overcast with mean `cloudiness`."""
    days = sorted(set(dates))
    rng = np.random.default_rng([seed, 11])
    ranks = rng.permutation(len(days))
    covers = np.zeros(len(days))
    if cloudiness > 0:
        shape = 0.9
        covers = beta.ppf((ranks + 0.5) / len(days), shape, shape * (1 - cloudiness) / cloudiness)
    lat = float(np.mean([compute_centre(tile)[1] for tile in tiles]))
    order = np.argsort(covers, kind="stable")
    # haze on every fourth date, among the less cloudy ones, never on the clearest of all
    hazy = set(order[1 : 1 + max(1, len(days) // 4)].tolist()) if len(days) > 2 else set()
    flights = []
    for number, day in enumerate(days):
        own = np.random.default_rng([seed, 12, day.toordinal()])
        sky = draw_sky(own, float(covers[number]), compute_sun_position(lat, day.timetuple().tm_yday), number in hazy)
        # on every third date the numbers contain the +1000 of newer baselines
        flights.append(_draw_pass(own, day, sky, -1000 if number % 3 == 1 else 0))
    return flights


def _draw_pass(rng: np.random.Generator, day: date, sky: Sky, offset: int) -> SatellitePass:
    gain = rng.normal(1, 0.03) + rng.normal(0, 0.01, 4)
    red, green, blue, nir = (round(float(each), 4) for each in gain)
    return SatellitePass(
        date=day,
        platform=("S2A", "S2B")[day.toordinal() // 5 % 2],
        orbit=RELATIVE_ORBITS[day.toordinal() % len(RELATIVE_ORBITS)],
        sky=sky,
        gain=(red, green, blue, nir),
        slope=round(float(rng.normal(0, 0.02)), 4),
        offset=offset,
    )


@dataclass(frozen=True)
class TileProjection:
    """Projection of a tile to world metres: exact on a grid of 2 km, bicubic between (error below 1 cm)."""

    x: RectBivariateSpline
    y: RectBivariateSpline

    @classmethod
    def from_tile(cls, tile: Tile) -> "TileProjection":
        """Create the projection of a tile, valid up to 2 km beyond its outline."""
        left, bottom, right, top = tile.bounds
        easts, norths = np.linspace(left - 2000, right + 2000, 57), np.linspace(bottom - 2000, top + 2000, 57)
        to_degrees = Transformer.from_crs(f"EPSG:{tile.epsg}", "EPSG:4326", always_xy=True)
        x, y = project_to_world(*to_degrees.transform(*np.meshgrid(easts, norths)))
        return cls(RectBivariateSpline(norths, easts, x), RectBivariateSpline(norths, easts, y))

    def project(self, easts: Float64, norths: Float64, finest: float) -> SamplePoints:
        """Project a window with columns at `easts` (rising) and rows at `norths` (falling)."""
        up = norths[::-1]
        x, y = (np.ascontiguousarray(axis(up, easts)[::-1]) for axis in (self.x, self.y))
        return SamplePoints(x, y, finest)


@dataclass(frozen=True)
class Observation:
    """Observation of a slab in one pass: (4, y, x) float32 reflectance and (y, x) codes."""

    surface: Float32
    """Cloud-free ground, without gain, haze or noise."""
    image: Float32
    """Measured reflectance; undefined where `mask` is 255."""
    mask: UInt8
    """0 clear, 1 cloud, 2 shadow, 255 no data."""
    thickness: Float32
    """Optical thickness of the clouds."""


@dataclass(frozen=True)
class RenderedSlab:
    """Rows of a tile: true land cover and the observation of each pass."""

    rows: slice
    classes: UInt8
    observations: tuple[Observation, ...]


def render_slabs(tile: Tile, flights: Sequence[SatellitePass], res: int, seed: int) -> Iterator[RenderedSlab]:
    """Render a tile from top to bottom; from 60 m on, a pixel is the mean (truth: majority) of 2 x 2 samples."""
    samples = 2 if res >= 60 else 1
    pixel = res / samples
    projection = TileProjection.from_tile(tile)
    left, _, right, top = tile.bounds
    width = (right - left) // res
    step = max(1, MAX_SLAB_SAMPLES // (width * samples**2))
    easts = left + (np.arange(width * samples, dtype=np.float64) + 0.5) * pixel
    for first in range(0, width, step):
        rows = slice(first, min(first + step, width))
        norths = top - (np.arange(rows.start * samples, rows.stop * samples, dtype=np.float64) + 0.5) * pixel
        fine = projection.project(easts, norths, pixel)
        yield _render_slab(flights, rows, fine, samples, _Seeds(seed * 1000, [seed, zlib.crc32(tile.name.encode())]))


@dataclass(frozen=True)
class _Seeds:
    layout: int
    """Seed of the ground; seeds of worlds differ by 1000, because each field adds a number of its own."""
    noise: list[int]
    """Seed of the sensor noise of the tile."""


def _render_slab(
    flights: Sequence[SatellitePass], rows: slice, fine: SamplePoints, samples: int, seeds: _Seeds
) -> RenderedSlab:
    land = simulate_ground(seeds.layout, fine)
    texture = compute_texture(seeds.layout, land, fine)
    coarse = SamplePoints(_average_blocks(fine.x, samples), _average_blocks(fine.y, samples), fine.finest * samples)
    looks = []
    for flight in flights:
        surface = _average_blocks(compute_reflectance(texture, flight.day), samples)
        image, mask, tau = _simulate_sensor(flight, surface, coarse, [*seeds.noise, rows.start])
        looks.append(Observation(surface, image, mask, tau))
    return RenderedSlab(rows, _find_majority(land.classes, samples), tuple(looks))


def _simulate_sensor(
    flight: SatellitePass, surface: Float32, at: SamplePoints, key: list[int]
) -> tuple[Float32, UInt8, Float32]:
    """Simulate sky, gain and noise of one pass over a slab; `key` seeds the noise."""
    image = surface.copy()
    mask, tau = apply_atmosphere(flight.sky, image, at)
    across = flight.compute_swath_position(at)
    gain = np.array(flight.gain, np.float32)[:, None, None] * (1 + np.float32(flight.slope) * across)
    image *= gain
    rng = np.random.default_rng([*key, flight.date.toordinal()])
    image += np.float32(0.001) * rng.standard_normal(image.shape, dtype=np.float32)
    beyond: Bool = np.abs(across) > 1
    mask[beyond] = Mask.NODATA
    return image, mask, tau


Real = TypeVar("Real", np.float32, np.float64)


def _average_blocks(values: NDArray[Real], samples: int) -> NDArray[Real]:
    """Average each block of `samples` x `samples` (1 or 2) of the last two axes."""
    if samples == 1:
        return values
    lines = values[..., ::2, :] + values[..., 1::2, :]
    out: NDArray[Real] = (lines[..., ::2] + lines[..., 1::2]) * values.dtype.type(0.25)
    return out


def _find_majority(classes: UInt8, samples: int) -> UInt8:
    """Find the most frequent class of each block; the lower code of equally frequent ones."""
    if samples == 1:
        return classes
    parts = [classes[row::2, column::2] for row in (0, 1) for column in (0, 1)]
    votes = np.stack([sum((part == code).astype(np.uint8) for part in parts) for code in LandCover])
    out: UInt8 = votes.argmax(axis=0).astype(np.uint8)
    return out


def compute_centre(tile: Tile) -> tuple[float, float]:
    """Compute longitude and latitude of a tile's centre."""
    left, bottom, right, top = tile.bounds
    to_degrees = Transformer.from_crs(f"EPSG:{tile.epsg}", "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform((left + right) / 2, (bottom + top) / 2)
    return float(lon), float(lat)

"""A simulated region: which satellite passes when under which sky, and what it sees of a tile, slab by slab."""

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
from s2ops.simulate.atmosphere import Sky, overcast, random_sky, sun
from s2ops.simulate.ground import ground, world_xy
from s2ops.simulate.noise import Points
from s2ops.simulate.reflectance import fabric, reflectance

ORBITS: Final = (22, 79, 122)
"""Relative orbits that pass over the region in turn."""

SWATH: Final = 290e3
"""Width of the satellite's view, world metres."""

TRACK: Final = 405e3
"""World metres between two swaths of one orbit: the gap is wider than a tile, and any point is seen by at least two
orbits."""

TILT: Final = np.radians(12.0)
"""Of the swath's edges against north: Sentinel-2 comes down from the north-north-east."""

SLAB_POINTS: Final = 200_000
"""Samples rendered at a time: fields fit the processor's cache."""


@dataclass(frozen=True)
class Pass:
    """One pass of a satellite over the whole region."""

    date: date
    platform: str
    """'S2A' or 'S2B'."""
    orbit: int
    """Relative orbit; one of `ORBITS`."""
    sky: Sky
    gain: tuple[float, float, float, float]
    """Radiometric gain of each band."""
    slope: float
    """Gain at the swath's eastern edge against its middle, minus 1 (view angle)."""
    offset: int
    """Of the digital numbers: reflectance = (DN + offset) / 10000; 0 or -1000."""

    @property
    def day(self) -> int:
        """Day of the year."""
        return self.date.timetuple().tm_yday

    def across(self, at: Points) -> Float32:
        """Place across the swath: -1 and 1 are its edges, beyond is not seen."""
        turned, _ = at.turned(-float(TILT))
        phase = TRACK * ORBITS.index(self.orbit) / len(ORBITS)
        middle = (turned - phase) % TRACK - TRACK / 2
        return (middle / (SWATH / 2)).astype(np.float32)

    def datetime(self, lon: float) -> datetime:
        """Time of the pass, UTC: 10:30 local solar time, later in the west."""
        # the orbit's number in seconds keeps two passes of one day apart
        moment = datetime.combine(self.date, time(10, 30), UTC) - timedelta(hours=lon / 15)
        return (moment + timedelta(seconds=self.orbit)).replace(microsecond=0)


def passes(tiles: Sequence[Tile], dates: Sequence[date], seed: int, cloudiness: float) -> list[Pass]:
    """One pass a date, in order of date. Cover varies from clear to overcast with mean `cloudiness`."""
    days = sorted(set(dates))
    rng = np.random.default_rng([seed, 11])
    ranks = rng.permutation(len(days))
    covers = np.zeros(len(days))
    if cloudiness > 0:
        shape = 0.9
        covers = beta.ppf((ranks + 0.5) / len(days), shape, shape * (1 - cloudiness) / cloudiness)
    lat = float(np.mean([centre(tile)[1] for tile in tiles]))
    order = np.argsort(covers, kind="stable")
    # haze on every fourth date, among the less cloudy ones, never on the clearest of all
    hazy = set(order[1 : 1 + max(1, len(days) // 4)].tolist()) if len(days) > 2 else set()
    flights = []
    for number, day in enumerate(days):
        own = np.random.default_rng([seed, 12, day.toordinal()])
        sky = random_sky(own, float(covers[number]), sun(lat, day.timetuple().tm_yday), number in hazy)
        # every third date keeps the +1000 of newer baselines in its numbers
        flights.append(_pass(own, day, sky, -1000 if number % 3 == 1 else 0))
    return flights


def _pass(rng: np.random.Generator, day: date, sky: Sky, offset: int) -> Pass:
    gain = rng.normal(1, 0.03) + rng.normal(0, 0.01, 4)
    red, green, blue, nir = (round(float(each), 4) for each in gain)
    return Pass(
        date=day,
        platform=("S2A", "S2B")[day.toordinal() // 5 % 2],
        orbit=ORBITS[day.toordinal() % len(ORBITS)],
        sky=sky,
        gain=(red, green, blue, nir),
        slope=round(float(rng.normal(0, 0.02)), 4),
        offset=offset,
    )


@dataclass(frozen=True)
class Lens:
    """World metres of any place of a tile: exact on a grid of 2 km, bicubic between (below a centimetre off)."""

    x: RectBivariateSpline
    y: RectBivariateSpline

    @classmethod
    def of(cls, tile: Tile) -> "Lens":
        """The lens of a tile; it reaches 2 km beyond its outline."""
        left, bottom, right, top = tile.bounds
        easts, norths = np.linspace(left - 2000, right + 2000, 57), np.linspace(bottom - 2000, top + 2000, 57)
        to_degrees = Transformer.from_crs(f"EPSG:{tile.epsg}", "EPSG:4326", always_xy=True)
        x, y = world_xy(*to_degrees.transform(*np.meshgrid(easts, norths)))
        return cls(RectBivariateSpline(norths, easts, x), RectBivariateSpline(norths, easts, y))

    def points(self, easts: Float64, norths: Float64, finest: float) -> Points:
        """The window with columns at `easts` (rising) and rows at `norths` (falling)."""
        up = norths[::-1]
        x, y = (np.ascontiguousarray(axis(up, easts)[::-1]) for axis in (self.x, self.y))
        return Points(x, y, finest)


@dataclass(frozen=True)
class Look:
    """What one pass sees of a slab; (4, y, x) float32 reflectance and (y, x) codes."""

    surface: Float32
    """Cloud-free ground, without gain, haze or noise."""
    image: Float32
    """As measured; where `mask` is 255 it means nothing."""
    mask: UInt8
    """0 clear, 1 cloud, 2 shadow, 255 not seen."""
    thickness: Float32
    """Optical thickness of the clouds."""


@dataclass(frozen=True)
class Slab:
    """Some rows of a tile: the truth, and how each pass sees it."""

    rows: slice
    classes: UInt8
    looks: tuple[Look, ...]


def slabs(tile: Tile, flights: Sequence[Pass], res: int, seed: int) -> Iterator[Slab]:
    """Render a tile from top to bottom. From 60 m on, a pixel is the mean (truth: majority) of 2 x 2 samples."""
    samples = 2 if res >= 60 else 1
    pixel = res / samples
    lens = Lens.of(tile)
    left, _, right, top = tile.bounds
    width = (right - left) // res
    step = max(1, SLAB_POINTS // (width * samples**2))
    easts = left + (np.arange(width * samples, dtype=np.float64) + 0.5) * pixel
    for first in range(0, width, step):
        rows = slice(first, min(first + step, width))
        norths = top - (np.arange(rows.start * samples, rows.stop * samples, dtype=np.float64) + 0.5) * pixel
        fine = lens.points(easts, norths, pixel)
        yield _slab(flights, rows, fine, samples, _Seeds(seed * 1000, [seed, zlib.crc32(tile.name.encode())]))


@dataclass(frozen=True)
class _Seeds:
    layout: int
    """Of the ground; worlds lie 1000 apart, since each of its fields adds a number of its own."""
    noise: list[int]
    """Of the sensor's noise over the tile."""


def _slab(flights: Sequence[Pass], rows: slice, fine: Points, samples: int, seeds: _Seeds) -> Slab:
    land = ground(seeds.layout, fine)
    cloth = fabric(seeds.layout, land, fine)
    coarse = Points(_mean(fine.x, samples), _mean(fine.y, samples), fine.finest * samples)
    looks = []
    for flight in flights:
        surface = _mean(reflectance(cloth, flight.day), samples)
        image, mask, tau = _sense(flight, surface, coarse, [*seeds.noise, rows.start])
        looks.append(Look(surface, image, mask, tau))
    return Slab(rows, _majority(land.classes, samples), tuple(looks))


def _sense(flight: Pass, surface: Float32, at: Points, key: list[int]) -> tuple[Float32, UInt8, Float32]:
    """The sky, the gain and the noise of one pass over a slab; `key` seeds the noise."""
    image = surface.copy()
    mask, tau = overcast(flight.sky, image, at)
    across = flight.across(at)
    gain = np.array(flight.gain, np.float32)[:, None, None] * (1 + np.float32(flight.slope) * across)
    image *= gain
    rng = np.random.default_rng([*key, flight.date.toordinal()])
    image += np.float32(0.001) * rng.standard_normal(image.shape, dtype=np.float32)
    beyond: Bool = np.abs(across) > 1
    mask[beyond] = Mask.NODATA
    return image, mask, tau


Real = TypeVar("Real", np.float32, np.float64)


def _mean(values: NDArray[Real], samples: int) -> NDArray[Real]:
    """Mean of each block of `samples` x `samples` (1 or 2) of the last two axes."""
    if samples == 1:
        return values
    lines = values[..., ::2, :] + values[..., 1::2, :]
    out: NDArray[Real] = (lines[..., ::2] + lines[..., 1::2]) * values.dtype.type(0.25)
    return out


def _majority(classes: UInt8, samples: int) -> UInt8:
    """The most frequent class of each block; the lower code where two are equally frequent."""
    if samples == 1:
        return classes
    parts = [classes[row::2, column::2] for row in (0, 1) for column in (0, 1)]
    votes = np.stack([sum((part == code).astype(np.uint8) for part in parts) for code in LandCover])
    out: UInt8 = votes.argmax(axis=0).astype(np.uint8)
    return out


def centre(tile: Tile) -> tuple[float, float]:
    """Longitude and latitude of a tile's middle."""
    left, bottom, right, top = tile.bounds
    to_degrees = Transformer.from_crs(f"EPSG:{tile.epsg}", "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform((left + right) / 2, (bottom + top) / 2)
    return float(lon), float(lat)

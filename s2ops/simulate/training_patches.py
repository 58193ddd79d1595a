"""Random training samples from the simulated world: any place, climate, season, sun and sky."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter

from s2ops.constants import Bool, Float32, Float64, LandCover, Mask, UInt8
from s2ops.imaging.tone_curve import levels_of, tci_levels
from s2ops.simulate.atmosphere import Sky, overcast, random_sky, sun
from s2ops.simulate.ground import Ground, ground, world_xy
from s2ops.simulate.noise import Points
from s2ops.simulate.reflectance import fabric, reflectance
from s2ops.simulate.towns import near_town

WORLDS: Final = 64
"""Patches come from this many worlds (seeds of the layout)."""

BLUR: Final = 0.5
"""Standard deviation of the sensor's point spread, pixels."""


@dataclass(frozen=True)
class Patch:
    """A training sample; all arrays cover the same (y, x) window."""

    image: UInt8
    """(4, y, x) levels of the tone curve, red, green, blue, nir; 0 is no data."""
    classes: UInt8
    """(y, x) land-cover codes 1..6, also below clouds; 0 where there is no data."""
    mask: UInt8
    """(y, x) 0 clear, 1 cloud, 2 shadow, 255 no data."""
    haze: float
    """Mean path reflectance in blue; hazy from `atmosphere.HAZY`."""


def patch(seed: int, size: int, res: int) -> Patch:
    """One random sample of `size` x `size` pixels of `res` metres. The same arguments give the same sample."""
    rng = np.random.default_rng([seed, res, 1])
    clear = rng.random() < 0.3
    cover = 0.0 if clear else float(rng.beta(1.1, 1.6))
    view = _scene(rng, size, res, cover, town=res <= 20 and rng.random() < 0.6)
    image = np.rint(levels_of(view.image)).astype(np.uint8)
    classes = view.land.classes
    out = view.outside
    image[:, out], classes[out], view.mask[out] = 0, LandCover.NODATA, Mask.NODATA
    return Patch(image, classes, view.mask, view.sky.haze)


def preview(seed: int, size: int = 343) -> tuple[UInt8, UInt8, float]:
    """A whole tile as its preview shows it: ((3, y, x) true-colour levels, (y, x) mask, 1.0 hazy or 0.0).

    Haze between the thresholds `CLEAN` and `HAZY` never occurs, so every label is sure.
    """
    rng = np.random.default_rng([seed, 2])
    cover = 0.0 if rng.random() < 0.2 else float(rng.beta(0.8, 1.4))
    view = _scene(rng, size, 320, cover, town=False)
    image = tci_levels(view.image[:3])
    image[:, view.outside], view.mask[view.outside] = 0, Mask.NODATA
    return image, view.mask, float(view.sky.hazy)


@dataclass(frozen=True)
class _View:
    image: Float32  # (4, y, x) reflectance as seen
    land: Ground
    mask: UInt8
    sky: Sky
    outside: Bool


def _scene(rng: np.random.Generator, size: int, res: int, cover: float, town: bool) -> _View:
    world = int(rng.integers(WORLDS)) * 1000
    lon, lat = rng.uniform(-140, 200), float(np.clip(rng.normal(38, 15), -5, 62)) * rng.choice((1, 1, 1, -1))
    cx, cy = (float(v) for v in world_xy(np.array(lon), np.array(lat)))
    if town:
        cx, cy = near_town(world, cx, cy, rank=int(rng.integers(24)))
        cx, cy = cx + rng.normal(0, size * res / 4), cy + rng.normal(0, size * res / 4)
    span: Float64 = (np.arange(size, dtype=np.float64) - size / 2) * res
    at = Points(cx + span[None, :], cy - span[:, None], res)
    day = int(rng.integers(1, 366))
    sky = random_sky(rng, cover, sun(lat, day), bool(rng.random() < 0.35))
    land = ground(world, at)
    image = reflectance(fabric(world, land, at), day)
    mask, _ = overcast(sky, image, at)
    return _View(_sensed(rng, image), land, mask, sky, _beyond(rng, at))


def _sensed(rng: np.random.Generator, image: Float32) -> Float32:
    """Point spread, the scene's gain, its slope across the swath, and noise; changes (4, y, x) in place."""
    for band in image:
        gaussian_filter(band, BLUR, output=band, truncate=3, mode="nearest")
    slope = rng.normal(0, 0.03) * np.linspace(-1, 1, image.shape[2], dtype=np.float32)
    gain = (rng.normal(1, 0.05) + rng.normal(0, 0.015, 4)).astype(np.float32)
    image *= gain[:, None, None] * (1 + slope)
    image += np.float32(0.0012) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image, 0.0001, None, out=image)


def _beyond(rng: np.random.Generator, at: Points) -> Bool:
    """Pixels beyond the swath's edge, which one sample in seven has; its tilt is that of the orbit."""
    if rng.random() > 0.15:
        return np.zeros(at.shape, bool)
    across, _ = at.turned(-np.radians(12))
    across = (across - across.mean()) / np.ptp(across)
    out: Bool = across * rng.choice((-1, 1)) > rng.uniform(-0.3, 0.45)
    return out


def overlay(image: Float32, res: int, seed: int) -> tuple[Float32, UInt8, float]:
    """Put a simulated sky over real clear reflectance (4, y, x), float32, 0 or below is no data.

    Returns the new reflectance, the truth mask and the haze added (path reflectance in blue).
    """
    rng = np.random.default_rng([seed, 3])
    cover = 0.0 if rng.random() < 0.2 else float(rng.beta(1.1, 1.6))
    sky = random_sky(rng, cover, (float(rng.uniform(0, 360)), float(rng.uniform(18, 70))), bool(rng.random() < 0.35))
    x = rng.uniform(-1e6, 1e6) + np.arange(image.shape[2], dtype=np.float64)[None, :] * res
    y = rng.uniform(-1e6, 1e6) - np.arange(image.shape[1], dtype=np.float64)[:, None] * res
    at = Points(x, y, res)
    empty = (image <= 0).all(axis=0)
    out = image.astype(np.float32, copy=True)
    mask, _ = overcast(sky, out, at)
    out[:, empty], mask[empty] = 0, Mask.NODATA
    return out, mask, sky.haze

"""Random training samples (patches) of the simulated world: any place, climate, season, sun and sky."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter

from s2ops.constants import Bool, Float32, Float64, LandCover, Mask, UInt8
from s2ops.imaging.tone_curve import apply_tone_curve, compute_tci_levels
from s2ops.simulate.atmosphere import Sky, apply_atmosphere, compute_sun_position, draw_sky
from s2ops.simulate.ground import Ground, project_to_world, simulate_ground
from s2ops.simulate.noise import SamplePoints
from s2ops.simulate.palette import WORLD_PALETTE, Palette
from s2ops.simulate.reflectance import compute_reflectance, compute_texture
from s2ops.simulate.towns import find_large_town

WORLD_COUNT: Final = 64
"""Number of worlds (seeds of the ground) from which patches come."""

BLUR_SIGMA_PX: Final = 0.5
"""Standard deviation of the sensor's point spread function in pixels."""


@dataclass(frozen=True)
class TrainingPatch:
    """Training sample; all arrays have the same (y, x) window."""

    image: UInt8
    """(4, y, x) levels of the tone curve: red, green, blue, nir; 0 is nodata."""
    classes: UInt8
    """(y, x) land-cover codes 1 to 6, also below clouds; 0 is nodata."""
    mask: UInt8
    """(y, x) 0 clear, 1 cloud, 2 shadow, 255 no data."""
    haze: float
    """Mean path reflectance in blue; hazy from `atmosphere.MIN_HAZY_PATH`."""
    kind: UInt8
    """(y, x) codes of `GroundType`."""
    ground: Float32
    """(4, y, x) true surface reflectance, without sky and sensor."""


def simulate_patch(seed: int, size: int, res: int, palette: Palette = WORLD_PALETTE) -> TrainingPatch:
    """Simulate a random sample; equal arguments give equal samples.

    Args:
        seed: Seed of the sample.
        size: Side in pixels.
        res: Pixel size in metres.
        palette: Spectra of the ground types.
    """
    rng = np.random.default_rng([seed, res, 1])
    clear = rng.random() < 0.3
    cover = 0.0 if clear else float(rng.beta(1.1, 1.6))
    view = _simulate_view(rng, size, res, cover, town=res <= 20 and rng.random() < 0.6, palette=palette)
    image = np.rint(apply_tone_curve(view.image)).astype(np.uint8)
    classes = view.land.classes
    out = view.outside
    image[:, out], classes[out], view.mask[out] = 0, LandCover.NODATA, Mask.NODATA
    return TrainingPatch(image, classes, view.mask, view.sky.haze, view.land.kind, view.ground)


def simulate_preview(seed: int, size: int = 343) -> tuple[UInt8, UInt8, float]:
    """Simulate the preview of a whole tile.

    Haze between `MAX_CLEAN_PATH` and `MIN_HAZY_PATH` does not occur, so that every label is certain.

    Args:
        seed: Seed of the sample.
        size: Pixels per side.

    Returns:
        (3, y, x) true-colour levels, (y, x) mask, and 1.0 for a hazy scene or 0.0.
    """
    rng = np.random.default_rng([seed, 2])
    cover = 0.0 if rng.random() < 0.2 else float(rng.beta(0.8, 1.4))
    view = _simulate_view(rng, size, 320, cover, town=False)
    image = compute_tci_levels(view.image[:3])
    image[:, view.outside], view.mask[view.outside] = 0, Mask.NODATA
    return image, view.mask, float(view.sky.is_hazy)


@dataclass(frozen=True)
class _View:
    image: Float32  # (4, y, x) measured reflectance
    land: Ground
    mask: UInt8
    sky: Sky
    outside: Bool
    ground: Float32  # (4, y, x) surface reflectance


def _simulate_view(
    rng: np.random.Generator, size: int, res: int, cover: float, town: bool, palette: Palette = WORLD_PALETTE
) -> _View:
    world = int(rng.integers(WORLD_COUNT)) * 1000
    lon, lat = rng.uniform(-140, 200), float(np.clip(rng.normal(38, 15), -5, 62)) * rng.choice((1, 1, 1, -1))
    cx, cy = (float(v) for v in project_to_world(np.array(lon), np.array(lat)))
    if town:
        cx, cy = find_large_town(world, cx, cy, rank=int(rng.integers(24)))
        cx, cy = cx + rng.normal(0, size * res / 4), cy + rng.normal(0, size * res / 4)
    span: Float64 = (np.arange(size, dtype=np.float64) - size / 2) * res
    at = SamplePoints(cx + span[None, :], cy - span[:, None], res)
    day = int(rng.integers(1, 366))
    sky = draw_sky(rng, cover, compute_sun_position(lat, day), bool(rng.random() < 0.35))
    land = simulate_ground(world, at)
    image = compute_reflectance(compute_texture(world, land, at), day, palette)
    ground = image.copy()
    mask, _ = apply_atmosphere(sky, image, at)
    return _View(_apply_sensor(rng, image), land, mask, sky, _find_outside_swath(rng, at), ground)


def _apply_sensor(rng: np.random.Generator, image: Float32) -> Float32:
    """Apply point spread, gain, its slope across the swath, and noise to (4, y, x) reflectance, in place."""
    for band in image:
        gaussian_filter(band, BLUR_SIGMA_PX, output=band, truncate=3, mode="nearest")
    slope = rng.normal(0, 0.03) * np.linspace(-1, 1, image.shape[2], dtype=np.float32)
    gain = (rng.normal(1, 0.05) + rng.normal(0, 0.015, 4)).astype(np.float32)
    image *= gain[:, None, None] * (1 + slope)
    image += np.float32(0.0012) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image, 0.0001, None, out=image)


def _find_outside_swath(rng: np.random.Generator, at: SamplePoints) -> Bool:
    """Find pixels outside the swath, which 15 % of the samples have; its edge has the tilt of the orbit."""
    if rng.random() > 0.15:
        return np.zeros(at.shape, bool)
    across, _ = at.rotate(-np.radians(12))
    across = (across - across.mean()) / np.ptp(across)
    out: Bool = across * rng.choice((-1, 1)) > rng.uniform(-0.3, 0.45)
    return out


def overlay_sky(image: Float32, res: int, seed: int) -> tuple[Float32, UInt8, float]:
    """Overlay a simulated sky on real clear reflectance.

    Args:
        image: (4, y, x) float32 reflectance; 0 or below is nodata. It is not changed.
        res: Pixel size in metres.
        seed: Seed of the sky.

    Returns:
        Reflectance with the sky, true mask, and haze (path reflectance in blue).
    """
    rng = np.random.default_rng([seed, 3])
    cover = 0.0 if rng.random() < 0.2 else float(rng.beta(1.1, 1.6))
    sky = draw_sky(rng, cover, (float(rng.uniform(0, 360)), float(rng.uniform(18, 70))), bool(rng.random() < 0.35))
    x = rng.uniform(-1e6, 1e6) + np.arange(image.shape[2], dtype=np.float64)[None, :] * res
    y = rng.uniform(-1e6, 1e6) - np.arange(image.shape[1], dtype=np.float64)[:, None] * res
    at = SamplePoints(x, y, res)
    empty = (image <= 0).all(axis=0)
    out = image.astype(np.float32, copy=True)
    mask, _ = apply_atmosphere(sky, out, at)
    out[:, empty], mask[empty] = 0, Mask.NODATA
    return out, mask, sky.haze

"""Simulated atmosphere: clouds, cloud shadows and haze.

Clouds are fields of optical thickness over world metres. A pixel is shadowed by the cloud between it and the sun, so
the shadow is the same field, sampled at a displaced point.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import ndtri

from s2ops.constants import Float32, Mask, UInt8
from s2ops.simulate.noise import SamplePoints, compute_fbm, compute_value_noise

MIN_CLOUD_THICKNESS: Final = 0.18
"""Minimum optical thickness of cloud in the true mask; thin cloud counts."""

MIN_SHADOW_FRACTION: Final = 0.3
"""Minimum fraction of the direct light that is lost in shadow in the true mask."""

MIN_HAZY_PATH: Final = 0.03
"""Minimum mean path reflectance in blue of a hazy scene."""

MAX_CLEAN_PATH: Final = 0.014
"""Maximum mean path reflectance in blue of a scene without haze; no training sample lies between the two limits."""

CLOUD_SPECTRUM: Final = np.array([0.97, 0.97, 1.0, 1.03], np.float32)
DIRECT_LIGHT_FRACTION: Final = np.array([0.8, 0.75, 0.66, 0.92], np.float32)
"""Direct fraction of the light in red, green, blue, nir, which a shadow can remove."""
HAZE_SPECTRUM: Final = np.array([0.6, 0.76, 1.0, 0.33], np.float32)
"""Path reflectance of haze in each band relative to blue."""


@dataclass(frozen=True)
class Sky:
    """Atmosphere of one acquisition."""

    seed: int
    cover: float
    """Intended cloud cover, 0 to 1."""
    cumulus: float
    """Lattice of the cumulus clouds in metres; 0: none."""
    sheet: float
    """Lattice of the large-scale pattern in metres."""
    broken: float
    """From 0 (closed sheet with soft edges) to 1 (single cumulus clouds)."""
    thickness: float
    """Optical thickness one standard deviation above the threshold of the cloud edge."""
    cirrus: float
    """Maximum optical thickness of cirrus; 0: none."""
    height: float
    """Height of the clouds above ground in metres."""
    sun_azimuth: float
    """Degrees from north, clockwise."""
    sun_elevation: float
    """Degrees above the horizon."""
    depth: float
    """Fraction of the direct light that the thickest cloud absorbs, 0 to 1."""
    white: float
    """Reflectance of the thickest cloud."""
    haze: float
    """Mean path reflectance in blue."""
    patchy: float
    """From 0 (uniform haze) to 1 (haze in banks)."""

    @property
    def is_hazy(self) -> bool:
        """True if the scene counts as hazy."""
        return self.haze >= MIN_HAZY_PATH


def compute_sun_position(latitude: float, day: int, hour: float = 10.6) -> tuple[float, float]:
    """Compute solar azimuth and elevation in degrees at a local solar hour (Sentinel-2 passes at about 10:30)."""
    tilt = np.radians(-23.44 * np.cos(2 * np.pi * (day + 10) / 365.25))
    lat, turn = np.radians(latitude), np.radians(15 * (hour - 12))
    up = np.sin(lat) * np.sin(tilt) + np.cos(lat) * np.cos(tilt) * np.cos(turn)
    elevation = np.arcsin(up)
    east, north = -np.cos(tilt) * np.sin(turn), np.cos(lat) * np.sin(tilt) - np.sin(lat) * np.cos(tilt) * np.cos(turn)
    azimuth = np.degrees(np.arctan2(east, north)) % 360
    return float(azimuth), float(max(np.degrees(elevation), 12.0))


def draw_sky(rng: np.random.Generator, cover: float, sun_at: tuple[float, float], hazy: bool) -> Sky:
    """Draw a random sky of a common kind: fair-weather cumulus, broken sheets, closed stratus or cirrus."""
    kind = rng.choice(4, p=(0.4, 0.3, 0.15, 0.15))
    broken = (rng.uniform(0.75, 1), rng.uniform(0.35, 0.8), rng.uniform(0, 0.3), rng.uniform(0.2, 0.7))[kind]
    haze = rng.uniform(0.033, 0.12) if hazy else MAX_CLEAN_PATH * rng.beta(1, 2)
    return Sky(
        seed=int(rng.integers(1 << 30)),
        cover=cover,
        cumulus=float(np.exp(rng.uniform(np.log(700), np.log(6000)))),
        sheet=float(np.exp(rng.uniform(np.log(15e3), np.log(90e3)))),
        broken=float(broken),
        thickness=float(np.exp(rng.uniform(np.log(1.0), np.log(14)))),
        cirrus=float(rng.uniform(0.15, 1.2)) if kind == 3 or (rng.random() < 0.25 and cover > 0.03) else 0.0,
        height=float(np.exp(rng.uniform(np.log(600), np.log(4500 if kind else 2500)))),
        sun_azimuth=sun_at[0],
        sun_elevation=sun_at[1],
        depth=float(rng.uniform(0.7, 0.98)),
        white=float(rng.uniform(0.6, 1.1)),
        haze=float(haze),
        patchy=float(rng.uniform(0, 1)),
    )


def compute_cloud_thickness(sky: Sky, at: SamplePoints) -> Float32:
    """Compute the optical thickness of the clouds, (y, x) float32; 0 without cloud."""
    if sky.cover <= 0:
        return np.zeros(at.shape, np.float32)
    edge = float(-ndtri(min(sky.cover, 0.995)))
    far, near = np.sqrt(1 - sky.broken**2 * 0.8), np.sqrt(sky.broken**2 * 0.8)
    field = np.float32(far) * compute_fbm(sky.seed, at, sky.sheet, 6, gain=0.45)
    field += np.float32(near) * compute_fbm(sky.seed + 1, at, sky.cumulus, 7, gain=0.58)
    field -= np.float32(edge)
    np.maximum(field, 0, out=field)
    out: Float32 = np.float32(sky.thickness) * field ** np.float32(1.3)
    if sky.cirrus > 0:
        out += _compute_cirrus(sky, at)
    return out


def _compute_cirrus(sky: Sky, at: SamplePoints) -> Float32:
    """Compute cirrus: thin streaks along the wind, stretched five to one."""
    wind = np.float64(sky.seed % 360) * np.pi / 180
    along, across = at.rotate(float(wind))
    streak = compute_fbm(sky.seed + 2, SamplePoints(along / 5, across, at.finest), sky.sheet / 6, 6, gain=0.55)
    part = min(sky.cover * 0.8, 0.9)
    veil: Float32 = np.clip((streak + np.float32(ndtri(part))) / 2, 0, 1).astype(np.float32)
    return np.float32(sky.cirrus) * veil ** np.float32(1.5)


def shift_sunward(sky: Sky, at: SamplePoints) -> SamplePoints:
    """Shift each pixel to the cloud that would shade it: towards the sun by height / tan(elevation)."""
    reach = sky.height / np.tan(np.radians(sky.sun_elevation))
    azimuth = np.radians(sky.sun_azimuth)
    return at.translate(float(reach * np.sin(azimuth)), float(reach * np.cos(azimuth)))


def apply_atmosphere(sky: Sky, ground: Float32, at: SamplePoints) -> tuple[UInt8, Float32]:
    """Apply haze, clouds and shadows to surface reflectance.

    Args:
        sky: Atmosphere.
        ground: (4, y, x) float32 surface reflectance; changed in place.
        at: Positions of the pixels.

    Returns:
        True mask (0 clear, 1 cloud, 2 shadow) and optical thickness of the clouds, both (y, x).
    """
    mask: UInt8 = np.zeros(ground.shape[1:], np.uint8)
    tau = compute_cloud_thickness(sky, at)
    if sky.cover > 0:
        lost = np.float32(1) - np.exp(np.float32(-0.7) * compute_cloud_thickness(sky, shift_sunward(sky, at)))
        mask[lost > MIN_SHADOW_FRACTION] = Mask.SHADOW
        mask[tau > MIN_CLOUD_THICKNESS] = Mask.CLOUD
        light = np.float32(sky.depth) * lost
        hidden = np.float32(1) - np.exp(np.float32(-0.55) * tau)
        white = np.float32(0.42) + np.float32(sky.white - 0.42) * (1 - np.exp(tau * np.float32(-0.13)))
        # clouds shade one another slightly, which gives them relief
        white *= np.float32(1) - np.float32(0.25) * light * (1 - hidden * np.float32(0.5))
    haze = _compute_haze(sky, at)
    for band in range(4):
        r = ground[band]
        if sky.cover > 0:
            r *= np.float32(1) - DIRECT_LIGHT_FRACTION[band] * light
        path = haze * HAZE_SPECTRUM[band]
        r *= np.float32(1) - np.float32(1.6) * path
        r += path
        if sky.cover > 0:
            r += hidden * (white * CLOUD_SPECTRUM[band] - r)
    return mask, tau


def _compute_haze(sky: Sky, at: SamplePoints) -> Float32:
    """Compute path reflectance in blue: mean `sky.haze` over a large area, in banks of some 40 km if patchy."""
    banks = np.float32(1) + np.float32(0.9 * sky.patchy) * compute_value_noise(sky.seed + 3, at, 40e3)
    return np.float32(sky.haze) * banks

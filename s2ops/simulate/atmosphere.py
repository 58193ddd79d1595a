"""What lies between the ground and the satellite: clouds, their shadows, haze, gains.

Clouds are fields of optical thickness over world metres. A pixel is shadowed by the cloud that stands between it and
the sun, so the shadow is the same field looked up at a displaced point.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import ndtri

from s2ops.constants import Float32, Mask, UInt8
from s2ops.simulate.noise import Points, fbm, value_noise

CLOUD_TAU: Final = 0.18
"""Optical thickness from which a pixel counts as cloud in the truth; thin cloud counts."""

SHADE: Final = 0.3
"""Part of the direct light that must be lost for a pixel to count as shadow in the truth."""

HAZY: Final = 0.03
"""Mean path reflectance in blue from which a scene is hazy."""

CLEAN: Final = 0.014
"""Mean path reflectance in blue up to which a scene is not hazy; scenes between the two are no training samples."""

CLOUD_COLOUR: Final = np.array([0.97, 0.97, 1.0, 1.03], np.float32)
DIRECT: Final = np.array([0.8, 0.75, 0.66, 0.92], np.float32)
"""Direct part of the light in red, green, blue, nir: what a shadow can take away."""
HAZE_COLOUR: Final = np.array([0.6, 0.76, 1.0, 0.33], np.float32)
"""Path reflectance of haze in each band against blue."""


@dataclass(frozen=True)
class Sky:
    """One acquisition's atmosphere."""

    seed: int
    cover: float
    """Cloud cover aimed at, 0..1."""
    cumulus: float
    """Cell of the heaps, metres; 0: none."""
    sheet: float
    """Cell of the large-scale pattern, metres."""
    broken: float
    """0: a closed sheet with soft edges .. 1: single heaps."""
    thickness: float
    """Optical thickness one standard deviation above the cloud's edge."""
    cirrus: float
    """Largest optical thickness of the veil; 0: none."""
    height: float
    """Of the clouds' middle above ground, metres."""
    sun_azimuth: float
    """Degrees from north, clockwise."""
    sun_elevation: float
    """Degrees above the horizon."""
    depth: float
    """Part of the direct light that the thickest cloud takes, 0..1."""
    white: float
    """Reflectance of the thickest cloud."""
    haze: float
    """Mean path reflectance in blue."""
    patchy: float
    """0: even haze .. 1: in banks."""

    @property
    def hazy(self) -> bool:
        """Whether the scene counts as hazy."""
        return self.haze >= HAZY


def sun(latitude: float, day: int, hour: float = 10.6) -> tuple[float, float]:
    """Azimuth and elevation in degrees at a local solar hour (Sentinel-2 passes at about 10:30)."""
    tilt = np.radians(-23.44 * np.cos(2 * np.pi * (day + 10) / 365.25))
    lat, turn = np.radians(latitude), np.radians(15 * (hour - 12))
    up = np.sin(lat) * np.sin(tilt) + np.cos(lat) * np.cos(tilt) * np.cos(turn)
    elevation = np.arcsin(up)
    east, north = -np.cos(tilt) * np.sin(turn), np.cos(lat) * np.sin(tilt) - np.sin(lat) * np.cos(tilt) * np.cos(turn)
    azimuth = np.degrees(np.arctan2(east, north)) % 360
    return float(azimuth), float(max(np.degrees(elevation), 12.0))


def random_sky(rng: np.random.Generator, cover: float, sun_at: tuple[float, float], hazy: bool) -> Sky:
    """A sky of one of the usual kinds: fair-weather cumulus, broken sheets, closed stratus, cirrus veils."""
    kind = rng.choice(4, p=(0.4, 0.3, 0.15, 0.15))
    broken = (rng.uniform(0.75, 1), rng.uniform(0.35, 0.8), rng.uniform(0, 0.3), rng.uniform(0.2, 0.7))[kind]
    haze = rng.uniform(0.033, 0.12) if hazy else CLEAN * rng.beta(1, 2)
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


def thickness(sky: Sky, at: Points) -> Float32:
    """Optical thickness of the clouds, (y, x) float32, 0 where there is none."""
    if sky.cover <= 0:
        return np.zeros(at.shape, np.float32)
    edge = float(-ndtri(min(sky.cover, 0.995)))
    far, near = np.sqrt(1 - sky.broken**2 * 0.8), np.sqrt(sky.broken**2 * 0.8)
    field = np.float32(far) * fbm(sky.seed, at, sky.sheet, 6, gain=0.45)
    field += np.float32(near) * fbm(sky.seed + 1, at, sky.cumulus, 7, gain=0.58)
    field -= np.float32(edge)
    np.maximum(field, 0, out=field)
    out: Float32 = np.float32(sky.thickness) * field ** np.float32(1.3)
    if sky.cirrus > 0:
        out += _veil(sky, at)
    return out


def _veil(sky: Sky, at: Points) -> Float32:
    """Cirrus: thin streaks along the wind, stretched five to one."""
    wind = np.float64(sky.seed % 360) * np.pi / 180
    along, across = at.turned(float(wind))
    streak = fbm(sky.seed + 2, Points(along / 5, across, at.finest), sky.sheet / 6, 6, gain=0.55)
    part = min(sky.cover * 0.8, 0.9)
    veil: Float32 = np.clip((streak + np.float32(ndtri(part))) / 2, 0, 1).astype(np.float32)
    return np.float32(sky.cirrus) * veil ** np.float32(1.5)


def sunward(sky: Sky, at: Points) -> Points:
    """Where the cloud stands that would shade each pixel: towards the sun by height / tan(elevation)."""
    reach = sky.height / np.tan(np.radians(sky.sun_elevation))
    azimuth = np.radians(sky.sun_azimuth)
    return at.moved(float(reach * np.sin(azimuth)), float(reach * np.cos(azimuth)))


def overcast(sky: Sky, ground: Float32, at: Points) -> tuple[UInt8, Float32]:
    """Put haze, clouds and shadows over (4, y, x) surface reflectance, in place.

    Returns the truth mask (0 clear, 1 cloud, 2 shadow) and the clouds' optical thickness, both (y, x).
    """
    mask: UInt8 = np.zeros(ground.shape[1:], np.uint8)
    tau = thickness(sky, at)
    if sky.cover > 0:
        lost = np.float32(1) - np.exp(np.float32(-0.7) * thickness(sky, sunward(sky, at)))
        mask[lost > SHADE] = Mask.SHADOW
        mask[tau > CLOUD_TAU] = Mask.CLOUD
        light = np.float32(sky.depth) * lost
        hidden = np.float32(1) - np.exp(np.float32(-0.55) * tau)
        white = np.float32(0.42) + np.float32(sky.white - 0.42) * (1 - np.exp(tau * np.float32(-0.13)))
        # clouds shade one another a little, which gives them relief
        white *= np.float32(1) - np.float32(0.25) * light * (1 - hidden * np.float32(0.5))
    haze = _haze(sky, at)
    for band in range(4):
        r = ground[band]
        if sky.cover > 0:
            r *= np.float32(1) - DIRECT[band] * light
        path = haze * HAZE_COLOUR[band]
        r *= np.float32(1) - np.float32(1.6) * path
        r += path
        if sky.cover > 0:
            r += hidden * (white * CLOUD_COLOUR[band] - r)
    return mask, tau


def _haze(sky: Sky, at: Points) -> Float32:
    """Path reflectance in blue; mean `sky.haze` over a large area, in banks of some 40 km where patchy."""
    banks = np.float32(1) + np.float32(0.9 * sky.patchy) * value_noise(sky.seed + 3, at, 40e3)
    return np.float32(sky.haze) * banks

"""Open-water samples: whole windows of water with swell, glint, whitecaps, silt and noise, and dark land beside them.

Clear ocean is as dark as noise is strong, and a window of it holds no shore: neither occurs in the labelled scenes.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from s2ops.constants import Float32, LandCover
from s2ops.imaging.tone_curve import apply_tone_curve
from s2ops.training.datasets.biomes import BiomeSampler
from s2ops.training.datasets.packed_scenes import RAYLEIGH_REFLECTANCE
from s2ops.training.datasets.pools import Sample
from s2ops.training.datasets.spectral_library import SpectralLibrary

MAX_NOISE: Final = 0.010
"""Maximum standard deviation of noise and swell, reflectance."""

LAND_PROBABILITY: Final = 0.35
"""Probability that a sample shows dark land instead of water, so that darkness alone does not mean water."""


@dataclass(frozen=True)
class WaterSimulator:
    """Simulator of windows of open water or dark land; equal seeds give equal samples."""

    library: SpectralLibrary
    size: int

    def __call__(self, seed: int) -> Sample:
        """Make one sample: levels (4, y, x), cover (y, x), mask (y, x)."""
        rng = np.random.default_rng([seed, 29])
        biome = BiomeSampler(self.library, rng)
        is_land = rng.random() < LAND_PROBABILITY
        ends = [self._draw_dark_land(biome) if is_land else biome.draw_water() for _ in range(2)]
        place = _draw_smooth_field(rng, self.size, float(rng.uniform(8, 80)))
        image = ends[0][:, None, None] * (1 - place) + ends[1][:, None, None] * place
        if not is_land:
            self._add_surface(image, rng)
        image += np.float32(MAX_NOISE * rng.random() ** 2) * _draw_noise(rng, image.shape)
        # L1C contains the light of the air, and L2A subtracts too little or too much of it
        image += np.float32(rng.uniform(-0.15, 0.6) if rng.random() < 0.5 else 0.0) * _AIR[:, None, None]
        levels = np.rint(apply_tone_curve(np.maximum(image, np.float32(0.0005)))).astype(np.uint8)
        code = LandCover.BARREN if is_land else LandCover.WATER
        cover = np.full((self.size, self.size), code, np.uint8)
        return levels, cover, np.zeros_like(cover)

    def _draw_dark_land(self, biome: BiomeSampler) -> Float32:
        """Draw dark bare ground: burned or wet soil, lava, or soil in a cast shadow."""
        kind = biome.rng.integers(3)
        if kind == 0:
            return biome.pick("burned")
        if kind == 1:
            return biome.pick("soil") * np.float32(biome.rng.uniform(0.12, 0.4))
        return biome.pick("gravel") * np.float32(biome.rng.uniform(0.2, 0.6))

    def _add_surface(self, image: Float32, rng: np.random.Generator) -> None:
        """Add swell, glint and whitecaps in place: the surface reflects all bands alike."""
        height, width = image.shape[1:]
        if rng.random() < 0.5:
            angle, length = rng.uniform(0, np.pi), rng.uniform(3, 30)
            y, x = np.mgrid[:height, :width].astype(np.float32)
            phase = (np.cos(angle) * x + np.sin(angle) * y) * np.float32(2 * np.pi / length)
            phase += np.float32(4) * _draw_smooth_field(rng, height, 30.0)
            image += np.float32(MAX_NOISE * rng.random()) * np.sin(phase)
        if rng.random() < 0.3:
            image += np.float32(rng.uniform(0, 0.08)) * _draw_smooth_field(rng, height, 60.0)
        if rng.random() < 0.3:
            caps = rng.random((height, width)) < rng.uniform(0, 0.01)
            image += (caps * rng.uniform(0.02, 0.3, (height, width))).astype(np.float32)


_AIR: Final = np.array(RAYLEIGH_REFLECTANCE, np.float32)


def _draw_smooth_field(rng: np.random.Generator, size: int, sigma: float) -> Float32:
    """Draw a smooth random field (y, x) between 0 and 1."""
    field = ndimage.gaussian_filter(rng.standard_normal((size, size), dtype=np.float32), sigma, mode="wrap")
    field -= field.min()
    out: Float32 = field / np.float32(max(float(field.max()), 1e-9))
    return out


def _draw_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Float32:
    """Draw noise (band, y, x) of unit variance: of the sensor, per pixel and band, or of waves, alike in all bands."""
    sensor = rng.standard_normal(shape, dtype=np.float32)
    waves = ndimage.gaussian_filter(rng.standard_normal(shape[1:], dtype=np.float32), rng.uniform(0.3, 1.5))
    waves /= np.float32(waves.std())
    share = np.float32(rng.random())
    out: Float32 = np.sqrt(1 - share) * sensor + np.sqrt(share) * waves
    return out

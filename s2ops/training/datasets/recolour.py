"""Recolouring (class-wise spectral augmentation): real labelled windows in the colours of other biomes.

Each class of a window gets the mean colour of another place and keeps its texture: r' = target * r / mean.
Real towns thus get foreign roofs, real woods foreign leaves, and real fields any soil.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from s2ops.constants import Float32, LandCover, UInt8
from s2ops.imaging.tone_curve import apply_tone_curve, build_reflectance_table
from s2ops.training.datasets.biomes import BiomeSampler, relabel_by_greenness
from s2ops.training.datasets.pools import BUILT, Sample
from s2ops.training.datasets.spectral_library import SpectralLibrary

RECOLOUR_PROBABILITY: Final = 0.7
"""Probability that a class of a window is recoloured."""

DRY_WOOD_PROBABILITY: Final = 0.2
"""Probability that the trees of a window become dry scrub, which is not labelled as trees."""

DARK_MEADOW_PROBABILITY: Final = 0.3
"""Probability that the grass of a window gets the colour of its trees."""

SHADE_PROBABILITY: Final = 0.1
"""Probability that a window of land lies partly in shadow."""

MIN_CLASS_PX: Final = 60
"""Minimum number of pixels of a class that is recoloured."""

SMOOTHING_PX: Final = 0.7
"""Standard deviation of the transition between classes, pixels."""


@dataclass(frozen=True)
class Recolourer:
    """Recolourer of labelled samples."""

    library: SpectralLibrary

    def recolour(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Recolour a sample.

        Args:
            sample: Levels (4, y, x), cover (y, x) and mask (y, x); without near infrared it stays as it is.
            rng: Random generator.

        Returns:
            Sample with other colours; the cover follows NDVI where plants lose or gain their green.
        """
        levels, cover, mask = sample
        if not levels[3].any():
            return sample
        image = np.nan_to_num(build_reflectance_table())[levels].astype(np.float32)
        biome = BiomeSampler(self.library, rng)
        factor = np.ones_like(image)
        dry_wood = rng.random() < DRY_WOOD_PROBABILITY
        for code in np.unique(cover):
            part = (cover == code) & (mask == 0) & (levels > 0).all(axis=0)
            if rng.random() > RECOLOUR_PROBABILITY or np.count_nonzero(part) < MIN_CLASS_PX:
                continue
            target = _draw_target(biome, int(code), dry_wood, image, cover)
            if target is not None:
                mean = np.maximum(image[:, part].mean(axis=1), np.float32(0.004))
                factor[:, part] = (target / mean)[:, None]
        for band in factor:
            ndimage.gaussian_filter(band, SMOOTHING_PX, output=band)
        image = np.maximum(image * factor, np.float32(0.0005))
        land = relabel_by_greenness(cover, image)
        if rng.random() < SHADE_PROBABILITY:
            _shade(image, rng)
        out = np.rint(apply_tone_curve(image)).astype(np.uint8)
        out[levels == 0] = 0
        return out, land, mask


def _draw_target(biome: BiomeSampler, code: int, dry_wood: bool, image: Float32, cover: UInt8) -> Float32 | None:
    """Draw the mean colour (4,) of a class, or None if it stays as it is."""
    rng = biome.rng
    if code == LandCover.WATER:
        target = biome.draw_water()
    elif code == LandCover.TREE:
        target = biome.pick_plants(0.15, 0.42) if dry_wood else biome.draw_tree_canopy()
    elif code == LandCover.GRASS:
        wood = cover == LandCover.TREE
        # meadows may be as dark as the wood beside them
        is_dark = rng.random() < DARK_MEADOW_PROBABILITY and wood.any()
        factor = np.float32(rng.uniform(0.8, 1.4)) if is_dark else np.float32(1)
        target = image[:, wood].mean(axis=1) * factor if is_dark else biome.pick_plants(0.2, 0.95)
    elif code == LandCover.BARREN:
        kind = rng.choice(("soil", "soil", "soil", "sand", "gravel", "burned", "snow", "salt"))
        target = biome.pick_soil() if kind == "soil" else biome.pick(str(kind))
    elif code in (LandCover.RESIDENTIAL, LandCover.INDUSTRIAL, BUILT):
        mixed = np.float32(0.5) * (biome.draw_roof() + biome.pick("road"))
        green = np.float32(rng.uniform(0, 0.5) * (code == LandCover.RESIDENTIAL))
        target = (1 - green) * mixed + green * biome.pick_plants(0.3, 0.9)
    else:
        return None
    return target


def _shade(image: Float32, rng: np.random.Generator) -> None:
    """Shade a part of a window in place: a cast shadow is lit by the blue sky alone."""
    height, width = image.shape[1:]
    noise = ndimage.gaussian_filter(rng.standard_normal((height, width)), rng.uniform(4, 25))
    inside = noise > np.quantile(noise, rng.uniform(0.7, 0.95))
    sky = np.array([0.16, 0.2, 0.28, 0.12], np.float32) * np.float32(rng.uniform(0.8, 1.6))
    image[:, inside] *= sky[:, None]

"""World checks under simulated conditions: patches of snow and dusk on real scenes."""

from typing import Final

import numpy as np
from scipy import ndimage

from s2ops.constants import Float32, LandCover, UInt8
from s2ops.evaluation.simulated_scenes import FigureCollection
from s2ops.evaluation.world_maps import WorldMaps, encode_reflectance
from s2ops.evaluation.world_shares import BUILT, add_share, count_by_block
from s2ops.imaging.tone_curve import invert_tone_curve

DUSK_REFLECTANCE: Final = (0.01, 0.02)
"""Reflectance at dusk that the 1st and 99th percentile of a clear scene are scaled to."""

SNOW_REFLECTANCE: Final = (0.86, 0.87, 0.88, 0.80)
"""Reflectance of old snow in red, green, blue, nir (earthlib has none at 10 m)."""
SNOW_SHARE: Final = 0.3
"""Share of the ground under patches of snow."""
SNOW_PATCH_SIGMA_PX: Final = 5.0
"""Standard deviation of the Gaussian whose noise outlines the patches, pixels."""


def score_snow(tally: FigureCollection, maps: WorldMaps) -> None:
    """Score rock with simulated patches of snow: buildings, and the rock between; no real scene has snow."""
    levels = maps.scenes["patagonia"].levels
    snowy = add_snow(levels)
    classes = maps.classify_levels([snowy]).classes
    rock = np.asarray((snowy == levels).all(axis=0))
    for title, score, hit, where in (
        ("Patagonia with simulated snow patches", "built", np.isin(classes, BUILT), np.ones_like(rock)),
        ("Patagonia, rock between simulated snow patches", "barren", classes == LandCover.BARREN, rock),
    ):
        add_share(tally, title, score, count_by_block(hit, where), "seen")


def add_snow(levels: UInt8) -> UInt8:
    """Cover part of an image (4, y, x) with patches of snow with soft edges, always the same."""
    noise = np.random.default_rng(9).standard_normal(levels.shape[1:])
    field: Float32 = ndimage.gaussian_filter(noise, SNOW_PATCH_SIGMA_PX).astype(np.float32)
    field = (field - np.quantile(field, 1 - SNOW_SHARE)) / field.std()
    cover = np.clip(0.5 + 2 * field, 0, 1).astype(np.float32)
    snow = np.array(SNOW_REFLECTANCE, np.float32)[:, None, None]
    return encode_reflectance(cover * snow + (1 - cover) * invert_tone_curve(levels))


def score_dusk(tally: FigureCollection, maps: WorldMaps) -> None:
    """Score the share of confident pixels in scenes that are scaled to the reflectance of dusk."""
    counts = []
    for name in ("dsen2-germany", "boadella-2020-06-21", "spyndex"):
        confidence = maps.classify_levels([simulate_dusk(maps.scenes[name].levels)]).confidence
        sure = (confidence > 50) & (confidence <= 100)
        counts.append(np.array([sure.sum(), sure.size], np.int64))
    add_share(tally, "three clear scenes at dusk", "confidence above 50", counts, "held out", "scenes")


def simulate_dusk(levels: UInt8) -> UInt8:
    """Scale an image (4, y, x) linearly, all bands alike, to the reflectance of dusk."""
    reflectance = invert_tone_curve(levels)
    low, high = np.percentile(reflectance, (1, 99))
    share = np.clip((reflectance - low) / (high - low), 0, 1).astype(np.float32)
    return encode_reflectance(DUSK_REFLECTANCE[0] + share * np.float32(DUSK_REFLECTANCE[1] - DUSK_REFLECTANCE[0]))

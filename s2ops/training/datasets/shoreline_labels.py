"""Sharp shores: the water of a reservoir at 10 m on each of its dates, from the scene's own bands.

Labels from band 11 have pixels of 20 m, and a teacher leaves the shore open. So band 11 only says roughly where water
is; Fisher's linear discriminant then tells the sure water of a scene from the land beside it, and decides each pixel
between by how much of it is water. It is fitted to that scene alone: muddy or glinting water and haze shift both sides
alike. In winter a slope in shadow is as dark as water in every band: water is looked for where it lay in summer alone.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
from scipy import ndimage

from s2ops.constants import Bool, Float32

SURE_DISTANCE_PX: Final = 3
"""Pixels from the rough shore at which a pixel is what it is taken for."""

LAND_DISTANCE_PX: Final = 15
"""Pixels of land beside the shore that the discriminant sees."""

MIN_WATER_PX: Final = 200
"""Pixels of sure water below which the guess stays as it is, and below which a dark spot is no water."""

MIN_WATER_FRACTION: Final = 0.7
"""Part of a pixel that must be water. Wet banks are dark in near infrared: by the halves of red, green and band 11 the
shores of Boadella lie some 0.5 pixel inside of where near infrared alone would put them, and there people see them."""

BASIN_MARGIN_PX: Final = 2
"""Pixels that water may rise above what summer has shown."""

MAX_SUMMER_WATER_SWIR: Final = 0.06
"""Reflectance in band 11: in summer no shadow is so dark."""


def detect_basin(summer: Iterable[Mapping[str, Float32]]) -> Bool:
    """(y, x) where water lay on any date of high sun, and a little around: the only place for water on other dates."""
    wet = np.logical_or.reduce([_extract_water_bodies(bands["B11"] < MAX_SUMMER_WATER_SWIR) for bands in summer])
    out: Bool = ndimage.binary_dilation(wet, iterations=BASIN_MARGIN_PX)
    return out


def classify_water_by_swir(bands: Mapping[str, Float32], within: Bool) -> Bool:
    """(y, x) open water `within` a basin: darker in band 11 than the threshold that parts it from its land (Otsu 1979).

    Haze and glint lift band 11 a little everywhere, so a fixed threshold would lose water there.
    """
    dark = np.log(np.maximum(bands["B11"], np.float32(1e-3)))
    beside = ndimage.binary_dilation(within, iterations=LAND_DISTANCE_PX)
    return _extract_water_bodies((dark < compute_otsu_threshold(dark[beside])) & within)


def _extract_water_bodies(dark: Bool) -> Bool:
    """Dark places that are large, without holes: what floats on water is not land."""
    water = ndimage.binary_opening(dark, iterations=1)
    parts, _ = ndimage.label(water)
    large = np.bincount(parts.ravel()) >= MIN_WATER_PX
    large[0] = False
    out: Bool = ndimage.binary_fill_holes(large[parts])
    return out


def compute_otsu_threshold(values: Float32) -> float:
    """The threshold of a histogram that leaves the least variance on its two sides."""
    counts, edges = np.histogram(values, 256)
    middle = (edges[1:] + edges[:-1]) / 2
    below, total = np.cumsum(counts), np.cumsum(counts * middle)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (total / below - (total[-1] - total) / above) ** 2
    return float(middle[np.nanargmax(between)])


def refine_shoreline(water: Bool, image: Float32, within: Bool) -> Bool:
    """(y, x) `water` with its shore moved to where `image` (band, y, x; reflectance) says it is, `within` the basin."""
    inside, outside = ndimage.distance_transform_cdt(water), ndimage.distance_transform_cdt(~water)
    sure_water, sure_land = inside > SURE_DISTANCE_PX, (outside > SURE_DISTANCE_PX) & (outside <= LAND_DISTANCE_PX)
    if sure_water.sum() < MIN_WATER_PX or sure_land.sum() < MIN_WATER_PX:
        return water
    means = [image[:, part].mean(axis=1) for part in (sure_water, sure_land)]
    spread = sum(np.cov(image[:, part]) for part in (sure_water, sure_land))
    axis = np.linalg.solve(spread + 1e-6 * np.eye(len(image)), means[0] - means[1])
    part_water = (np.tensordot(axis, image, axes=1) - axis @ means[1]) / (axis @ (means[0] - means[1]))
    near = (inside <= SURE_DISTANCE_PX) & (outside <= SURE_DISTANCE_PX)
    out: Bool = np.where(near, (part_water > MIN_WATER_FRACTION) & within, water)
    return out

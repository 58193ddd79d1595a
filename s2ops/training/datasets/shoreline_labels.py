"""Shoreline labels (land-water boundary) of a reservoir at 10 m, by Otsu threshold and linear discriminant per scene.

Pixels of band 11 are 20 m, and the teacher does not label shores. Band 11 therefore gives a rough water mask only. Then
Fisher's linear discriminant separates sure water of the scene from the land next to it, and estimates the fraction of
water of each pixel between. It is fitted per scene, since muddy or glinting water and haze shift both sides alike. In
winter a slope in shadow is as dark as water in every band, so water is searched only where it was in summer.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
from scipy import ndimage

from s2ops.constants import Bool, Float32

SURE_DISTANCE_PX: Final = 3
"""Distance from the rough shore beyond which its classes are certain, pixels."""

LAND_DISTANCE_PX: Final = 15
"""Maximum distance from the shore of the land that the discriminant is fitted to, pixels."""

MIN_WATER_PX: Final = 200
"""Minimum number of pixels of a water body, and of sure water and land for the discriminant."""

MIN_WATER_FRACTION: Final = 0.7
"""Minimum fraction of water in a pixel labelled as water.

Wet banks are dark in near infrared. By the midpoints of red, green and band 11 the shores of Boadella lie some 0.5
pixel inside the shore by near infrared alone, and visual inspection agrees.
"""

BASIN_MARGIN_PX: Final = 2
"""Distance by which water may extend beyond its summer extent, pixels."""

MAX_SUMMER_WATER_SWIR: Final = 0.06
"""Maximum reflectance of water in band 11 in summer, when no shadow is so dark."""


MAX_OPEN_WATER_NIR: Final = 0.08
"""Maximum reflectance of open water in near infrared."""

MIN_OPEN_WATER_PX: Final = 2500
"""Minimum area of open water that is labelled by its colour alone, pixels."""


def detect_basin(summer: Iterable[Mapping[str, Float32]]) -> Bool:
    """Detect the basin of a reservoir: its water on any summer date, dilated by `BASIN_MARGIN_PX`.

    Args:
        summer: Reflectance (y, x) by band name, of dates with a high sun.

    Returns:
        Basin (y, x), to which water of all other dates is restricted.
    """
    wet = np.logical_or.reduce([_extract_water_bodies(bands["B11"] < MAX_SUMMER_WATER_SWIR) for bands in summer])
    out: Bool = ndimage.binary_dilation(wet, iterations=BASIN_MARGIN_PX)
    return out


def classify_water_by_swir(bands: Mapping[str, Float32], within: Bool) -> Bool:
    """Classify open water by the Otsu threshold of band 11 in and around a basin (Otsu 1979).

    Haze and glint brighten band 11 slightly everywhere, so a fixed threshold would miss water.

    Args:
        bands: Reflectance (y, x) by band name.
        within: Basin (y, x).

    Returns:
        Water (y, x).
    """
    dark = np.log(np.maximum(bands["B11"], np.float32(1e-3)))
    beside = ndimage.binary_dilation(within, iterations=LAND_DISTANCE_PX)
    return _extract_water_bodies((dark < compute_otsu_threshold(dark[beside])) & within)


def _extract_water_bodies(dark: Bool) -> Bool:
    """Extract large dark areas and fill their holes, since floating objects are not land."""
    water = ndimage.binary_opening(dark, iterations=1)
    parts, _ = ndimage.label(water)
    large = np.bincount(parts.ravel()) >= MIN_WATER_PX
    large[0] = False
    out: Bool = ndimage.binary_fill_holes(large[parts])
    return out


def compute_otsu_threshold(values: Float32) -> float:
    """Compute the threshold with the smallest variance within its two sides (Otsu 1979), from 256 bins."""
    counts, edges = np.histogram(values, 256)
    middle = (edges[1:] + edges[:-1]) / 2
    below, total = np.cumsum(counts), np.cumsum(counts * middle)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (total / below - (total[-1] - total) / above) ** 2
    return float(middle[np.nanargmax(between)])


def refine_shoreline(water: Bool, image: Float32, within: Bool) -> Bool:
    """Refine the shore of a water mask with Fisher's linear discriminant.

    Args:
        water: Rough water mask (y, x).
        image: Reflectance (band, y, x).
        within: Basin (y, x).

    Returns:
        Water (y, x); unchanged if there is too little sure water or land.
    """
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


def detect_open_water(image: Float32) -> Bool:
    """Detect seas and large lakes without band 11: NDWI above zero (McFeeters 1996), dark in near infrared, and wide.

    Args:
        image: Reflectance (4, y, x) of red, green, blue, nir.

    Returns:
        Water (y, x); small bodies and everything that could be a shadow or a roof are left out.
    """
    green, nir = image[1], image[3]
    dark = (green > nir) & (nir < MAX_OPEN_WATER_NIR) & (green > 0)
    parts, _ = ndimage.label(ndimage.binary_opening(dark, iterations=2))
    large = np.bincount(parts.ravel()) >= MIN_OPEN_WATER_PX
    large[0] = False
    # pixels that noise keeps out of the opening belong to the sea that surrounds them
    out: Bool = ndimage.binary_closing(large[parts], iterations=4) & (nir < MAX_OPEN_WATER_NIR)
    return out

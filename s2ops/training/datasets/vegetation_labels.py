"""What grows where an outline, a chip or a teacher says something else of the ground.

Quarters and chips are labelled as a whole, so their parks would be taught as houses to the building network and as
"other" to the vegetation network; and Dynamic World calls dark, rank crops trees. The index says what is green, the
texture what is a field: crowns and gaps make a wood rough in near infrared, be it dark or bright.
"""

from typing import Final

import numpy as np
from scipy import ndimage

from s2ops.constants import Bool, Float32, LandCover, UInt8
from s2ops.training.datasets.pools import GARDEN, GREEN

MIN_VEGETATION_NDVI: Final = 0.65
"""NDVI of ground that is covered with plants. Of the pixels of drawn quarters at Zurich, a fifth lie above."""

MIN_GREEN_RED_RATIO: Final = 1.1
"""The same for images without near infrared: green over red. Of the EuroSAT chips with all bands, 96 % of the built-up
pixels above it are green by the index, and 60 % of those that are green lie above it."""

PARK_RADIUS_PX: Final = 2
"""Pixels of 10 m: green places that hold a square of 2 * WIDE + 1 are parks and fields, smaller ones gardens."""

MAX_FIELD_VARIATION: Final = 0.08
"""Standard deviation of near infrared over its mean, within 5 x 5 pixels, of a field or a lawn; woods have 0.12 to
0.2."""

TEXTURE_WINDOW_PX: Final = 5

MAX_FOLIAGE_LEVELS: Final = 32.0
"""Levels that fresh leaves add at most: a factor of 1.6 in reflectance of near infrared."""


def compute_ndvi(image: Float32) -> Float32:
    """(4, y, x) reflectance of red, green, blue, nir -> (y, x) NDVI."""
    out: Float32 = (image[3] - image[0]) / np.maximum(image[3] + image[0], np.float32(0.01))
    return out


def is_smooth(nir: Float32) -> Bool:
    """(y, x) where near infrared varies as little as over a field."""
    mean = ndimage.uniform_filter(nir, TEXTURE_WINDOW_PX)
    variance = ndimage.uniform_filter(nir * nir, TEXTURE_WINDOW_PX) - mean * mean
    out: Bool = variance <= (np.float32(MAX_FIELD_VARIATION) * mean) ** 2
    return out


def classify_vegetation(image: Float32, taught: UInt8) -> UInt8:
    """(y, x) cover codes of the green ground of (4, y, x) reflectance at 10 m, 0 elsewhere.

    Small places are `GARDEN`. Wide ones are grass where they are smooth, else the grass or trees that are `taught`
    (y, x), else `GREEN`.
    """
    green = compute_ndvi(image) >= MIN_VEGETATION_NDVI
    square = np.ones((2 * PARK_RADIUS_PX + 1, 2 * PARK_RADIUS_PX + 1), np.bool_)
    wide = ndimage.binary_opening(green, square)
    kind = np.where(np.isin(taught, (LandCover.GRASS, LandCover.TREE)), taught, GREEN)
    kind[is_smooth(image[3])] = LandCover.GRASS
    return np.where(wide, kind, np.where(green, GARDEN, LandCover.NODATA)).astype(np.uint8)


def is_green(image: Float32) -> Bool:
    """(..., 3, y, x) reflectance of red, green, blue -> (..., y, x) what is green even without near infrared."""
    out: Bool = image[..., 1, :, :] > np.float32(MIN_GREEN_RED_RATIO) * image[..., 0, :, :]
    return out

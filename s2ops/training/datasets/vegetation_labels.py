"""Vegetation labels by NDVI and texture, which correct outlines, EuroSAT chips and teacher models.

Quarters and chips are labelled as a whole: their parks would be houses for the building network, and "other" for the
vegetation network. Dynamic World classifies dark, dense crops as trees. NDVI separates green ground, and texture
separates fields from woods: crowns and gaps make a wood rough in near infrared, whether dark or bright.
"""

from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
from scipy import ndimage

from s2ops.constants import Bool, Float32, LandCover, UInt8
from s2ops.training.datasets.pools import GARDEN, GREEN

if TYPE_CHECKING:
    from torch import Tensor  # an optional dependency

MIN_VEGETATION_NDVI: Final = 0.65
"""Minimum NDVI of ground covered with plants; a fifth of the pixels of drawn quarters at Zurich exceed it."""

MIN_TREE_NDVI: Final = 0.4
"""NDVI below which ground with the texture of a wood is not labelled as trees."""

MIN_GRASS_NDVI: Final = 0.25
"""NDVI below which ground with plants is barren rather than grass.

Field sites of fractionalcover3 with an NDVI of 0.25 to 0.30 are 20 % green, 61 % dry plants and 19 % bare on average.
At 0.15 to 0.20 they are 8 % green and 36 % bare.
"""

MAX_BARE_NDVI: Final = 0.2
"""NDVI up to which ground without a teacher is labelled as barren."""

MIN_GREEN_RED_RATIO: Final = 1.1
"""Minimum ratio of green to red of ground covered with plants, for images without near infrared.

On built-up EuroSAT chips with all bands, 96 % of the pixels above it are green by NDVI, and 60 % of the pixels that are
green by NDVI exceed it.
"""

PARK_RADIUS_PX: Final = 2
"""Radius of the smallest park or field in pixels of 10 m: a square of 2 * radius + 1; smaller places are gardens."""

MAX_FIELD_VARIATION: Final = 0.08
"""Maximum coefficient of variation of near infrared of a field or lawn, in 5 x 5 pixels; woods have 0.12 to 0.2."""

TEXTURE_WINDOW_PX: Final = 5
"""Side of the window of the texture, pixels."""

MAX_FOLIAGE_LEVELS: Final = 32.0
"""Maximum brightening by fresh leaves, levels: a factor of 1.6 in reflectance of near infrared."""


Pixels = TypeVar("Pixels", Float32, "Tensor")


def brighten_foliage(nir: Pixels, added: Pixels) -> Pixels:
    """Brighten near-infrared levels by fresh leaves, NumPy arrays and tensors alike.

    Args:
        nir: Levels of near infrared, float32.
        added: Levels to add, up to `MAX_FOLIAGE_LEVELS`, float32.

    Returns:
        Rounded levels, at most 255, float32.
    """
    return (nir + added).clip(max=255).round()


def compute_ndvi(image: Float32) -> Float32:
    """Compute NDVI (y, x) from reflectance (4, y, x) of red, green, blue, nir."""
    out: Float32 = (image[3] - image[0]) / np.maximum(image[3] + image[0], np.float32(0.01))
    return out


def is_smooth(nir: Float32) -> Bool:
    """Return where near infrared (y, x) varies as little as over a field."""
    mean = ndimage.uniform_filter(nir, TEXTURE_WINDOW_PX)
    variance = ndimage.uniform_filter(nir * nir, TEXTURE_WINDOW_PX) - mean * mean
    out: Bool = variance <= (np.float32(MAX_FIELD_VARIATION) * mean) ** 2
    return out


def classify_vegetation(image: Float32, taught: UInt8) -> UInt8:
    """Classify green ground by size and texture.

    Small places are `GARDEN`. Wide places are grass where they are smooth, otherwise grass or trees as the teacher
    classifies them, otherwise `GREEN`.

    Args:
        image: Reflectance (4, y, x) of red, green, blue, nir, pixels of 10 m.
        taught: Cover codes of the teacher (y, x).

    Returns:
        Cover codes (y, x), 0 where ground is not green.
    """
    green = compute_ndvi(image) >= MIN_VEGETATION_NDVI
    square = np.ones((2 * PARK_RADIUS_PX + 1, 2 * PARK_RADIUS_PX + 1), np.bool_)
    wide = ndimage.binary_opening(green, square)
    kind = np.where(np.isin(taught, (LandCover.GRASS, LandCover.TREE)), taught, GREEN)
    kind[is_smooth(image[3])] = LandCover.GRASS
    return np.where(wide, kind, np.where(green, GARDEN, LandCover.NODATA)).astype(np.uint8)


def is_green(image: Float32) -> Bool:
    """Return where reflectance (..., 3, y, x) of red, green, blue is green, without near infrared: (..., y, x)."""
    out: Bool = image[..., 1, :, :] > np.float32(MIN_GREEN_RED_RATIO) * image[..., 0, :, :]
    return out

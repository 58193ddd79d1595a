"""Ground types of the simulated world (finer than the six land-cover classes) and their spectral signatures.

A signature has two spectra between which every pixel lies (dark or lush end, bright or dry end), the strength of its
fine texture, and the influence of parcels and seasons. Values are surface reflectance (L2A), set by eye and by
quantiles against real scenes (docs/explanation/simulate.md).
"""

from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np

from s2ops.constants import Float32, LandCover, UInt8


class GroundType(IntEnum):
    """Code of a ground type."""

    SEA = 0
    LAKE = 1
    RIVER = 2
    BROADLEAF = 3
    CONIFER = 4
    SHRUB = 5
    MEADOW = 6
    CROP = 7
    STEPPE = 8
    SOIL = 9
    DESERT = 10
    ROCK = 11
    SAND = 12
    QUARRY = 13
    ROAD = 14
    HOUSE = 15
    GARDEN = 16
    STREET = 17
    BRIGHT_ROOF = 18
    DARK_ROOF = 19
    YARD = 20
    VERGE = 21
    PARK = 22


Spectrum = tuple[float, float, float, float]  # red, green, blue, nir


class GroundSignature(NamedTuple):
    """Spectral signature of a ground type: two spectra and the weights that place a pixel between them."""

    cover: LandCover
    low: Spectrum
    high: Spectrum
    level: float  # mean position between low (0) and high (1)
    parcel: float  # influence of the parcel on the position
    season: float  # influence of the dry or leafless season
    grain: float  # relative brightness of the fine texture


_C = LandCover
SIGNATURES: Final[dict[GroundType, GroundSignature]] = {
    GroundType.SEA: GroundSignature(
        _C.WATER, (0.008, 0.014, 0.024, 0.005), (0.075, 0.085, 0.08, 0.03), 0.15, 0.3, 0.0, 0.04
    ),
    GroundType.LAKE: GroundSignature(
        _C.WATER, (0.01, 0.02, 0.016, 0.008), (0.06, 0.085, 0.055, 0.035), 0.3, 0.6, 0.0, 0.04
    ),
    GroundType.RIVER: GroundSignature(
        _C.WATER, (0.025, 0.04, 0.03, 0.02), (0.12, 0.11, 0.07, 0.06), 0.3, 0.5, 0.0, 0.05
    ),
    GroundType.BROADLEAF: GroundSignature(
        _C.TREE, (0.02, 0.036, 0.017, 0.33), (0.08, 0.07, 0.045, 0.2), 0.1, 0.15, 0.8, 0.14
    ),
    GroundType.CONIFER: GroundSignature(
        _C.TREE, (0.014, 0.024, 0.014, 0.16), (0.035, 0.048, 0.027, 0.26), 0.4, 0.5, 0.2, 0.16
    ),
    GroundType.SHRUB: GroundSignature(
        _C.TREE, (0.035, 0.05, 0.03, 0.22), (0.085, 0.08, 0.05, 0.26), 0.4, 0.5, 0.3, 0.2
    ),
    GroundType.MEADOW: GroundSignature(
        _C.GRASS, (0.035, 0.075, 0.035, 0.45), (0.12, 0.12, 0.07, 0.31), 0.15, 0.45, 0.5, 0.06
    ),
    GroundType.CROP: GroundSignature(
        _C.GRASS, (0.025, 0.055, 0.028, 0.5), (0.14, 0.125, 0.075, 0.3), 0.12, 0.45, 0.5, 0.05
    ),
    GroundType.STEPPE: GroundSignature(
        _C.GRASS, (0.07, 0.085, 0.05, 0.3), (0.16, 0.13, 0.085, 0.28), 0.45, 0.5, 0.4, 0.08
    ),
    GroundType.SOIL: GroundSignature(
        _C.BARREN, (0.085, 0.068, 0.05, 0.13), (0.25, 0.185, 0.125, 0.33), 0.4, 0.9, 0.1, 0.06
    ),
    GroundType.DESERT: GroundSignature(
        _C.BARREN, (0.17, 0.125, 0.08, 0.24), (0.4, 0.3, 0.19, 0.48), 0.4, 0.6, 0.05, 0.08
    ),
    GroundType.ROCK: GroundSignature(_C.BARREN, (0.1, 0.09, 0.08, 0.14), (0.24, 0.22, 0.2, 0.28), 0.4, 0.5, 0.0, 0.2),
    GroundType.SAND: GroundSignature(_C.BARREN, (0.2, 0.17, 0.12, 0.26), (0.44, 0.39, 0.31, 0.5), 0.4, 0.6, 0.0, 0.05),
    GroundType.QUARRY: GroundSignature(
        _C.BARREN, (0.18, 0.16, 0.13, 0.22), (0.5, 0.47, 0.42, 0.52), 0.4, 0.6, 0.0, 0.15
    ),
    GroundType.ROAD: GroundSignature(
        _C.BARREN, (0.09, 0.09, 0.085, 0.13), (0.16, 0.155, 0.145, 0.2), 0.5, 0.5, 0.0, 0.04
    ),
    GroundType.HOUSE: GroundSignature(
        _C.RESIDENTIAL, (0.1, 0.085, 0.075, 0.16), (0.23, 0.175, 0.145, 0.28), 0.4, 0.6, 0.0, 0.15
    ),
    GroundType.GARDEN: GroundSignature(
        _C.RESIDENTIAL, (0.035, 0.055, 0.035, 0.32), (0.11, 0.1, 0.075, 0.26), 0.4, 0.3, 0.3, 0.14
    ),
    GroundType.STREET: GroundSignature(
        _C.RESIDENTIAL, (0.075, 0.075, 0.07, 0.14), (0.14, 0.135, 0.125, 0.2), 0.5, 0.3, 0.0, 0.08
    ),
    GroundType.BRIGHT_ROOF: GroundSignature(
        _C.INDUSTRIAL, (0.2, 0.2, 0.2, 0.23), (0.62, 0.62, 0.63, 0.64), 0.4, 1.0, 0.0, 0.05
    ),
    GroundType.DARK_ROOF: GroundSignature(
        _C.INDUSTRIAL, (0.06, 0.06, 0.06, 0.08), (0.17, 0.15, 0.14, 0.2), 0.4, 0.8, 0.0, 0.06
    ),
    GroundType.YARD: GroundSignature(
        _C.INDUSTRIAL, (0.1, 0.1, 0.095, 0.14), (0.24, 0.225, 0.205, 0.28), 0.4, 0.6, 0.0, 0.12
    ),
    GroundType.VERGE: GroundSignature(
        _C.INDUSTRIAL, (0.04, 0.065, 0.04, 0.32), (0.13, 0.12, 0.085, 0.28), 0.4, 0.5, 0.4, 0.1
    ),
    GroundType.PARK: GroundSignature(
        _C.GRASS, (0.035, 0.07, 0.035, 0.42), (0.11, 0.11, 0.07, 0.3), 0.25, 0.4, 0.4, 0.1
    ),
}
"""Signature of each ground type, in the order of `GroundType`."""

LAND_COVER_CODES: Final[UInt8] = np.array([SIGNATURES[kind].cover for kind in GroundType], np.uint8)
"""Land-cover class of each ground type."""

LOW_SPECTRA: Final[Float32] = np.array([SIGNATURES[kind].low for kind in GroundType], np.float32).T.copy()
"""(band, type) spectra of the lush or dark end."""

HIGH_SPECTRA: Final[Float32] = np.array([SIGNATURES[kind].high for kind in GroundType], np.float32).T.copy()
"""(band, type) spectra of the dry or bright end."""


def collect_weights(name: str) -> Float32:
    """Collect one weight of all signatures, shape (type,)."""
    return np.array([getattr(SIGNATURES[kind], name) for kind in GroundType], np.float32)

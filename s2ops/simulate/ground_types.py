"""What the simulated ground is made of: kinds finer than the six classes, and what each reflects.

Each kind has two spectra between which every pixel lies (dark or lush end, bright or dry end), the strength of its fine
texture, and how strongly parcels and seasons move it. Values are surface reflectance (L2A), set by eye and by
quantiles against real scenes (docs/explanation/simulate.md).
"""

from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np

from s2ops.constants import Float32, LandCover, UInt8


class Kind(IntEnum):
    """Code of a kind of ground."""

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


class Look(NamedTuple):
    """How a kind looks: `low` and `high` spectra and the weights that place a pixel between them."""

    cover: LandCover
    low: Spectrum
    high: Spectrum
    level: float  # where the kind lies between low (0) and high (1) on average
    parcel: float  # how far parcels move it
    season: float  # how far the dry or leafless season moves it
    grain: float  # relative brightness of the fine texture


_C = LandCover
LOOKS: Final[dict[Kind, Look]] = {
    Kind.SEA: Look(_C.WATER, (0.008, 0.014, 0.024, 0.005), (0.075, 0.085, 0.08, 0.03), 0.15, 0.3, 0.0, 0.04),
    Kind.LAKE: Look(_C.WATER, (0.01, 0.02, 0.016, 0.008), (0.06, 0.085, 0.055, 0.035), 0.3, 0.6, 0.0, 0.04),
    Kind.RIVER: Look(_C.WATER, (0.025, 0.04, 0.03, 0.02), (0.12, 0.11, 0.07, 0.06), 0.3, 0.5, 0.0, 0.05),
    Kind.BROADLEAF: Look(_C.TREE, (0.02, 0.036, 0.017, 0.33), (0.08, 0.07, 0.045, 0.2), 0.1, 0.15, 0.8, 0.14),
    Kind.CONIFER: Look(_C.TREE, (0.014, 0.024, 0.014, 0.16), (0.035, 0.048, 0.027, 0.26), 0.4, 0.5, 0.2, 0.16),
    Kind.SHRUB: Look(_C.TREE, (0.035, 0.05, 0.03, 0.22), (0.085, 0.08, 0.05, 0.26), 0.4, 0.5, 0.3, 0.2),
    Kind.MEADOW: Look(_C.GRASS, (0.035, 0.075, 0.035, 0.45), (0.12, 0.12, 0.07, 0.31), 0.15, 0.45, 0.5, 0.06),
    Kind.CROP: Look(_C.GRASS, (0.025, 0.055, 0.028, 0.5), (0.14, 0.125, 0.075, 0.3), 0.12, 0.45, 0.5, 0.05),
    Kind.STEPPE: Look(_C.GRASS, (0.07, 0.085, 0.05, 0.3), (0.16, 0.13, 0.085, 0.28), 0.45, 0.5, 0.4, 0.08),
    Kind.SOIL: Look(_C.BARREN, (0.085, 0.068, 0.05, 0.13), (0.25, 0.185, 0.125, 0.33), 0.4, 0.9, 0.1, 0.06),
    Kind.DESERT: Look(_C.BARREN, (0.17, 0.125, 0.08, 0.24), (0.4, 0.3, 0.19, 0.48), 0.4, 0.6, 0.05, 0.08),
    Kind.ROCK: Look(_C.BARREN, (0.1, 0.09, 0.08, 0.14), (0.24, 0.22, 0.2, 0.28), 0.4, 0.5, 0.0, 0.2),
    Kind.SAND: Look(_C.BARREN, (0.2, 0.17, 0.12, 0.26), (0.44, 0.39, 0.31, 0.5), 0.4, 0.6, 0.0, 0.05),
    Kind.QUARRY: Look(_C.BARREN, (0.18, 0.16, 0.13, 0.22), (0.5, 0.47, 0.42, 0.52), 0.4, 0.6, 0.0, 0.15),
    Kind.ROAD: Look(_C.BARREN, (0.09, 0.09, 0.085, 0.13), (0.16, 0.155, 0.145, 0.2), 0.5, 0.5, 0.0, 0.04),
    Kind.HOUSE: Look(_C.RESIDENTIAL, (0.1, 0.085, 0.075, 0.16), (0.23, 0.175, 0.145, 0.28), 0.4, 0.6, 0.0, 0.15),
    Kind.GARDEN: Look(_C.RESIDENTIAL, (0.035, 0.055, 0.035, 0.32), (0.11, 0.1, 0.075, 0.26), 0.4, 0.3, 0.3, 0.14),
    Kind.STREET: Look(_C.RESIDENTIAL, (0.075, 0.075, 0.07, 0.14), (0.14, 0.135, 0.125, 0.2), 0.5, 0.3, 0.0, 0.08),
    Kind.BRIGHT_ROOF: Look(_C.INDUSTRIAL, (0.2, 0.2, 0.2, 0.23), (0.62, 0.62, 0.63, 0.64), 0.4, 1.0, 0.0, 0.05),
    Kind.DARK_ROOF: Look(_C.INDUSTRIAL, (0.06, 0.06, 0.06, 0.08), (0.17, 0.15, 0.14, 0.2), 0.4, 0.8, 0.0, 0.06),
    Kind.YARD: Look(_C.INDUSTRIAL, (0.1, 0.1, 0.095, 0.14), (0.24, 0.225, 0.205, 0.28), 0.4, 0.6, 0.0, 0.12),
    Kind.VERGE: Look(_C.INDUSTRIAL, (0.04, 0.065, 0.04, 0.32), (0.13, 0.12, 0.085, 0.28), 0.4, 0.5, 0.4, 0.1),
    Kind.PARK: Look(_C.GRASS, (0.035, 0.07, 0.035, 0.42), (0.11, 0.11, 0.07, 0.3), 0.25, 0.4, 0.4, 0.1),
}
"""The look of each kind, in the order of `Kind`."""

CLASS_OF: Final[UInt8] = np.array([LOOKS[kind].cover for kind in Kind], np.uint8)
"""Land-cover class of each kind."""

LOW: Final[Float32] = np.array([LOOKS[kind].low for kind in Kind], np.float32).T.copy()
"""(band, kind) spectra of the lush or dark end."""

HIGH: Final[Float32] = np.array([LOOKS[kind].high for kind in Kind], np.float32).T.copy()
"""(band, kind) spectra of the dry or bright end."""


def weights(name: str) -> Float32:
    """One weight of `Look` for all kinds, shape (kind,)."""
    return np.array([getattr(LOOKS[kind], name) for kind in Kind], np.float32)

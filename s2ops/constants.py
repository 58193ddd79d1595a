"""Constants (pixel codes, classes, band order) and type aliases (arrays, JSON) that all of s2ops uses."""

from enum import IntEnum
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

UInt8: TypeAlias = NDArray[np.uint8]
UInt16: TypeAlias = NDArray[np.uint16]
UInt32: TypeAlias = NDArray[np.uint32]
UInt64: TypeAlias = NDArray[np.uint64]
Int32: TypeAlias = NDArray[np.int32]
Int64: TypeAlias = NDArray[np.int64]
Float32: TypeAlias = NDArray[np.float32]
Float64: TypeAlias = NDArray[np.float64]
Bool: TypeAlias = NDArray[np.bool_]
Json: TypeAlias = dict[str, Any]
"""Parsed JSON object."""

BANDS: Final = ("red", "green", "blue", "nir")
"""Order of the bands in every 4-band array and file of s2ops."""

NODATA: Final = 0
"""Nodata value of 8-bit imagery, provenance and land cover."""


class Mask(IntEnum):
    """Codes of a scene mask (cloud mask)."""

    CLEAR = 0
    CLOUD = 1
    SHADOW = 2
    NODATA = 255


class LandCover(IntEnum):
    """Codes of the land-cover map (paper, section 2)."""

    NODATA = 0
    WATER = 1
    GRASS = 2
    TREE = 3
    RESIDENTIAL = 4
    INDUSTRIAL = 5
    BARREN = 6


CLASS_NAMES: Final[dict[LandCover, str]] = {
    LandCover.NODATA: "no data",
    LandCover.WATER: "water",
    LandCover.GRASS: "grass",
    LandCover.TREE: "tree",
    LandCover.RESIDENTIAL: "residential",
    LandCover.INDUSTRIAL: "industrial/commercial",
    LandCover.BARREN: "barren",
}

CLASS_COLOURS: Final[dict[LandCover, tuple[int, int, int]]] = {
    LandCover.NODATA: (0, 0, 0),
    LandCover.WATER: (0, 92, 230),
    LandCover.GRASS: (121, 201, 90),
    LandCover.TREE: (0, 97, 26),
    LandCover.RESIDENTIAL: (255, 150, 30),
    LandCover.INDUSTRIAL: (140, 70, 20),
    LandCover.BARREN: (250, 236, 200),
}
"""RGB colours of the paper (figure 16): blue, green, dark green, orange, brown, cream."""

"""The one curve between reflectance and 8-bit levels, the same for every tile, date and band.

The paper (section 2.2 a) scales scenes from 16 to 8 bits so that texture survives in dark and bright areas. Here that
is one logarithmic curve: level = 1 + 254 * log(1 + r / TOE) / log(1 + TOP / TOE) for reflectance r in 0..TOP. Steps are
therefore nearly proportional to brightness: 17 levels per 0.01 reflectance near black, where water and shadow live, and
still 0.9 at 0.8, where ESA's true-colour image (8-bit, linear to 0.36) is saturated. Being fixed and monotone it can be
inverted by a table, and a factor on reflectance + TOE is the same shift of levels everywhere (`gains.py`).
"""

from typing import Final

import numpy as np

from s2ops.codes import Float32, Float64, UInt8, UInt16
from s2ops.masks import grow

TOE: Final = 0.04
"""Reflectance at which the curve bends from linear to logarithmic."""

TOP: Final = 1.4
"""Reflectance of level 255; brighter pixels (fresh snow, glint) share it."""

SCALE: Final = 10_000
"""Digital numbers per unit of reflectance (Sentinel-2 quantification value)."""

TRACE: Final = 15
"""Digital numbers up to this are what compression leaves of no data at a swath's edge (1 is frequent there)."""

FULL: Final = 254.0 / np.log1p(TOP / TOE)


def levels_of(reflectance: Float32 | Float64) -> Float32:
    """Reflectance, any shape -> unrounded levels 1..255. Reflectance below 0 is level 1."""
    clipped = np.minimum(np.maximum(reflectance, 0.0), TOP)
    out: Float32 = (1.0 + FULL * np.log1p(clipped / TOE)).astype(np.float32)
    return out


def reflectance_of(levels: Float32 | Float64 | UInt8) -> Float32:
    """Levels (rounded or not) 1..255 -> reflectance; the inverse of `levels_of` within half a level."""
    out: Float32 = (TOE * np.expm1((np.asarray(levels, np.float64) - 1.0) / FULL)).astype(np.float32)
    return out


def level_table(offset: int = 0) -> UInt8:
    """The level of each 16-bit digital number: shape (65536,), uint8.

    `offset` is added to a DN before scaling (`Scene.offset`). DN 0 is no data and becomes level 0; a valid
    pixel is never 0, also where the offset makes its reflectance negative.
    """
    reflectance = (np.arange(65_536, dtype=np.float64) + offset) / SCALE
    table: UInt8 = np.rint(levels_of(reflectance)).astype(np.uint8)
    table[0] = 0
    return table


def to_levels(numbers: UInt16, offset: int = 0) -> UInt8:
    """(band, y, x) 16-bit digital numbers -> 8-bit levels of the same shape; 0 stays no data."""
    # mode="clip" skips the bounds check, twice as fast as the default; every uint16 is in range anyway
    out: UInt8 = np.take(level_table(offset), numbers, mode="clip")
    return out


def clean_levels(numbers: UInt16, offset: int, edge_px: int) -> UInt8:
    """Like `to_levels`, for all bands of a scene together: a pixel has data in all bands or in none.

    The bands' detectors end some pixels apart, so the swath's edge is a coloured fringe: a pixel within `edge_px` of
    no data that lacks a band, or holds a trace of one (`TRACE`), is no data. Elsewhere a DN of 0 is a black pixel
    (offset-corrected products clip water at 0) and becomes level 1. A slab needs `edge_px` rows of halo.
    """
    levels = to_levels(numbers, offset)
    lacking = (numbers <= TRACE).any(axis=0)
    if not lacking.any():
        return levels
    empty = (numbers == 0).all(axis=0)
    fringe = lacking & grow(empty, edge_px)
    np.maximum(levels, 1, out=levels, where=(lacking & ~fringe)[None])
    levels[:, fringe] = 0
    return levels


def reflectance_table() -> Float32:
    """The reflectance of each level, shape (256,), float32; level 0 (no data) is NaN."""
    table = reflectance_of(np.arange(256, dtype=np.float64))
    table[0] = np.nan
    return table


def tci_levels(reflectance: Float32 | Float64) -> UInt8:
    """Reflectance -> levels of ESA's true-colour image: linear, 255 at 0.3558, at least 1 where there is data.

    Source: Sentinel-2 Products Specification Document, TCI; previews (PVI) use the same scaling.
    """
    out: UInt8 = np.clip(np.rint(reflectance * (255.0 / 0.3558)), 1, 255).astype(np.uint8)
    return out

"""Tone curve (tone mapping) between reflectance and 8-bit levels, the same for every tile, date and band.

The paper (section 2.2 a) scales scenes from 16 to 8 bits so that texture survives in dark and bright areas. Here that
is one logarithmic curve: level = 1 + 254 * log(1 + r / TOE) / log(1 + TOP / TOE) for reflectance r in 0..TOP. Steps are
therefore nearly proportional to brightness: 17 levels per 0.01 reflectance near black, where water and shadow lie, and
still 0.9 at 0.8, where ESA's true-colour image (8-bit, linear to 0.36) is saturated. The curve is fixed and monotone,
so a table inverts it. A factor on reflectance + TOE is the same offset of levels everywhere
(`mosaic/composite/gain_matching.py`).
"""

import math
from functools import lru_cache
from typing import Final

import numpy as np

from s2ops.constants import Float32, Float64, UInt8, UInt16, UInt32, UInt64
from s2ops.runtime.jit import compile_kernel

TOE: Final = 0.04
"""Reflectance at which the curve bends from linear to logarithmic."""

TOP: Final = 1.4
"""Reflectance of level 255; brighter pixels (fresh snow, glint) share it."""

SCALE: Final = 10_000
"""Digital numbers per unit of reflectance (Sentinel-2 quantification value)."""

NODATA_RESIDUE_DN: Final = 15
"""Largest digital number that compression leaves of no data at a swath's edge (1 is frequent there)."""

LEVELS_PER_LOG: Final = 254.0 / np.log1p(TOP / TOE)
"""Levels per unit of the natural logarithm of reflectance + TOE."""


def apply_tone_curve(reflectance: Float32 | Float64) -> Float32:
    """Convert reflectance of any shape to unrounded levels 1..255; reflectance below 0 becomes level 1."""
    clipped = np.minimum(np.maximum(reflectance, 0.0), TOP)
    out: Float32 = (1.0 + LEVELS_PER_LOG * np.log1p(clipped / TOE)).astype(np.float32)
    return out


def invert_tone_curve(levels: Float32 | Float64 | UInt8) -> Float32:
    """Convert levels 1..255, rounded or not, to reflectance: inverts `apply_tone_curve` within half a level."""
    out: Float32 = (TOE * np.expm1((np.asarray(levels, np.float64) - 1.0) / LEVELS_PER_LOG)).astype(np.float32)
    return out


@compile_kernel
def shift_level(level: int, offset: np.float32) -> np.float32:
    """Add an offset to the level of a pixel with data and clip the unrounded sum to 1..255."""
    return min(max(np.float32(level) + offset, np.float32(1)), np.float32(255))


def build_level_table(offset: int = 0) -> UInt8:
    """Build the table of the level of each 16-bit digital number (DN).

    A valid pixel is never level 0, also where the offset makes its reflectance negative.

    Args:
        offset: Added to a DN before scaling (`Scene.offset`).

    Returns:
        (65536,) uint8. DN 0 is no data and has level 0.
    """
    reflectance = (np.arange(65_536, dtype=np.float64) + offset) / SCALE
    table: UInt8 = np.rint(apply_tone_curve(reflectance)).astype(np.uint8)
    table[0] = 0
    return table


def convert_dn_to_levels(numbers: UInt16, offset: int = 0) -> UInt8:
    """Convert (band, y, x) 16-bit digital numbers to 8-bit levels of the same shape; 0 stays no data."""
    # mode="clip" skips the bounds check, twice as fast as the default; every uint16 is in range anyway
    out: UInt8 = np.take(build_level_table(offset), numbers, mode="clip")
    return out


def convert_bands_to_levels(numbers: UInt16, offset: int = 0, out: UInt8 | None = None) -> UInt8:
    """Convert digital numbers to levels band by band: numbers up to `NODATA_RESIDUE_DN` become level 0 as well.

    `swath_edge.clean_swath_edge` decides afterwards which of these pixels are no data and which are black.

    Args:
        numbers: (band, y, x) digital numbers.
        offset: Added to a number before scaling (`Scene.offset`).
        out: Contiguous array of the same shape for the result; a new array if None.
    """
    levels = np.empty(numbers.shape, np.uint8) if out is None else out
    given, made, table = np.ascontiguousarray(numbers).reshape(-1), levels.reshape(-1), _build_band_table(offset)
    fours = len(given) // 4 * 4
    _map_four_numbers(given[:fours].view(np.uint64), table, made[:fours].view(np.uint32))
    _map_numbers(given[fours:], table, made[fours:])
    return levels


@lru_cache(maxsize=4)
def _build_band_table(offset: int) -> UInt8:
    """Build the level table with level 0 for what compression leaves of no data."""
    table = build_level_table(offset)
    table[: NODATA_RESIDUE_DN + 1] = 0
    return table


@compile_kernel
def _map_numbers(numbers: UInt16, table: UInt8, out: UInt8) -> None:
    """Look up numbers: three times as fast as np.take, which makes an index of 8 bytes of each number."""
    for at in range(len(numbers)):
        out[at] = table[numbers[at]]


@compile_kernel
def _map_four_numbers(numbers: UInt64, table: UInt8, out: UInt32) -> None:
    """Look up four numbers per word, the first in its low bits: one read and one write for all of them."""
    low = np.uint64(0xFFFF)
    for at in range(np.uint64(0), np.uint64(len(numbers))):
        word = numbers[at]
        first, second = np.uint32(table[word & low]), np.uint32(table[(word >> np.uint64(16)) & low])
        third, fourth = np.uint32(table[(word >> np.uint64(32)) & low]), np.uint32(table[word >> np.uint64(48)])
        out[at] = first | second << np.uint32(8) | third << np.uint32(16) | fourth << np.uint32(24)


def build_reflectance_table() -> Float32:
    """Build the table of the reflectance of each level: (256,) float32; level 0 (no data) is NaN."""
    table = invert_tone_curve(np.arange(256, dtype=np.float64))
    table[0] = np.nan
    return table


def list_level_reflectances() -> list[float | None]:
    """List the reflectance of each 8-bit level: 256 values with 5 decimals; level 0 is no data (None)."""
    return [None if math.isnan(value) else round(float(value), 5) for value in build_reflectance_table()]


def compute_tci_levels(reflectance: Float32 | Float64) -> UInt8:
    """Convert reflectance to levels of ESA's true-colour image (TCI): linear, 255 at 0.3558, 1 at least.

    Source: Sentinel-2 Products Specification Document, TCI; previews (PVI) use the same scaling.
    """
    out: UInt8 = np.clip(np.rint(reflectance * (255.0 / 0.3558)), 1, 255).astype(np.uint8)
    return out

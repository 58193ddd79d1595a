"""The one curve between reflectance and 8-bit levels, the same for every tile, date and band.

The paper (section 2.2 a) scales scenes from 16 to 8 bits so that texture survives in dark and bright areas. Here that
is one logarithmic curve: level = 1 + 254 * log(1 + r / TOE) / log(1 + TOP / TOE) for reflectance r in 0..TOP. Steps are
therefore nearly proportional to brightness: 17 levels per 0.01 reflectance near black, where water and shadow live, and
still 0.9 at 0.8, where ESA's true-colour image (8-bit, linear to 0.36) is saturated. Being fixed and monotone it can be
inverted by a table, and a factor on reflectance + TOE is the same shift of levels everywhere (`gains.py`).
"""

from functools import lru_cache
from typing import Final

import numpy as np

from s2ops.constants import Float32, Float64, UInt8, UInt16, UInt32, UInt64
from s2ops.runtime.jit import compiled
from s2ops.runtime.lazy_scipy import ndimage

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


def band_levels(numbers: UInt16, offset: int = 0, out: UInt8 | None = None) -> UInt8:
    """Like `to_levels`, but a trace of a band (DN up to `TRACE`) is level 0 too. What it means, `settle_bands` says.

    The result goes into `out`, of the same shape and contiguous, where it is given.
    """
    levels = np.empty(numbers.shape, np.uint8) if out is None else out
    given, made, table = np.ascontiguousarray(numbers).reshape(-1), levels.reshape(-1), _traced_table(offset)
    fours = len(given) // 4 * 4
    _look_up_fours(given[:fours].view(np.uint64), table, made[:fours].view(np.uint32))
    _look_up(given[fours:], table, made[fours:])
    return levels


@lru_cache(maxsize=4)
def _traced_table(offset: int) -> UInt8:
    table = level_table(offset)
    table[: TRACE + 1] = 0
    return table


@compiled
def _look_up(numbers: UInt16, table: UInt8, out: UInt8) -> None:
    """A loop as machine code: three times as fast as np.take, which makes an index of 8 bytes of each number."""
    for at in range(len(numbers)):
        out[at] = table[numbers[at]]


@compiled
def _look_up_fours(numbers: UInt64, table: UInt8, out: UInt32) -> None:
    """The same for four numbers in a word, the first in its low bits: one read and one write for all of them."""
    low = np.uint64(0xFFFF)
    for at in range(np.uint64(0), np.uint64(len(numbers))):
        word = numbers[at]
        first, second = np.uint32(table[word & low]), np.uint32(table[(word >> np.uint64(16)) & low])
        third, fourth = np.uint32(table[(word >> np.uint64(32)) & low]), np.uint32(table[word >> np.uint64(48)])
        out[at] = first | second << np.uint32(8) | third << np.uint32(16) | fourth << np.uint32(24)


def settle_bands(levels: UInt8, edge_px: int, rows: int = 512) -> None:
    """Give every pixel of (band, y, x) `band_levels` data in all bands or in none, in place.

    The bands' detectors end up to a kilometre apart, so the swath's edge is a coloured fringe: a pixel that lacks a
    band and has one without any data within `edge_px` (rows and columns apart) becomes no data. Elsewhere it is black
    (offset-corrected products clip water at 0), and its empty bands become level 1.
    """
    empty = levels[0] == 0
    for band in levels[1:]:
        empty &= band == 0
    height = levels.shape[1]
    for top in range(0, height, rows):
        part = slice(top, min(top + rows, height))
        lacking = (levels[:, part] == 0).any(axis=0)
        if (lacking == empty[part]).all():
            continue
        around = slice(max(top - edge_px, 0), min(part.stop + edge_px, height))
        near = empty[around].astype(np.uint8)
        for axis in (0, 1):
            near = ndimage.maximum_filter1d(near, 2 * edge_px + 1, axis=axis, mode="constant")
        fringe = lacking & (near[part.start - around.start :][: part.stop - top] > 0)
        np.maximum(levels[:, part], 1, out=levels[:, part], where=(lacking & ~fringe)[None])
        levels[:, part][:, fringe] = 0


def clean_levels(numbers: UInt16, offset: int, edge_px: int) -> UInt8:
    """(band, y, x) digital numbers of a whole image -> settled levels."""
    levels = band_levels(numbers, offset)
    settle_bands(levels, edge_px)
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

"""How visible the patches of a composite are: the steps across the lines where one scene gives way to another.

The borders of clouds and swaths run anywhere, so what lies across them is taken along rows: to the left and right of
each place where provenance changes. Figures as for the edges of tiles (`seams.py`); without `coherent`, since such
places are not in the order of a line.
"""

from typing import Final

import numpy as np

from s2ops.constants import Int32, Int64, UInt8
from s2ops.quality.seam_metrics import REACH, measure
from s2ops.runtime.jit import compiled

MOST: Final = 2048
"""Places of a slab that are looked at, evenly chosen from all: 400 kB, and enough for a figure."""

_PIECE: Final = 128
"""Pixels of a row that are looked at together first: few hold a border."""


def across(levels: UInt8, source: UInt8) -> UInt8:
    """(band, places, 2 * REACH) levels across the patch borders of a slab: (band, y, x) levels, (y, x) provenance."""
    number = _borders(source)
    every = max(-(-int(number.sum()) // MOST), 1)
    places = np.empty((MOST, 2), np.int64)
    rows, cols = places[: _chosen(source, number, every, places)].T
    return levels[:, rows[:, None], cols[:, None] + np.arange(2 * REACH)]


@compiled
def _border(before: np.uint8, after: np.uint8) -> bool:
    """Whether one scene gives way to another there."""
    found: bool = (before != after) & (before != 0) & (after != 0)
    return found


@compiled
def _borders(source: UInt8) -> Int32:
    """(y,): how many borders a row has that are REACH pixels from its ends."""
    height, width = source.shape
    out = np.zeros(height, np.int32)
    for y in range(height):
        before, after = source[y, REACH - 1 : width - REACH], source[y, REACH:]
        found = np.int32(0)
        for x in range(len(before)):
            found += np.int32(_border(before[x], after[x]))
        out[y] = found
    return out


@compiled
def _chosen(source: UInt8, number: Int32, every: int, places: Int64) -> int:
    """Into `places` (place, 2): row and first column of each `every`-th border; gives how many these are."""
    seen, width = 0, source.shape[1] - 2 * REACH + 1
    for y in range(source.shape[0]):
        if number[y] == 0 or (seen + number[y] - 1) // every == (seen - 1) // every:
            seen += number[y]  # none of the row's
            continue
        before, after = source[y, REACH - 1 : REACH - 1 + width], source[y, REACH:]
        for start in range(0, width, _PIECE):
            left, right = before[start : start + _PIECE], after[start : start + _PIECE]
            some = False
            for x in range(len(left)):
                some |= _border(left[x], right[x])
            for x in range(len(left) if some else 0):
                if _border(left[x], right[x]):
                    if seen % every == 0:
                        places[seen // every] = y, start + x
                    seen += 1
    return -(-seen // every)


def figures(strips: list[UInt8]) -> dict[str, object] | None:
    """`excess`, `energy` and `pixels` over all slabs, in their order; None where there are too few borders."""
    found = measure(np.concatenate(strips, axis=1)) if strips else None
    if found is None:
        return None
    return {name: value for name, value in found.to_json().items() if name in {"excess", "energy", "pixels"}}

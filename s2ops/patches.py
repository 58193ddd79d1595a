"""How visible the patches of a composite are: the steps across the lines where one scene gives way to another.

The borders of clouds and swaths run anywhere, so what lies across them is taken along rows: to the left and right of
each place where provenance changes. Figures as for the edges of tiles (`seams.py`); without `coherent`, since such
places are not in the order of a line.
"""

from typing import Final

import numpy as np

from s2ops.codes import UInt8
from s2ops.seams import REACH, measure

MOST: Final = 2048
"""Places of a slab that are looked at, evenly chosen from all: 400 kB, and enough for a figure."""


def across(levels: UInt8, source: UInt8) -> UInt8:
    """(band, places, 2 * REACH) levels across the patch borders of a slab: (band, y, x) levels, (y, x) provenance."""
    width = source.shape[1]
    inner = source[:, REACH - 1 : width - REACH], source[:, REACH : width - REACH + 1]
    rows, cols = np.nonzero((inner[0] != inner[1]) & (inner[0] != 0) & (inner[1] != 0))
    every = max(-(-len(rows) // MOST), 1)
    rows, cols = rows[::every, None], cols[::every, None] + np.arange(2 * REACH)
    return levels[:, rows, cols]


def figures(strips: list[UInt8]) -> dict[str, object] | None:
    """`excess`, `energy` and `pixels` over all slabs, in their order; None where there are too few borders."""
    found = measure(np.concatenate(strips, axis=1)) if strips else None
    if found is None:
        return None
    return {name: value for name, value in found.to_json().items() if name in {"excess", "energy", "pixels"}}

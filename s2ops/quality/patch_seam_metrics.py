"""Visibility of patch borders (scene-to-scene seams) inside a composite.

A patch border is where the composite changes from one scene to another. Cloud and swath borders run in any direction,
so strips are taken along rows: left and right of each pixel where provenance changes. The metrics are those of tile
edges (`seam_metrics.py`), except `coherent`, because the samples are not in the order of a line.
"""

from typing import Final

import numpy as np

from s2ops.constants import Int32, Int64, UInt8
from s2ops.quality.seam_metrics import STRIP_HALF_WIDTH_PX, measure_seam
from s2ops.runtime.jit import compile_kernel

MAX_SAMPLES: Final = 2048
"""Maximum number of samples per slab, evenly chosen from all borders: 400 kB, and enough for a stable metric."""

_CHUNK_PX: Final = 128
"""Pixels of a row that are tested together first: few chunks contain a border."""


def sample_patch_borders(levels: UInt8, source: UInt8) -> UInt8:
    """Sample strips of levels across the patch borders of a slab.

    Args:
        levels: 8-bit levels `(band, y, x)`.
        source: Provenance `(y, x)`: number of the scene, 0 for a hole.

    Returns:
        Levels `(band, sample, 2 * STRIP_HALF_WIDTH_PX)`, the border in the middle.
    """
    number = _count_borders(source)
    every = max(-(-int(number.sum()) // MAX_SAMPLES), 1)
    places = np.empty((MAX_SAMPLES, 2), np.int64)
    rows, cols = places[: _select_borders(source, number, every, places)].T
    return levels[:, rows[:, None], cols[:, None] + np.arange(2 * STRIP_HALF_WIDTH_PX)]


@compile_kernel
def _is_patch_border(before: np.uint8, after: np.uint8) -> bool:
    """Return True if the composite changes from one scene to another; a hole is not a border."""
    found: bool = (before != after) & (before != 0) & (after != 0)
    return found


@compile_kernel
def _count_borders(source: UInt8) -> Int32:
    """Count the borders of each row that are at least STRIP_HALF_WIDTH_PX from its ends: `(y,)`."""
    height, width = source.shape
    out = np.zeros(height, np.int32)
    for y in range(height):
        before, after = (
            source[y, STRIP_HALF_WIDTH_PX - 1 : width - STRIP_HALF_WIDTH_PX],
            source[y, STRIP_HALF_WIDTH_PX:],
        )
        found = np.int32(0)
        for x in range(len(before)):
            found += np.int32(_is_patch_border(before[x], after[x]))
        out[y] = found
    return out


@compile_kernel
def _select_borders(source: UInt8, number: Int32, every: int, places: Int64) -> int:
    """Write row and first column of each `every`-th border into `places` `(sample, 2)`; return their number."""
    seen, width = 0, source.shape[1] - 2 * STRIP_HALF_WIDTH_PX + 1
    for y in range(source.shape[0]):
        if number[y] == 0 or (seen + number[y] - 1) // every == (seen - 1) // every:
            seen += number[y]  # no border of this row is sampled
            continue
        before, after = (
            source[y, STRIP_HALF_WIDTH_PX - 1 : STRIP_HALF_WIDTH_PX - 1 + width],
            source[y, STRIP_HALF_WIDTH_PX:],
        )
        for start in range(0, width, _CHUNK_PX):
            left, right = before[start : start + _CHUNK_PX], after[start : start + _CHUNK_PX]
            some = False
            for x in range(len(left)):
                some |= _is_patch_border(left[x], right[x])
            for x in range(len(left) if some else 0):
                if _is_patch_border(left[x], right[x]):
                    if seen % every == 0:
                        places[seen // every] = y, start + x
                    seen += 1
    return -(-seen // every)


def measure_patch_seams(strips: list[UInt8]) -> dict[str, object] | None:
    """Measure the patch borders of a composite.

    Args:
        strips: Result of `sample_patch_borders` for each slab, in order.

    Returns:
        `excess`, `energy` and `pixels` (see `SeamMetrics`), or None if there are too few borders.
    """
    found = measure_seam(np.concatenate(strips, axis=1)) if strips else None
    if found is None:
        return None
    return {name: value for name, value in found.to_json().items() if name in {"excess", "energy", "pixels"}}

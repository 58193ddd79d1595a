"""Local radiometric matching: smooth level offsets of each scene, for haze that varies over a tile.

A single gain cannot match such haze. Where a patch of a later scene fills a hole, it should continue the image around
it. So in order of priority each scene is compared with the image of the scenes before it, in cells of 600 m. The
differences are smoothed over kilometres and fall to 0 where the two share no clear ground. Texture is far finer than
that and stays unchanged. The comparison does not need full resolution: every n-th pixel is enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np
import scipy

from s2ops.constants import BANDS, Bool, Float32, Float64, UInt8
from s2ops.imaging.interpolation import BilinearGrid
from s2ops.imaging.tone_curve import shift_level
from s2ops.mosaic.composite.scene_stack import MaskedScene
from s2ops.runtime.jit import compile_kernel

SMOOTHING_CELLS: Final = (24.0, 8.0, 3.0)
"""Standard deviations of the smoothing, in cells: 14 km, then 5 km, then 2 km; a wider one supports the next where
that has too few pixels."""

HALF_TRUST_SHARE: Final = 0.02
"""Share of clear cells within a smoothing at which its value counts half against that of the wider one."""

MAX_DIFFERENCE: Final = 24.0
"""Levels: a larger difference is a changed field or a missed cloud, and counts as this."""


@dataclass(frozen=True)
class OffsetField:
    """Smooth offsets, in levels, of a scene that its gains have already corrected."""

    cells: Float32
    """(4, cell row, cell column): levels to add, at the centres of cells."""

    def interpolate(self, start: int, stop: int, columns: int, cell: float) -> BilinearGrid:
        """Interpolate the offsets of rows `start` to `stop` (excluded): (4, y, x) levels, bilinear. No halo needed.

        `cell` is the side of a cell in pixels of the raster in question: `cell_mask.CELL_M / res`.
        """
        y = (np.arange(start, stop, dtype=np.float64) + 0.5) / cell - 0.5
        x = (np.arange(columns, dtype=np.float64) + 0.5) / cell - 0.5
        return BilinearGrid.from_nodes(self.cells, y, x)


def fit_local_offsets(scenes: Sequence[MaskedScene], cell: int) -> list[OffsetField]:
    """Fit the offset field of each scene.

    A field follows from the tile's scenes only, so all slabs have the same.

    Args:
        scenes: Whole tiles, all decimated alike, each with its gain; best scene first.
        cell: Side of a cell, in pixels of the scenes.

    Returns:
        One field per scene; that of the first is 0.
    """
    shape = scenes[0].clear.shape if scenes else (0, 0)
    image = np.zeros((len(BANDS), *shape), np.float32)
    known = np.zeros(shape, np.bool_)
    fields = []
    for scene in scenes:
        gain = np.zeros(len(BANDS), np.float32) if scene.gain is None else scene.gain
        clear = scene.clear & (scene.levels != 0).all(axis=0)
        field = _fit_field(image, known & clear, (scene.levels, gain), cell)
        fields.append(field)
        offset = field.interpolate(0, shape[0], shape[1], cell).evaluate()
        _fill_new_pixels(image, clear & ~known, scene.levels, gain, offset)
        known |= clear
    return fields


def _fit_field(image: Float32, both: Bool, scene: tuple[UInt8, Float32], cell: int) -> OffsetField:
    """Smooth the differences of the image minus the scene's (levels, gain), counted where `both` are clear."""
    shape = tuple(ceil(side / cell) for side in both.shape)
    sums, count = np.zeros((len(BANDS), *shape)), np.zeros(shape)
    _sum_differences(image, both, *scene, cell, sums, count)
    if not count.any():
        return OffsetField(np.zeros(sums.shape, np.float32))
    offset = np.zeros_like(sums)
    for width in SMOOTHING_CELLS:
        weight = scipy.ndimage.gaussian_filter(count, width, mode="constant") / cell**2
        for band, total in enumerate(sums):
            near = scipy.ndimage.gaussian_filter(total, width, mode="constant") / cell**2
            offset[band] = (near + HALF_TRUST_SHARE * offset[band]) / (weight + HALF_TRUST_SHARE)
    return OffsetField(offset.astype(np.float32))


@compile_kernel
def _sum_differences(
    image: Float32, both: Bool, levels: UInt8, gain: Float32, cell: int, sums: Float64, count: Float64
) -> None:
    """Add the differences to `sums` (4, cell row, cell column) and their number to `count`."""
    bands, height, width = levels.shape
    most = np.float32(MAX_DIFFERENCE)
    for y in range(height):
        for x in range(width):
            if both[y, x]:
                count[y // cell, x // cell] += 1
                for band in range(bands):
                    apart = image[band, y, x] - shift_level(levels[band, y, x], gain[band])
                    sums[band, y // cell, x // cell] += min(max(apart, -most), most)


@compile_kernel
def _fill_new_pixels(image: Float32, new: Bool, levels: UInt8, gain: Float32, offset: Float32) -> None:
    """Copy a scene's corrected levels to the pixels of the image that are `new`."""
    bands, height, width = levels.shape
    for band in range(bands):
        for y in range(height):
            for x in range(width):
                if new[y, x]:
                    image[band, y, x] = shift_level(levels[band, y, x], gain[band]) + offset[band, y, x]

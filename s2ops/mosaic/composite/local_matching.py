"""What a single gain cannot match: haze that changes over a tile. A smooth shift of levels, scene by scene.

Where a patch of a later scene fills a hole, it should continue the picture around it. So in order of priority each
scene is compared with the picture of the scenes before it, in cells of 600 m; the differences are smoothed over
kilometres and die out where the two share no clear ground. Texture is far finer than that and stays untouched. Nothing
needs full resolution: give every n-th pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np

from s2ops.constants import BANDS, Bool, Float32, Float64, UInt8
from s2ops.imaging.distance import Lerp
from s2ops.mosaic.composite.compositing import shifted
from s2ops.mosaic.composite.scene_stack import ClearScene
from s2ops.runtime.jit import compiled
from s2ops.runtime.lazy_scipy import ndimage

WIDTHS: Final = (24.0, 8.0, 3.0)
"""Standard deviations, in cells, of the smoothing: the wide one (14 km) says what the next (5 km, then 2 km) cannot."""

TRUST: Final = 0.02
"""Share of clear cells within a smoothing at which its figure counts half against the wider one's."""

LIMIT: Final = 24.0
"""Levels: a difference beyond it is a changed field or a missed cloud, and counts as this."""


@dataclass(frozen=True)
class ShiftField:
    """Levels to add to a scene that its gains have already corrected; known at the centres of cells."""

    cells: Float32
    """(4, cell row, cell column)."""

    def rows(self, start: int, stop: int, columns: int, cell: float) -> Lerp:
        """The shift of rows `start` to `stop` (excluded): (4, y, x) levels, bilinear. No halo needed.

        `cell` is the side of a cell in pixels of the raster asked for: `distance.CELL_M / res`.
        """
        y = (np.arange(start, stop, dtype=np.float64) + 0.5) / cell - 0.5
        x = (np.arange(columns, dtype=np.float64) + 0.5) / cell - 0.5
        return Lerp.of(self.cells, y, x)


def local_shifts(scenes: Sequence[ClearScene], cell: int) -> list[ShiftField]:
    """The shift field of each scene, best scene first; that one's is 0.

    The scenes are whole tiles, decimated alike, with the `gain` of each; `cell` is the side of a cell in their pixels.
    A field follows from the tile's scenes only, so every slab sees the same one.
    """
    shape = scenes[0].clear.shape if scenes else (0, 0)
    picture = np.zeros((len(BANDS), *shape), np.float32)
    known = np.zeros(shape, np.bool_)
    fields = []
    for scene in scenes:
        gain = np.zeros(len(BANDS), np.float32) if scene.gain is None else scene.gain
        clear = scene.clear & (scene.levels != 0).all(axis=0)
        field = _field(picture, known & clear, (scene.levels, gain), cell)
        fields.append(field)
        _continue(picture, clear & ~known, scene.levels, gain, field.rows(0, shape[0], shape[1], cell).values())
        known |= clear
    return fields


def _field(picture: Float32, both: Bool, scene: tuple[UInt8, Float32], cell: int) -> ShiftField:
    """What the picture has more than the scene's (levels, gain), counted where `both`, smoothed."""
    shape = tuple(ceil(side / cell) for side in both.shape)
    sums, count = np.zeros((len(BANDS), *shape)), np.zeros(shape)
    _differences(picture, both, *scene, cell, sums, count)
    if not count.any():
        return ShiftField(np.zeros(sums.shape, np.float32))
    shift = np.zeros_like(sums)
    for width in WIDTHS:
        weight = ndimage.gaussian_filter(count, width, mode="constant") / cell**2
        for band, total in enumerate(sums):
            near = ndimage.gaussian_filter(total, width, mode="constant") / cell**2
            shift[band] = (near + TRUST * shift[band]) / (weight + TRUST)
    return ShiftField(shift.astype(np.float32))


@compiled
def _differences(
    picture: Float32, both: Bool, levels: UInt8, gain: Float32, cell: int, sums: Float64, count: Float64
) -> None:
    """Into `sums` (4, cell row, cell column) the differences, into `count` the pixels that have one."""
    bands, height, width = levels.shape
    most = np.float32(LIMIT)
    for y in range(height):
        for x in range(width):
            if both[y, x]:
                count[y // cell, x // cell] += 1
                for band in range(bands):
                    apart = picture[band, y, x] - shifted(levels[band, y, x], gain[band])
                    sums[band, y // cell, x // cell] += min(max(apart, -most), most)


@compiled
def _continue(picture: Float32, new: Bool, levels: UInt8, gain: Float32, shift: Float32) -> None:
    """Put a scene's corrected levels where the picture is `new`."""
    bands, height, width = levels.shape
    for band in range(bands):
        for y in range(height):
            for x in range(width):
                if new[y, x]:
                    picture[band, y, x] = shifted(levels[band, y, x], gain[band]) + shift[band, y, x]

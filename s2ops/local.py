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
from scipy.ndimage import gaussian_filter

from s2ops.codes import BANDS, Bool, Float32, Float64
from s2ops.composite import ClearScene
from s2ops.distance import Lerp
from s2ops.gains import corrected

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

    The scenes are whole tiles, decimated alike, with the `tables` of their gains; `cell` is the side of a cell in
    their pixels. A field follows from the tile's scenes only, so every slab sees the same one.
    """
    shape = scenes[0].clear.shape if scenes else (0, 0)
    picture = np.zeros((len(BANDS), *shape), np.float32)
    known = np.zeros(shape, np.bool_)
    fields = []
    for scene in scenes:
        clear = scene.clear & (scene.levels != 0).all(axis=0)
        values = np.stack(
            [corrected(scene.levels[b], None if scene.tables is None else scene.tables[b]) for b in range(len(BANDS))]
        )
        field = ShiftField(_field(picture - values, known & clear, cell))
        fields.append(field)
        new = clear & ~known
        picture[:, new] = (values + field.rows(0, shape[0], shape[1], cell).values())[:, new]
        known |= clear
    return fields


def _field(difference: Float32, both: Bool, cell: int) -> Float32:
    """(4, y, x) differences, counted where `both` -> (4, cell row, cell column) smooth shift."""
    count = _cell_sums(both.astype(np.float64), cell) / cell**2
    out = []
    for band in difference:
        total = _cell_sums(np.where(both, np.clip(band, -LIMIT, LIMIT), 0).astype(np.float64), cell) / cell**2
        shift = np.zeros_like(count)
        for width in WIDTHS:
            near, weight = (gaussian_filter(part, width, mode="constant") for part in (total, count))
            shift = (near + TRUST * shift) / (weight + TRUST)
        out.append(shift.astype(np.float32))
    return np.stack(out)


def _cell_sums(values: Float64, cell: int) -> Float64:
    """(y, x) -> (cell row, cell column) sums; the last cells may be cut by the raster's border."""
    starts = [np.arange(ceil(side / cell)) * cell for side in values.shape]
    out: Float64 = np.add.reduceat(np.add.reduceat(values, starts[0], axis=0), starts[1], axis=1)
    return out

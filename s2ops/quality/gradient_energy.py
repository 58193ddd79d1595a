"""How much of the pictures' texture a blend keeps: two pictures that do not match, laid over one another, lose some."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from s2ops.constants import Bool, Float32, UInt8
from s2ops.mosaic.blend.feather_blend import Layer

EVERY = 8
"""Of the rows one in so many is looked at."""


@dataclass(frozen=True, slots=True)
class Energy:
    """Squared steps from pixel to pixel where two or more tiles show the ground; they add up over slabs."""

    mosaic: float = 0.0
    tiles: float = 0.0
    """The same in the tiles that show it, their mean."""

    @classmethod
    def of(cls, mosaic: UInt8, layers: Sequence[Layer]) -> Self:
        """Of a slab: (4, y, x) levels and the corrected layers that they were blended from."""
        shown = np.zeros(mosaic.shape[1:], np.uint8)
        for layer in layers:
            rows, cols = layer.valid.shape
            shown[layer.top : layer.top + rows, layer.left : layer.left + cols] += layer.valid
        if not (shown > 1).any():
            return cls()
        found = np.zeros(2)
        for axis in (0, 1):
            found += _along(axis, mosaic, layers, shown > 1)
        return cls(float(found[0]), float(found[1]))

    def __add__(self, other: "Energy") -> "Energy":
        return Energy(self.mosaic + other.mosaic, self.tiles + other.tiles)

    @property
    def kept(self) -> float | None:
        """Part of the tiles' energy that the mosaic has; None where no two tiles meet."""
        return round(self.mosaic / self.tiles, 3) if self.tiles else None


def _along(axis: int, mosaic: UInt8, layers: Sequence[Layer], both: Bool) -> tuple[float, float]:
    """Squared steps along y (0) or x (1) of the mosaic and of the layers' mean, where `both` ends are shown twice."""
    pairs = _ends(both, axis)
    steps = _steps(mosaic, axis)
    tiles, number = np.zeros(pairs.shape, np.float32), np.zeros(pairs.shape, np.float32)
    for layer in layers:
        valid = _ends(layer.valid, axis, -layer.top % EVERY)
        top = -(-layer.top // EVERY)
        place = (slice(top, top + valid.shape[0]), slice(layer.left, layer.left + valid.shape[1]))
        own = _steps(layer.levels, axis, -layer.top % EVERY)
        tiles[place] += np.where(valid, own, 0)
        number[place] += valid
    mean = tiles / np.maximum(number, 1)
    return float(steps[pairs].sum(dtype=np.float64)), float(mean[pairs].sum(dtype=np.float64))


def _ends(mask: Bool, axis: int, first: int = 0) -> Bool:
    """Whether a pixel of every EVERY-th row and the next one along the axis are both in the mask."""
    height = mask.shape[0] - 1 if axis == 0 else mask.shape[0]
    rows = np.arange(first, height, EVERY)
    return mask[rows] & mask[rows + 1] if axis == 0 else mask[rows, 1:] & mask[rows, :-1]


def _steps(levels: UInt8 | Float32, axis: int, first: int = 0) -> Float32:
    """(y, x) squared step to the next pixel, summed over bands."""
    height = levels.shape[1] - 1 if axis == 0 else levels.shape[1]
    rows = np.arange(first, height, EVERY)
    here = levels[:, rows].astype(np.float32)
    apart = levels[:, rows + 1] - here if axis == 0 else np.diff(here, axis=2)
    out: Float32 = (apart**2).sum(axis=0)
    return out

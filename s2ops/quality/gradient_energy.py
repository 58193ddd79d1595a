"""Gradient energy (sharpness, texture contrast) of blended tiles, a measure of blur.

Where two images that do not match are averaged, their texture is blurred: the mosaic then has less gradient energy than
the tiles that it was blended from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from s2ops.constants import Bool, Float32, UInt8
from s2ops.mosaic.blend.feather_blend import BlendLayer

ROW_STEP: Final = 8
"""Every eighth row is sampled."""


@dataclass(frozen=True, slots=True)
class GradientEnergy:
    """Sum of squared differences between adjacent pixels where tiles overlap; sums of slabs can be added."""

    mosaic: float = 0.0
    """Sum in the mosaic."""
    tiles: float = 0.0
    """Mean of the sums in the tiles that show the pixels."""

    @classmethod
    def from_mosaic(cls, mosaic: UInt8, layers: Sequence[BlendLayer]) -> Self:
        """Measure a slab.

        Args:
            mosaic: Blended levels `(4, y, x)`.
            layers: Corrected tiles that the slab was blended from.
        """
        shown = np.zeros(mosaic.shape[1:], np.uint8)
        for layer in layers:
            rows, cols = layer.valid.shape
            shown[layer.top : layer.top + rows, layer.left : layer.left + cols] += layer.valid
        if not (shown > 1).any():
            return cls()
        found = np.zeros(2)
        for axis in (0, 1):
            found += _sum_squared_steps(axis, mosaic, layers, shown > 1)
        return cls(float(found[0]), float(found[1]))

    def __add__(self, other: "GradientEnergy") -> "GradientEnergy":
        """Add the sums of another slab."""
        return GradientEnergy(self.mosaic + other.mosaic, self.tiles + other.tiles)

    @property
    def kept_fraction(self) -> float | None:
        """Fraction of the tiles' energy that is left in the mosaic; None if no two tiles overlap."""
        return round(self.mosaic / self.tiles, 3) if self.tiles else None


def _sum_squared_steps(axis: int, mosaic: UInt8, layers: Sequence[BlendLayer], both: Bool) -> tuple[float, float]:
    """Sum the squared steps along an axis in the mosaic, and their mean over the layers.

    Args:
        axis: 0 for steps along y, 1 for steps along x.
        mosaic: Blended levels `(4, y, x)`.
        layers: Corrected tiles.
        both: Mask `(y, x)` of pixels that two or more tiles show. A step counts if both of its pixels are in the mask.
    """
    pairs = _select_pixel_pairs(both, axis)
    steps = _compute_squared_steps(mosaic, axis)
    tiles, number = np.zeros(pairs.shape, np.float32), np.zeros(pairs.shape, np.float32)
    for layer in layers:
        valid = _select_pixel_pairs(layer.valid, axis, -layer.top % ROW_STEP)
        top = -(-layer.top // ROW_STEP)
        place = (slice(top, top + valid.shape[0]), slice(layer.left, layer.left + valid.shape[1]))
        own = _compute_squared_steps(layer.levels, axis, -layer.top % ROW_STEP)
        tiles[place] += np.where(valid, own, 0)
        number[place] += valid
    mean = tiles / np.maximum(number, 1)
    return float(steps[pairs].sum(dtype=np.float64)), float(mean[pairs].sum(dtype=np.float64))


def _select_pixel_pairs(mask: Bool, axis: int, first: int = 0) -> Bool:
    """Select the pixels of every ROW_STEP-th row that are in the mask together with the next pixel along the axis."""
    height = mask.shape[0] - 1 if axis == 0 else mask.shape[0]
    rows = np.arange(first, height, ROW_STEP)
    return mask[rows] & mask[rows + 1] if axis == 0 else mask[rows, 1:] & mask[rows, :-1]


def _compute_squared_steps(levels: UInt8 | Float32, axis: int, first: int = 0) -> Float32:
    """Compute the squared difference to the next pixel along the axis, summed over bands: `(y, x)`."""
    height = levels.shape[1] - 1 if axis == 0 else levels.shape[1]
    rows = np.arange(first, height, ROW_STEP)
    here = levels[:, rows].astype(np.float32)
    apart = levels[:, rows + 1] - here if axis == 0 else np.diff(here, axis=2)
    out: Float32 = (apart**2).sum(axis=0)
    return out

"""Feathering (distance-weighted, two-band blending) of neighbouring tiles, symmetric in the tiles.

Every pixel is a weighted mean of all tiles that show it, and the weights (`tile_weight.py`) depend on position only.
Tile A beside B has the same pixels in the overlap as B beside A, in any order of neighbours, and any tile can be made
again alone. The paper (section 2.2 d) blends tiles one after another instead, so that each waits for the tiles before.

A mean of two dates has the texture of neither: fields that were cut in between show faintly, and all is blurred. So
only the low-pass image (`low_pass.py`) is a mean with these weights. Texture changes from tile to tile within half a
kilometre, where their weights are equal: it is weighted by their sixteenth power.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from s2ops.constants import BANDS, Bool, Float32, UInt8
from s2ops.errors import RasterError
from s2ops.imaging.tone_curve import shift_level
from s2ops.mosaic.balance.correction_plane import PlaneOffsets
from s2ops.mosaic.blend.tile_weight import MIN_SHARP_WEIGHT, MIN_WEIGHT
from s2ops.runtime.jit import compile_kernel

MAX_COLUMNS: Final = 512
"""Columns that are blended at once: the floats of all layers stay small, and cuts fall on COG blocks."""


class BlendLayer(NamedTuple):
    """Pixels of one tile in a slab, already on the grid of the tile being made."""

    name: str
    """Name of the tile; layers are added in the order of names."""
    levels: Float32
    """(4, y, x) levels, corrected."""
    low_pass: Float32
    """(4, y, x) levels of the low-pass image, corrected."""
    weight: Float32
    """(y, x) `TileWeight`, resampled to this grid like the levels."""
    valid: Bool
    """(y, x): True where the tile has data."""
    top: int = 0
    """Row of the slab that the layer's first row is."""
    left: int = 0
    """Column of the slab that the layer's first column is."""


class BlendResult(NamedTuple):
    """Slab of the mosaic."""

    levels: UInt8
    """(4, y, x) levels 1..255; 0 where no tile has data."""
    dominant: UInt8
    """(y, x): n = the n-th of `names` has the largest weight; 0 is a hole."""
    names: tuple[str, ...]
    """Names of the layers, sorted."""


class _Sums(NamedTuple):
    """Running means of a slab, and the sums of weights so far."""

    sharp: Float32
    """(4, y, x): mean of the levels, by the sharpened weights."""
    sharp_low_pass: Float32
    """(4, y, x): mean of the low-pass levels, by the sharpened weights."""
    low_pass: Float32
    """(4, y, x): mean of the low-pass levels, by the plain weights."""
    sharp_weight: Float32
    """(y, x): sum of the sharpened weights."""
    weight: Float32
    """(y, x): sum of the plain weights."""
    largest: Float32
    """(y, x): largest plain weight."""
    dominant: UInt8
    """(y, x): number of the layer with the largest weight, from 1."""

    def crop(self, rows: slice, cols: slice) -> "_Sums":
        """Return a view of a part."""
        return _Sums(
            self.sharp[:, rows, cols], self.sharp_low_pass[:, rows, cols], self.low_pass[:, rows, cols],
            self.sharp_weight[rows, cols], self.weight[rows, cols], self.largest[rows, cols],
            self.dominant[rows, cols],
        )  # fmt: skip


@dataclass
class Blender:
    """Blend of one slab: add layers in the order of their names, then `finish`."""

    shape: tuple[int, int]
    names: list[str] = field(default_factory=list, init=False)
    _sums: _Sums = field(init=False)

    def __post_init__(self) -> None:
        sharp, sharp_low_pass, low_pass = np.zeros((3, len(BANDS), *self.shape), np.float32)
        sharp_weight, weight, largest = np.zeros((3, *self.shape), np.float32)
        dominant = np.zeros(self.shape, np.uint8)
        self._sums = _Sums(sharp, sharp_low_pass, low_pass, sharp_weight, weight, largest, dominant)

    def add(self, layer: BlendLayer) -> None:
        """Add a layer.

        Raises:
            RasterError: If the layer leaves the slab, or is out of order, so that sums would differ.
        """
        rows, cols = layer.valid.shape
        window = (slice(layer.top, layer.top + rows), slice(layer.left, layer.left + cols))
        self._check_layer(layer, window)
        self.names.append(layer.name)
        here = self._sums.crop(*window)
        _add_layer(layer.levels, layer.low_pass, layer.weight, layer.valid, np.uint8(len(self.names)), here)

    def _check_layer(self, layer: BlendLayer, window: tuple[slice, slice]) -> None:
        if self.names and layer.name <= self.names[-1]:
            raise RasterError(
                f"Cannot blend: layer {layer.name} comes after {self.names[-1]}; add layers in the order of names."
            )
        if not layer.levels.shape == layer.low_pass.shape == (len(BANDS), *layer.weight.shape) or (
            layer.weight.shape != layer.valid.shape
        ):
            raise RasterError(
                f"Cannot blend: layer {layer.name} has levels of {layer.levels.shape} and {layer.low_pass.shape}, "
                f"weights of {layer.weight.shape} and a mask of {layer.valid.shape}; cut all to the same window."
            )
        if min(layer.top, layer.left) < 0 or window[0].stop > self.shape[0] or window[1].stop > self.shape[1]:
            raise RasterError(
                f"Cannot blend: layer {layer.name} leaves the slab of {self.shape} pixels; clip it to the slab."
            )

    def finish(self) -> BlendResult:
        """Return the slab of all layers so far."""
        levels = np.zeros((len(BANDS), *self.shape), np.uint8)
        _combine_bands(self._sums, levels)
        return BlendResult(levels, self._sums.dominant.copy(), tuple(self.names))


@compile_kernel
def _add_layer(
    levels: Float32, low_pass: Float32, weights: Float32, valid: Bool, number: np.uint8, sums: _Sums
) -> None:
    """Add a layer to the running means of its pixels."""
    bands, height, width = levels.shape
    for y in range(height):
        for x in range(width):
            if not valid[y, x]:
                continue
            weight = max(weights[y, x], MIN_WEIGHT)
            if weight > sums.largest[y, x]:
                sums.largest[y, x] = weight
                sums.dominant[y, x] = number
            square = max(weight, MIN_SHARP_WEIGHT) ** 2
            fourth = square * square
            sharp = fourth * fourth * fourth * fourth
            sums.weight[y, x] += weight
            sums.sharp_weight[y, x] += sharp
            # running means: where one tile alone is valid its part is 1, and the pixel is that tile's, exactly
            part, sharp_part = weight / sums.weight[y, x], sharp / sums.sharp_weight[y, x]
            for band in range(bands):
                smooth = low_pass[band, y, x]
                sums.low_pass[band, y, x] += (smooth - sums.low_pass[band, y, x]) * part
                sums.sharp_low_pass[band, y, x] += (smooth - sums.sharp_low_pass[band, y, x]) * sharp_part
                sums.sharp[band, y, x] += (levels[band, y, x] - sums.sharp[band, y, x]) * sharp_part


@compile_kernel
def _combine_bands(sums: _Sums, out: UInt8) -> None:
    """Add texture (sharpened weights) to the low-pass image (plain weights) and round to levels."""
    bands, height, width = out.shape
    low, high = np.float32(1), np.float32(255)
    for band in range(bands):
        for y in range(height):
            for x in range(width):
                if sums.dominant[y, x]:
                    level = sums.sharp[band, y, x] + (sums.low_pass[band, y, x] - sums.sharp_low_pass[band, y, x])
                    out[band, y, x] = np.uint8(np.rint(min(max(level, low), high)))


def blend_layers(shape: tuple[int, int], layers: Iterable[BlendLayer]) -> BlendResult:
    """Blend the layers of a slab of `shape` (rows, columns); their order does not matter."""
    blender = Blender(shape)
    for layer in sorted(layers, key=lambda layer: layer.name):
        blender.add(layer)
    return blender.finish()


def apply_correction(levels: UInt8, offsets: PlaneOffsets) -> Float32:
    """Add a tile's correction to its (4, y, x) levels: unrounded, 1..255; 0 stays no data."""
    out = np.zeros(levels.shape, np.float32)
    _correct(np.ascontiguousarray(levels), offsets, out)
    return out


def correct_single_tile(levels: UInt8, valid: Bool, offsets: PlaneOffsets) -> UInt8:
    """Correct the (4, y, x) levels of a tile without neighbours, exactly as `blend_layers` would.

    Args:
        levels: (4, y, x) levels of the composite.
        valid: (y, x) bool: True where the tile has data.
        offsets: Correction over the same pixels.

    Returns:
        (4, y, x) levels 1..255; 0 where `valid` is False.
    """
    out = np.zeros(levels.shape, np.uint8)
    _correct_rounded(np.ascontiguousarray(levels), np.ascontiguousarray(valid), offsets, out)
    return out


@compile_kernel
def _correct(levels: UInt8, offsets: PlaneOffsets, out: Float32) -> None:
    """Write corrected levels where a band has data."""
    for band in range(levels.shape[0]):
        for y in range(levels.shape[1]):
            for x in range(levels.shape[2]):
                if levels[band, y, x]:
                    offset = offsets.rows[band, y] + offsets.cols[band, x]
                    out[band, y, x] = shift_level(levels[band, y, x], offset)


@compile_kernel
def _correct_rounded(levels: UInt8, valid: Bool, offsets: PlaneOffsets, out: UInt8) -> None:
    """Write corrected levels, rounded, where all bands have data: in one pass, without floats in memory."""
    for band in range(levels.shape[0]):
        for y in range(levels.shape[1]):
            for x in range(levels.shape[2]):
                if valid[y, x]:
                    offset = offsets.rows[band, y] + offsets.cols[band, x]
                    out[band, y, x] = np.uint8(np.rint(shift_level(levels[band, y, x], offset)))


def split_columns(width: int, others: Iterable[tuple[int, int]]) -> list[tuple[slice, bool]]:
    """Split columns 0 to `width` where neighbours begin or end, and into spans of at most `MAX_COLUMNS`.

    Args:
        width: Number of columns.
        others: First column of each neighbour, and the column after its last; they may lie outside.

    Returns:
        Each span, and True if any neighbour shows it.
    """
    shown = list(others)
    cuts = sorted({*range(0, width, MAX_COLUMNS), width, *(min(max(at, 0), width) for span in shown for at in span)})
    return [(slice(a, b), any(first < b and a < last for first, last in shown)) for a, b in pairwise(cuts)]

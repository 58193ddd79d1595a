"""Neighbouring tiles become one picture: every pixel is a mean of all tiles that show it, weighted by position only.

A tile's weight at a place follows from that tile's own valid area: 0 at its border and at its holes, 1 from
`RAMP_M` inside. It does not matter which tile is being made, nor in what order its neighbours come: tile A beside B
gives the same pixels in the overlap as B beside A, and any tile can be made again alone. The paper (section 2.2 d)
blends tiles one after the other instead, so that each waits for the ones before it.

A mean of two dates has the texture of neither: fields that were cut in between show faintly, and all is blurred.
So only what is seen from afar (`afar.py`) is a mean with these weights. Texture goes over from tile to tile within
half a kilometre, where their weights are equal: there the weights' sixteenth power decides.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple, Self

import numpy as np

from s2ops.constants import BANDS, Bool, Float32, Float64, UInt8
from s2ops.errors import RasterError
from s2ops.imaging.distance import CELL_M, NodeDistance, ValidCells
from s2ops.mosaic.balance.correction_plane import Plane
from s2ops.runtime.jit import compiled

RAMP_M: Final = 9_600.0
"""Distance in metres from a tile's border at which its weight is full. Sentinel-2 tiles overlap by 9,800 m: the fade
takes the whole overlap, where two tiles of unequal colour are least told apart."""

FLOOR: Final = np.float32(2.0**-12)
"""Weight of a valid pixel right at a border: never 0, so it shows where no other tile does; elsewhere it is
below a tenth of a level."""

SHARP_FLOOR: Final = np.float32(2.0**-7)
"""The same for the sharpened weights: its sixteenth power is still a float32."""


@dataclass(frozen=True)
class TileWeight:
    """The weight of one tile, at any place of its own grid."""

    distance: NodeDistance
    ramp: float
    """Distance in pixels from border or hole to full weight."""

    @classmethod
    def of(cls, valid: ValidCells, res: float, ramp_m: float = RAMP_M) -> Self:
        """From the tile's valid cells (`valid_cells`); `res` is metres per pixel."""
        return cls(NodeDistance.of(valid), ramp_m / res)

    def rows(self, start: int, stop: int, columns: int) -> Float32:
        """Weights of rows `start` to `stop` (excluded): (y, x) float32 in 0..1, always above 0. No halo needed.

        They say nothing of single invalid pixels: give those to `Layer.valid`.
        """
        return self.at(np.arange(start, stop, dtype=np.float64) + 0.5, np.arange(columns, dtype=np.float64) + 0.5)

    def at(self, y: Float64, x: Float64) -> Float32:
        """Weights at the crossings of `y` and `x`, in pixels from the upper left corner: (y, x) float32."""
        part = self.distance.at(y, x)
        part /= np.float32(self.ramp)
        np.minimum(part, 1, out=part)
        # smoothstep: no kink where the fade begins and ends, and over the full overlap two tiles sum to one
        weight: Float32 = FLOOR + (1 - FLOOR) * part * part * (3 - 2 * part)
        return weight


def valid_cells(shape: tuple[int, int], res: float) -> ValidCells:
    """What a tile of `shape` pixels of `res` metres is fed into, slab by slab, to give its `TileWeight`."""
    return ValidCells(shape, max(round(CELL_M / res), 1))


WIDEST: Final = 512
"""Columns that are blended at once: floats of all layers stay small, and cuts fall on COG blocks."""


class Layer(NamedTuple):
    """What one tile shows of a slab, already on the grid of the tile being made."""

    name: str
    """The tile: layers are summed in the order of names."""
    levels: Float32
    """(4, y, x) levels, corrected."""
    afar: Float32
    """(4, y, x): the same as seen from afar."""
    weight: Float32
    """(y, x) `TileWeight`, brought to this grid like the levels."""
    valid: Bool
    """(y, x): where the tile shows something."""
    top: int = 0
    """Row of the slab that the layer's first row is."""
    left: int = 0
    """Column of the slab that the layer's first column is."""


class Blended(NamedTuple):
    """A slab of the mosaic."""

    levels: UInt8
    """(4, y, x) levels 1..255; 0 where no tile shows anything."""
    dominant: UInt8
    """(y, x): n = the n-th of `names` has the largest weight; 0 is a hole."""
    names: tuple[str, ...]
    """The layers, in the order of names."""


class _Sums(NamedTuple):
    """Running means of a slab, and the sums of weights that they have had."""

    sharp: Float32
    """(4, y, x): levels, and below what is seen of them from afar, by the sharpened weights."""
    sharp_afar: Float32
    afar: Float32
    """(4, y, x): what is seen from afar, by the weights as they are."""
    sharpened: Float32
    """(y, x)."""
    weight: Float32
    largest: Float32
    dominant: UInt8

    def cut(self, rows: slice, cols: slice) -> "_Sums":
        """The same memory, a part of it."""
        return _Sums(
            self.sharp[:, rows, cols], self.sharp_afar[:, rows, cols], self.afar[:, rows, cols],
            self.sharpened[rows, cols], self.weight[rows, cols], self.largest[rows, cols], self.dominant[rows, cols],
        )  # fmt: skip


@dataclass
class Blender:
    """The blend of one slab; feed layers in the order of their names, take the `result`."""

    shape: tuple[int, int]
    names: list[str] = field(default_factory=list, init=False)
    _sums: _Sums = field(init=False)

    def __post_init__(self) -> None:
        sharp, sharp_afar, afar = np.zeros((3, len(BANDS), *self.shape), np.float32)
        sharpened, weight, largest = np.zeros((3, *self.shape), np.float32)
        dominant = np.zeros(self.shape, np.uint8)
        self._sums = _Sums(sharp, sharp_afar, afar, sharpened, weight, largest, dominant)

    def feed(self, layer: Layer) -> None:
        """Add a layer. Raises RasterError where it leaves the slab, or comes out of order: sums would then differ."""
        rows, cols = layer.valid.shape
        place = (slice(layer.top, layer.top + rows), slice(layer.left, layer.left + cols))
        self._check(layer, place)
        self.names.append(layer.name)
        here = self._sums.cut(*place)
        _feed(layer.levels, layer.afar, layer.weight, layer.valid, np.uint8(len(self.names)), here)

    def _check(self, layer: Layer, place: tuple[slice, slice]) -> None:
        if self.names and layer.name <= self.names[-1]:
            raise RasterError(f"layer {layer.name} comes after {self.names[-1]}; feed layers in the order of names")
        if not layer.levels.shape == layer.afar.shape == (len(BANDS), *layer.weight.shape) or (
            layer.weight.shape != layer.valid.shape
        ):
            raise RasterError(
                f"layer {layer.name} has levels of {layer.levels.shape} and {layer.afar.shape}, weights of "
                f"{layer.weight.shape} and a mask of {layer.valid.shape}; cut them alike"
            )
        if min(layer.top, layer.left) < 0 or place[0].stop > self.shape[0] or place[1].stop > self.shape[1]:
            raise RasterError(f"layer {layer.name} leaves the slab of {self.shape} pixels; clip it first")

    def result(self) -> Blended:
        """The slab of what was fed."""
        levels = np.zeros((len(BANDS), *self.shape), np.uint8)
        _finish(self._sums, levels)
        return Blended(levels, self._sums.dominant.copy(), tuple(self.names))


@compiled
def _feed(levels: Float32, afar: Float32, weights: Float32, valid: Bool, number: np.uint8, sums: _Sums) -> None:
    bands, height, width = levels.shape
    for y in range(height):
        for x in range(width):
            if not valid[y, x]:
                continue
            weight = max(weights[y, x], FLOOR)
            if weight > sums.largest[y, x]:
                sums.largest[y, x] = weight
                sums.dominant[y, x] = number
            square = max(weight, SHARP_FLOOR) ** 2
            fourth = square * square
            sharp = fourth * fourth * fourth * fourth
            sums.weight[y, x] += weight
            sums.sharpened[y, x] += sharp
            # running means: where one tile alone is valid its part is 1, and the pixel is that tile's, exactly
            part, sharp_part = weight / sums.weight[y, x], sharp / sums.sharpened[y, x]
            for band in range(bands):
                far = afar[band, y, x]
                sums.afar[band, y, x] += (far - sums.afar[band, y, x]) * part
                sums.sharp_afar[band, y, x] += (far - sums.sharp_afar[band, y, x]) * sharp_part
                sums.sharp[band, y, x] += (levels[band, y, x] - sums.sharp[band, y, x]) * sharp_part


@compiled
def _finish(sums: _Sums, out: UInt8) -> None:
    bands, height, width = out.shape
    low, high = np.float32(1), np.float32(255)
    for band in range(bands):
        for y in range(height):
            for x in range(width):
                if sums.dominant[y, x]:
                    level = sums.sharp[band, y, x] + (sums.afar[band, y, x] - sums.sharp_afar[band, y, x])
                    out[band, y, x] = np.uint8(np.rint(min(max(level, low), high)))


def blend(shape: tuple[int, int], layers: Iterable[Layer]) -> Blended:
    """Blend the layers of a slab of `shape` (rows, columns); their order does not matter."""
    blender = Blender(shape)
    for layer in sorted(layers, key=lambda layer: layer.name):
        blender.feed(layer)
    return blender.result()


def corrected(levels: UInt8, plane: Plane) -> Float32:
    """(4, y, x) levels plus their tile's correction, unrounded, 1..255; 0 stays no data."""
    out = np.zeros(levels.shape, np.float32)
    _correct(np.ascontiguousarray(levels), plane, out)
    return out


def alone(levels: UInt8, valid: Bool, plane: Plane) -> UInt8:
    """What `blend` gives where one tile alone is seen: its (4, y, x) levels, corrected."""
    out = np.zeros(levels.shape, np.uint8)
    _copy(np.ascontiguousarray(levels), np.ascontiguousarray(valid), plane, out)
    return out


@compiled
def _correct(levels: UInt8, plane: Plane, out: Float32) -> None:
    low, high = np.float32(1), np.float32(255)
    for band in range(levels.shape[0]):
        for y in range(levels.shape[1]):
            for x in range(levels.shape[2]):
                if levels[band, y, x]:
                    level = np.float32(levels[band, y, x]) + (plane.rows[band, y] + plane.cols[band, x])
                    out[band, y, x] = min(max(level, low), high)


@compiled
def _copy(levels: UInt8, valid: Bool, plane: Plane, out: UInt8) -> None:
    low, high = np.float32(1), np.float32(255)
    for band in range(levels.shape[0]):
        for y in range(levels.shape[1]):
            for x in range(levels.shape[2]):
                if valid[y, x]:
                    level = np.float32(levels[band, y, x]) + (plane.rows[band, y] + plane.cols[band, x])
                    out[band, y, x] = np.uint8(np.rint(min(max(level, low), high)))


def spans(width: int, others: Iterable[tuple[int, int]]) -> list[tuple[slice, bool]]:
    """Columns 0 to `width` cut where one of `others` (first column, column after the last) begins or ends.

    With each span: whether any of `others` shows it. None is wider than `WIDEST`.
    """
    shown = list(others)
    cuts = sorted({*range(0, width, WIDEST), width, *(min(max(at, 0), width) for span in shown for at in span)})
    return [(slice(a, b), any(first < b and a < last for first, last in shown)) for a, b in pairwise(cuts)]

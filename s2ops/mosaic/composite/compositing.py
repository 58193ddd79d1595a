"""Per-pixel compositing of a tile's scenes with provenance: best scene first, patch borders feathered (paper, 2.2 c).

Scenes are composited in priority order: each scene gets the part of a pixel's weight that earlier scenes have not
used. Deep inside its clear area that is all of it. Towards cloud, shadow or the swath's edge its weight falls with the
distance (`edge_weights.py`), so that the next scene comes in gradually, and thin cloud that a mask has missed at its
rim weighs little. Weight that the last scene leaves is distributed in proportion: every pixel that is clear in some
scene is filled, and no other pixel.

Levels are mixed, not reflectances. The tone curve is nearly logarithmic, so equal steps of the feather look equal, a
bright remnant of cloud has less effect on a dark pixel, and no pixel needs a logarithm.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Final, NamedTuple, Self

import numpy as np

from s2ops.constants import BANDS, Float32, UInt8
from s2ops.errors import RasterError
from s2ops.imaging.tone_curve import shift_level
from s2ops.mosaic.composite.edge_weights import EdgeWeights, create_clear_cells
from s2ops.mosaic.composite.scene_stack import MaskedScene, SceneArrays, SceneStack
from s2ops.runtime.jit import compile_kernel

MIN_WEIGHT: Final = np.float32(1 / 255)
"""Smallest weight of a clear pixel: above 0, so that pixels that are clear only near an edge are filled."""


class Composite(NamedTuple):
    """A composite and the provenance of its pixels."""

    levels: UInt8
    """(4, y, x) levels 1..255; 0 in holes."""
    provenance: UInt8
    """(y, x): n = the n-th scene has the largest weight, and is clear there; 0 is a hole."""
    weight: UInt8
    """(y, x): that weight in percent, in steps of 5; 0 is a hole."""

    @classmethod
    def from_shape(cls, shape: tuple[int, int]) -> Self:
        """Create a composite of `shape` (rows, columns) that is all holes."""
        return cls(np.zeros((len(BANDS), *shape), np.uint8), np.zeros(shape, np.uint8), np.zeros(shape, np.uint8))

    @property
    def holes(self) -> int:
        """Number of pixels that no scene fills."""
        return int(np.count_nonzero(self.provenance == 0))


class CompositeMethod(ABC):
    """Rule that merges the scenes of a block; it fills every pixel that is clear in some scene, and no other.

    `reducers.py` has the other methods.
    """

    stops_early: ClassVar[bool] = False
    """True if scenes after one that has weight 1 at a pixel do not change that pixel."""

    @classmethod
    def composite(cls, stack: SceneStack) -> Composite:
        """Merge the scenes of a stack."""
        out, scenes = Composite.from_shape(stack.shape), stack.to_arrays()
        if scenes is not None:
            cls.merge(scenes, out)
        return out

    @staticmethod
    @abstractmethod
    def merge(scenes: SceneArrays, out: Composite) -> None:
        """Merge scenes into `out`, which is all holes."""


class FeatheredFirst(CompositeMethod):
    """Newest clear pixel, feathered: each scene gets the weight that earlier scenes have not used (see above)."""

    stops_early = True

    @staticmethod
    def merge(scenes: SceneArrays, out: Composite) -> None:
        """Merge scenes in the order of priority."""
        _merge_in_order(scenes, out)


@compile_kernel
def _merge_in_order(scenes: SceneArrays, out: Composite) -> None:
    """Merge row by row: intermediate results of a row stay in the processor's nearest cache."""
    number, bands, height, width = scenes.levels.shape
    weights, mean = np.empty(width, np.float32), np.empty((bands, width), np.float32)
    left, total, largest = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    zero = np.float32(0)
    for y in range(height):
        compute_scene_weights(scenes, 0, y, weights)
        if _is_fully_covered(weights):  # most rows of a tile with few clouds
            _copy_row(scenes, y, mean[0], out)
            continue
        left[:], total[:], largest[:], mean[:] = np.float32(1), zero, zero, zero
        for scene in range(number):
            if scene > 0:
                compute_scene_weights(scenes, scene, y, weights)
            start, stop = _accumulate_weights(weights, left, total, largest, out.provenance[y], scenes.numbers[scene])
            if start < stop:
                _blend_row(scenes, scene, y, start, stop, weights, mean)
            open_ = False
            for x in range(width):
                open_ |= left[x] > 0
            if not open_:
                break
        for band in range(bands):
            for x in range(width):
                out.levels[band, y, x] = np.uint8(np.rint(mean[band, x]))
        for x in range(width):
            out.weight[y, x] = quantize_percent(largest[x] / total[x]) if total[x] > 0 else np.uint8(0)


@compile_kernel
def _is_fully_covered(weights: Float32) -> bool:
    """Return True if a scene has weight 1 in a whole row of pixels."""
    whole = True
    for x in range(len(weights)):
        whole &= weights[x] >= 1
    return whole


@compile_kernel
def _copy_row(scenes: SceneArrays, y: int, row: Float32, out: Composite) -> None:
    """Copy a row of the first scene, bit for bit as the general way would merge it; `row` (x,) is scratch."""
    for band in range(out.levels.shape[0]):
        correct_row(scenes, 0, band, y, row)
        for x in range(len(row)):
            out.levels[band, y, x] = np.uint8(np.rint(row[x]))
    out.provenance[y, :], out.weight[y, :] = scenes.numbers[0], np.uint8(100)


@compile_kernel
def _blend_row(
    scenes: SceneArrays, scene: int, y: int, start: np.uint64, stop: np.uint64, part: Float32, mean: Float32
) -> None:
    """Blend a scene's corrected levels into the running mean (band, x) of a row, from `start` to `stop`.

    Both are unsigned so that no index is checked for being negative: the loops then process eight pixels at once.
    """
    offsets = scenes.offsets
    for band in range(len(mean)):
        levels, gain, row = scenes.levels[scene, band, y], scenes.gains[scene, band], mean[band]
        if not scenes.has_offset[scene]:
            for x in range(start, stop):
                row[x] += (shift_level(levels[x], gain) - row[x]) * part[x]
            continue
        upper, lower = offsets.lines[scene, band, offsets.above[y]], offsets.lines[scene, band, offsets.below[y]]
        down = offsets.part[y]
        for x in range(start, stop):
            add = gain + (upper[x] + (lower[x] - upper[x]) * down)
            row[x] += (shift_level(levels[x], add) - row[x]) * part[x]


@compile_kernel
def _accumulate_weights(
    weights: Float32, left: Float32, total: Float32, largest: Float32, provenance: UInt8, number: np.uint8
) -> tuple[np.uint64, np.uint64]:
    """Add a scene's weights, limited to what earlier scenes have left, to the totals of a row.

    `weights` becomes the scene's part of the total so far, for a running mean. The first scene has the part 1, so a
    pixel of one scene is exactly that scene's.

    Returns:
        First pixel with weight, and the pixel after the last.
    """
    start, stop = len(weights), 0
    while start > stop and weights[stop] * left[stop] <= 0:
        stop += 1
    start, stop = stop, start
    while stop > start and weights[stop - 1] * left[stop - 1] <= 0:
        stop -= 1
    first, last = np.uint64(start), np.uint64(stop)
    for x in range(first, last):
        weights[x] *= left[x]
        left[x] -= weights[x]
        total[x] += weights[x]
    for x in range(first, last):
        provenance[x] = number if weights[x] > largest[x] else provenance[x]
    for x in range(first, last):
        largest[x] = max(largest[x], weights[x])
        weights[x] /= max(total[x], MIN_WEIGHT)
    return first, last


@compile_kernel
def compute_scene_weights(scenes: SceneArrays, scene: int, y: int, weights: Float32) -> None:
    """Write a scene's edge weights of a row to `weights` (x,); 0 where it is not clear or lacks data in a band."""
    edge, clear, levels = scenes.edge_weights, scenes.clear[scene, y], scenes.levels[scene]
    upper, lower, down = edge.lines[scene, edge.above[y]], edge.lines[scene, edge.below[y]], edge.part[y]
    for x in range(len(weights)):
        weights[x] = max(upper[x] + (lower[x] - upper[x]) * down, MIN_WEIGHT)
    for x in range(len(weights)):
        seen = clear[x] & (levels[0, y, x] != 0) & (levels[1, y, x] != 0)
        seen &= (levels[2, y, x] != 0) & (levels[3, y, x] != 0)
        weights[x] = weights[x] if seen else np.float32(0)


@compile_kernel
def correct_row(scenes: SceneArrays, scene: int, band: int, y: int, out: Float32) -> None:
    """Write a row of a scene's band to `out` (x,), corrected by its gain and its local offset."""
    levels, gain, offsets = scenes.levels[scene, band, y], scenes.gains[scene, band], scenes.offsets
    if not scenes.has_offset[scene]:
        for x in range(len(out)):
            out[x] = shift_level(levels[x], gain)
        return
    upper, lower = offsets.lines[scene, band, offsets.above[y]], offsets.lines[scene, band, offsets.below[y]]
    down = offsets.part[y]
    for x in range(np.uint64(0), np.uint64(len(out))):
        out[x] = shift_level(levels[x], gain + (upper[x] + (lower[x] - upper[x]) * down))


@compile_kernel
def quantize_percent(weight: np.float32) -> np.uint8:
    """Convert a weight of 0 to 1 to percent in steps of 5, at least 5: finer steps compress worse."""
    return np.uint8(max(np.rint(weight * np.float32(20)) * np.float32(5), np.float32(5)))


def composite_scenes(
    scenes: Iterable[MaskedScene],
    feather_px: float,
    rows: slice = slice(None),
    method: type[CompositeMethod] = FeatheredFirst,
) -> Composite:
    """Composite whole scenes of a tile.

    Slabs of a tile are exactly the rows of the whole. No further scene is requested once no later scene can change a
    pixel.

    Args:
        scenes: Scenes of one shape, best first.
        feather_px: Width of the feather along clouds and swath edges, in pixels.
        rows: Rows of the tile to composite.
        method: Rule that merges the scenes (`reducers.COMPOSITE_METHODS`).

    Raises:
        RasterError: If there is no scene, or a scene has another shape than the first.
    """
    stack: SceneStack | None = None
    for scene in scenes:
        height, width = scene.clear.shape
        window = slice(*rows.indices(height)[:2]), slice(0, width)
        if stack is None:
            stack = SceneStack().reset((window[0].stop - window[0].start, width))
            nothing = EdgeWeights.from_clear_cells(create_clear_cells((height, width), feather_px), feather_px)
            open_ = np.ones_like(nothing.is_saturated(*window))
        clear = scene.clear & (scene.levels != 0).all(axis=0)
        weights = EdgeWeights.from_clear_cells(create_clear_cells(clear.shape, feather_px).feed(clear), feather_px)
        offset = None if scene.offset is None else scene.offset.crop(window[0])
        stack.append(scene.levels[:, window[0]], clear[window[0]], weights.sample(*window), scene.gain, offset)
        open_ &= ~weights.is_saturated(*window)
        if method.stops_early and not open_.any():
            break
    if stack is None:
        raise RasterError("Cannot composite: there is no scene; write an empty tile instead.")
    return method.composite(stack)

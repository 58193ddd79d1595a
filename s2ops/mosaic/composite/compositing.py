"""Per-pixel fusion of a tile's scenes: the best scene first, patch borders cross-faded (paper, section 2.2 c).

A scene takes of each pixel what the scenes before it left. Deep inside its clear area that is all of it; towards
cloud, shadow or the swath's edge its share falls with the distance (`fading.py`), so the next scene comes in gradually,
and thin cloud that a mask has missed at its rim weighs little. What the last scene leaves is shared out in proportion:
every pixel that any scene saw clear is filled, and no other.

Levels are mixed, not reflectances: the tone curve is nearly logarithmic, so equal steps of the fade look equal, a
bright remnant of cloud pulls less on a dark pixel, and no pixel needs a logarithm.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Final, NamedTuple, Self

import numpy as np

from s2ops.constants import BANDS, Float32, UInt8
from s2ops.errors import RasterError
from s2ops.mosaic.composite.edge_weights import Fade, cells_for
from s2ops.mosaic.composite.scene_stack import ClearScene, SceneStack, Stacked
from s2ops.runtime.jit import compiled

LEAST: Final = np.float32(1 / 255)
"""Share that a clear pixel claims at least: it is above 0, so what only rims have seen is filled."""


class Fused(NamedTuple):
    """A composite and where each of its pixels came from."""

    levels: UInt8
    """(4, y, x) levels 1..255; 0 in holes."""
    source: UInt8
    """(y, x): n = the n-th scene fed has the largest share of the pixel, and was clear there; 0 is a hole."""
    weight: UInt8
    """(y, x): that share in percent, in steps of 5; 0 is a hole."""

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> Self:
        """Nothing but holes."""
        return cls(np.zeros((len(BANDS), *shape), np.uint8), np.zeros(shape, np.uint8), np.zeros(shape, np.uint8))

    @property
    def holes(self) -> int:
        """Pixels that no scene filled."""
        return int(np.count_nonzero(self.source == 0))


class Rule(ABC):
    """How the scenes of a block become one picture; every pixel that some scene saw clear is filled, and no other.

    A small class for each rule (`rules.py`).
    """

    stops_early: ClassVar[bool] = False
    """Whether a scene that claims a pixel whole leaves nothing of it to others."""

    @classmethod
    def result(cls, looks: SceneStack) -> Fused:
        """The composite of a block's scenes."""
        out, stacked = Fused.empty(looks.shape), looks.stacked()
        if stacked is not None:
            cls.merge(stacked, out)
        return out

    @staticmethod
    @abstractmethod
    def merge(scenes: Stacked, out: Fused) -> None:
        """Fill `out`, which is all holes."""


class FadedFirst(Rule):
    """The newest clear pixel: each scene takes what those before it left (see above)."""

    stops_early = True

    @staticmethod
    def merge(scenes: Stacked, out: Fused) -> None:
        """Shares in order of priority."""
        _first(scenes, out)


@compiled
def _first(scenes: Stacked, out: Fused) -> None:
    """A row at a time: what is worked out for it stays in the processor's nearest cache."""
    number, bands, height, width = scenes.levels.shape
    share, mean = np.empty(width, np.float32), np.empty((bands, width), np.float32)
    left, weight, largest = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    zero = np.float32(0)
    for y in range(height):
        claimed(scenes, 0, y, share)
        if _all_of(share):  # most rows of a tile with few clouds
            _take_all(scenes, y, mean[0], out)
            continue
        left[:], weight[:], largest[:], mean[:] = np.float32(1), zero, zero, zero
        for scene in range(number):
            if scene > 0:
                claimed(scenes, scene, y, share)
            start, stop = _take(share, left, weight, largest, out.source[y], scenes.numbers[scene])
            if start < stop:
                _mix(scenes, scene, y, start, stop, share, mean)
            open_ = False
            for x in range(width):
                open_ |= left[x] > 0
            if not open_:
                break
        for band in range(bands):
            for x in range(width):
                out.levels[band, y, x] = np.uint8(np.rint(mean[band, x]))
        for x in range(width):
            out.weight[y, x] = percent(largest[x] / weight[x]) if weight[x] > 0 else np.uint8(0)


@compiled
def _all_of(share: Float32) -> bool:
    """Whether a scene claims a row of pixels whole."""
    whole = True
    for x in range(len(share)):
        whole &= share[x] >= 1
    return whole


@compiled
def _take_all(scenes: Stacked, y: int, row: Float32, out: Fused) -> None:
    """A row that is the first scene's alone, as the general way would have it, to the bit; `row` (x,) is scratch."""
    for band in range(out.levels.shape[0]):
        corrected_row(scenes, 0, band, y, row)
        for x in range(len(row)):
            out.levels[band, y, x] = np.uint8(np.rint(row[x]))
    out.source[y, :], out.weight[y, :] = scenes.numbers[0], np.uint8(100)


@compiled
def _mix(scenes: Stacked, scene: int, y: int, start: np.uint64, stop: np.uint64, part: Float32, mean: Float32) -> None:
    """A scene's corrected levels into the running mean (band, x) of a row, from `start` to `stop`.

    They are unsigned so that no index is looked at for being negative: the loops then run on eight pixels at once.
    """
    shifts = scenes.shifts
    for band in range(len(mean)):
        levels, gain, row = scenes.levels[scene, band, y], scenes.gains[scene, band], mean[band]
        if not scenes.shifted[scene]:
            for x in range(start, stop):
                row[x] += (shifted(levels[x], gain) - row[x]) * part[x]
            continue
        upper, lower = shifts.lines[scene, band, shifts.above[y]], shifts.lines[scene, band, shifts.below[y]]
        down = shifts.part[y]
        for x in range(start, stop):
            add = gain + (upper[x] + (lower[x] - upper[x]) * down)
            row[x] += (shifted(levels[x], add) - row[x]) * part[x]


@compiled
def _take(
    share: Float32, left: Float32, weight: Float32, largest: Float32, source: UInt8, number: np.uint8
) -> tuple[np.uint64, np.uint64]:
    """A scene takes its share of what is left of a row; gives the first and the last pixel (excluded) that it is in.

    `share` becomes its part of what was taken so far, for a running mean: the first share has the part 1, so a pixel
    of one scene is that scene's, exactly.
    """
    start, stop = len(share), 0
    while start > stop and share[stop] * left[stop] <= 0:
        stop += 1
    start, stop = stop, start
    while stop > start and share[stop - 1] * left[stop - 1] <= 0:
        stop -= 1
    first, last = np.uint64(start), np.uint64(stop)
    for x in range(first, last):
        share[x] *= left[x]
        left[x] -= share[x]
        weight[x] += share[x]
    for x in range(first, last):
        source[x] = number if share[x] > largest[x] else source[x]
    for x in range(first, last):
        largest[x] = max(largest[x], share[x])
        share[x] /= max(weight[x], LEAST)
    return first, last


@compiled
def claimed(scenes: Stacked, scene: int, y: int, share: Float32) -> None:
    """Into `share` (x,): what the scene claims of a row's pixels; 0 where it is not clear or has no data."""
    fades, clear, levels = scenes.fades, scenes.clear[scene, y], scenes.levels[scene]
    upper, lower, down = fades.lines[scene, fades.above[y]], fades.lines[scene, fades.below[y]], fades.part[y]
    for x in range(len(share)):
        share[x] = max(upper[x] + (lower[x] - upper[x]) * down, LEAST)
    for x in range(len(share)):
        seen = clear[x] & (levels[0, y, x] != 0) & (levels[1, y, x] != 0)
        seen &= (levels[2, y, x] != 0) & (levels[3, y, x] != 0)
        share[x] = share[x] if seen else np.float32(0)


@compiled
def corrected_row(scenes: Stacked, scene: int, band: int, y: int, out: Float32) -> None:
    """Into `out` (x,): a row of a scene's band with what its gain and its local shift add."""
    levels, gain, shifts = scenes.levels[scene, band, y], scenes.gains[scene, band], scenes.shifts
    if not scenes.shifted[scene]:
        for x in range(len(out)):
            out[x] = shifted(levels[x], gain)
        return
    upper, lower = shifts.lines[scene, band, shifts.above[y]], shifts.lines[scene, band, shifts.below[y]]
    down = shifts.part[y]
    for x in range(np.uint64(0), np.uint64(len(out))):
        out[x] = shifted(levels[x], gain + (upper[x] + (lower[x] - upper[x]) * down))


@compiled
def shifted(level: int, add: np.float32) -> np.float32:
    """A level with what is added to it: 1 to 255."""
    return min(max(np.float32(level) + add, np.float32(1)), np.float32(255))


@compiled
def percent(share: np.float32) -> np.uint8:
    """A share of 0 to 1 in percent, in steps of 5: finer says no more and compresses worse. Never 0."""
    return np.uint8(max(np.rint(share * np.float32(20)) * np.float32(5), np.float32(5)))


def fuse(scenes: Iterable[ClearScene], fade: float, rows: slice = slice(None), kind: type[Rule] = FadedFirst) -> Fused:
    """Fuse whole scenes, best first, with cross-fades of `fade` pixels, by one of the `rules`; give some rows of it.

    The slabs of a tile are exactly the rows of the whole. No further scene is asked for once nothing is left to share.
    Raises RasterError where there is no scene.
    """
    looks: SceneStack | None = None
    for scene in scenes:
        height, width = scene.clear.shape
        window = slice(*rows.indices(height)[:2]), slice(0, width)
        if looks is None:
            looks = SceneStack().begin((window[0].stop - window[0].start, width))
            open_ = np.ones_like(Fade.of(cells_for((height, width), fade), fade).whole(*window))
        clear = scene.clear & (scene.levels != 0).all(axis=0)
        share = Fade.of(cells_for(clear.shape, fade).feed(clear), fade)
        levels = scene.levels[:, window[0]]
        if levels.shape[1:] != looks.shape:
            raise RasterError(f"scene {looks.fed + 1} is {scene.levels.shape}, not like those before; cut all alike")
        looks.place()[:] = levels
        shift = None if scene.shift is None else scene.shift.cut(window[0])
        looks.add(clear[window[0]], share.at(*window), scene.gain, shift)
        open_ &= ~share.whole(*window)
        if kind.stops_early and not open_.any():
            break
    if looks is None:
        raise RasterError("there is no scene to fuse; write an empty tile instead")
    return kind.result(looks)

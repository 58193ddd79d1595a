"""The scenes of one block, gathered for the fusion (`composite.py`): levels, masks, shares and corrections."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

import numpy as np

from s2ops.constants import BANDS, Bool, Float32, UInt8
from s2ops.errors import RasterError
from s2ops.imaging.distance import Lerp
from s2ops.runtime.jit import compiled

MAX_SCENES: Final = 255
"""Provenance is one byte, and 0 is a hole."""


class ClearScene(NamedTuple):
    """One scene as the fusion takes it."""

    levels: UInt8
    """(4, y, x) levels; 0 is no data."""
    clear: Bool
    """(y, x): seen free of cloud and shadow."""
    gain: Float32 | None = None
    """(4,) levels that its gains add (`gains.gain_shift`); None adds nothing."""
    shift: Lerp | None = None
    """(4, y, x) levels to add besides (`local.ShiftField.rows`); None adds nothing."""


class Stacked(NamedTuple):
    """The scenes of a block as compiled loops take them; the first axis is the scene."""

    levels: UInt8
    """(scene, band, y, x)"""
    clear: Bool
    """(scene, y, x)"""
    fades: Lerp
    """(scene, y, x): share that each claims of what is left, where it is clear."""
    gains: Float32
    """(scene, band): levels to add."""
    numbers: UInt8
    shifted: Bool
    """Whether `shifts` adds anything."""
    shifts: Lerp
    """(scene, band, y, x): further levels to add."""


_NO_GAIN: Final = np.zeros(len(BANDS), np.float32)
_NO_SHIFT: Final = Lerp(
    np.zeros((len(BANDS), 0, 0), np.float32), *(np.zeros(0, np.int64),) * 2, np.zeros(0, np.float32)
)


@dataclass
class SceneStack:
    """The scenes of one block after another, best first. Its memory is used again: new pages cost more than pixels."""

    shape: tuple[int, int] = (0, 0)
    """Rows and columns of the block."""
    fed: int = 0
    """Scenes of this block so far, with those that show nothing of it."""
    _levels: UInt8 = field(default_factory=lambda: np.empty(0, np.uint8))
    _clear: Bool = field(default_factory=lambda: np.empty(0, np.bool_))
    _numbers: list[int] = field(default_factory=list)
    _fades: list[Lerp] = field(default_factory=list)
    _gains: list[Float32] = field(default_factory=list)
    _shifts: list[Lerp] = field(default_factory=list)

    def begin(self, shape: tuple[int, int]) -> Self:
        """Forget the last block."""
        self.shape, self.fed = shape, 0
        for one in (self._numbers, self._fades, self._gains, self._shifts):
            one.clear()
        return self

    def place(self) -> UInt8:
        """Where to put the next scene's (4, y, x) levels before `add`."""
        levels: UInt8 = self._views(len(self._numbers) + 1)[0][-1]
        return levels

    def add(self, clear: Bool, fade: Lerp, gain: Float32 | None = None, shift: Lerp | None = None) -> bool:
        """Take in the scene whose levels are in `place`: (y, x) clear, its share, and what to add to its levels.

        Gives whether all clear pixels have data. Raises RasterError for another shape, and for more than 255 scenes.
        """
        if clear.shape != self.shape:
            raise RasterError(f"scene {self.fed + 1} has a mask of {clear.shape}, the block is {self.shape}; cut alike")
        self.skip()
        levels, mask = self._views(len(self._numbers) + 1)
        mask[-1] = clear
        self._numbers.append(self.fed)
        self._fades.append(fade)
        self._gains.append(_NO_GAIN if gain is None else gain)
        self._shifts.append(_NO_SHIFT if shift is None else shift)
        return not _lacking(levels[-1], mask[-1])

    def skip(self) -> None:
        """Count a scene that is clear nowhere in the block. Raises RasterError for more than 255 scenes."""
        if self.fed == MAX_SCENES:
            raise RasterError(f"provenance holds {MAX_SCENES} scenes a tile and this is one more; lower max_scenes")
        self.fed += 1

    def stacked(self) -> Stacked | None:
        """What was added; None where nothing was."""
        if not self._numbers:
            return None
        levels, clear = self._views(len(self._numbers))
        place = max(self._shifts, key=lambda shift: len(shift.above))  # all shifts lie on the same nodes
        lines = np.zeros((len(levels), *place.lines.shape), np.float32)
        for line, shift in zip(lines, self._shifts, strict=True):
            line[:, : shift.lines.shape[1]] = shift.lines if shift is not _NO_SHIFT else 0
        return Stacked(
            levels,
            clear,
            self._fades[0]._replace(lines=np.stack([fade.lines for fade in self._fades])),
            np.stack(self._gains),
            np.array(self._numbers, np.uint8),
            np.array([shift is not _NO_SHIFT for shift in self._shifts]),
            place._replace(lines=lines),
        )

    def _views(self, count: int) -> tuple[UInt8, Bool]:
        """Levels and masks of the first `count` scenes."""
        pixels = self.shape[0] * self.shape[1]
        used = count * pixels
        if len(self._clear) < used:
            levels, clear = np.empty(2 * used * len(BANDS), np.uint8), np.empty(2 * used, np.bool_)
            levels[: len(self._levels)], clear[: len(self._clear)] = self._levels, self._clear
            self._levels, self._clear = levels, clear
        return (
            self._levels[: used * len(BANDS)].reshape(count, len(BANDS), *self.shape),
            self._clear[:used].reshape(count, *self.shape),
        )


@compiled
def _lacking(levels: UInt8, clear: Bool) -> bool:
    """Whether a clear pixel lacks a band."""
    found = False
    for band in range(levels.shape[0]):
        for y in range(levels.shape[1]):
            for x in range(levels.shape[2]):
                found |= clear[y, x] & (levels[band, y, x] == 0)
    return found

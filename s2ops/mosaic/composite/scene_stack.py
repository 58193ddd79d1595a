"""Stack of a block's scenes for compositing: levels, clear masks, edge weights and corrections, best scene first."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

import numpy as np

from s2ops.constants import BANDS, Bool, Float32, UInt8
from s2ops.errors import RasterError
from s2ops.imaging.interpolation import BilinearGrid
from s2ops.runtime.jit import compile_kernel

MAX_SCENES: Final = 255
"""Largest number of scenes per tile: provenance is one byte, and 0 is a hole."""


class MaskedScene(NamedTuple):
    """A scene with its clear mask and its corrections, for compositing."""

    levels: UInt8
    """(4, y, x) levels; 0 is no data."""
    clear: Bool
    """(y, x): free of cloud and shadow."""
    gain: Float32 | None = None
    """(4,) levels to add (`gain_matching.convert_gain_to_level_offset`); None adds nothing."""
    offset: BilinearGrid | None = None
    """(4, y, x) further levels to add (`local_matching.OffsetField.interpolate`); None adds nothing."""


class SceneArrays(NamedTuple):
    """The scenes of a block as arrays for compiled loops; the first axis is the scene."""

    levels: UInt8
    """(scene, band, y, x) levels; 0 is no data."""
    clear: Bool
    """(scene, y, x): free of cloud and shadow."""
    edge_weights: BilinearGrid
    """(scene, y, x) weight of each scene where it is clear, 0 to 1."""
    gains: Float32
    """(scene, band): levels to add."""
    numbers: UInt8
    """(scene,): number of the scene in the provenance, from 1."""
    has_offset: Bool
    """(scene,): False where `offsets` adds nothing."""
    offsets: BilinearGrid
    """(scene, band, y, x): further levels to add."""


_NO_GAIN: Final = np.zeros(len(BANDS), np.float32)
_NO_OFFSET: Final = BilinearGrid(
    np.zeros((len(BANDS), 0, 0), np.float32), *(np.zeros(0, np.int64),) * 2, np.zeros(0, np.float32)
)


@dataclass
class SceneStack:
    """Stack of scenes for one block, highest priority first.

    Buffers are reused between blocks, because allocating new pages is slower than filling them.
    """

    shape: tuple[int, int] = (0, 0)
    """Rows and columns of the block."""
    count: int = 0
    """Number of scenes of this block so far, including those that are clear nowhere in it."""
    _levels: UInt8 = field(default_factory=lambda: np.empty(0, np.uint8))
    _clear: Bool = field(default_factory=lambda: np.empty(0, np.bool_))
    _numbers: list[int] = field(default_factory=list)
    _edge_weights: list[BilinearGrid] = field(default_factory=list)
    _gains: list[Float32] = field(default_factory=list)
    _offsets: list[BilinearGrid] = field(default_factory=list)

    def reset(self, shape: tuple[int, int]) -> Self:
        """Remove all scenes and begin a block of `shape` (rows, columns)."""
        self.shape, self.count = shape, 0
        for one in (self._numbers, self._edge_weights, self._gains, self._offsets):
            one.clear()
        return self

    def reserve_slot(self) -> UInt8:
        """Return the (4, y, x) buffer of the next scene, for a reader to write to: this saves `append` the copy.

        Its content is arbitrary until it is written. Only `append` adds a scene.
        """
        levels: UInt8 = self._view_buffers(len(self._numbers) + 1)[0][-1]
        return levels

    def append(
        self,
        levels: UInt8,
        clear: Bool,
        edge_weights: BilinearGrid,
        gain: Float32 | None = None,
        offset: BilinearGrid | None = None,
    ) -> bool:
        """Append a scene.

        Args:
            levels: (4, y, x) levels. They are copied unless they are the buffer from `reserve_slot`.
            clear: (y, x) bool, free of cloud and shadow.
            edge_weights: (y, x) weight of the scene where it is clear, 0 to 1.
            gain: (4,) levels to add; None adds nothing.
            offset: (4, y, x) further levels to add; None adds nothing.

        Returns:
            True if all clear pixels have data in all bands.

        Raises:
            RasterError: If an array has another shape than the block, or the stack is full.
        """
        number = self.count + 1
        if levels.shape != (len(BANDS), *self.shape) or clear.shape != self.shape:
            raise RasterError(
                f"Cannot stack scene {number}: it has levels of {levels.shape} and a mask of {clear.shape}, the block "
                f"is {self.shape}; cut all scenes to the block."
            )
        self.append_empty()
        all_levels, all_clear = self._view_buffers(len(self._numbers) + 1)
        slot, mask = all_levels[-1], all_clear[-1]
        if levels.__array_interface__ != slot.__array_interface__:  # not the same memory
            slot[:] = levels
        mask[:] = clear
        self._numbers.append(number)
        self._edge_weights.append(edge_weights)
        self._gains.append(_NO_GAIN if gain is None else gain)
        self._offsets.append(_NO_OFFSET if offset is None else offset)
        return not _is_incomplete(slot, mask)

    def append_empty(self) -> None:
        """Count a scene that is clear nowhere in the block; RasterError if the stack is full."""
        if self.count == MAX_SCENES:
            raise RasterError(
                f"Cannot stack another scene: provenance holds at most {MAX_SCENES} scenes per tile; lower max_scenes."
            )
        self.count += 1

    def to_arrays(self) -> SceneArrays | None:
        """Return the scenes as arrays over the stack's buffers, valid until `reset`; None if there is no scene."""
        if not self._numbers:
            return None
        levels, clear = self._view_buffers(len(self._numbers))
        largest = max(self._offsets, key=lambda offset: len(offset.above))  # all offsets have the same nodes
        lines = np.zeros((len(levels), *largest.lines.shape), np.float32)
        for line, offset in zip(lines, self._offsets, strict=True):
            line[:, : offset.lines.shape[1]] = offset.lines if offset is not _NO_OFFSET else 0
        return SceneArrays(
            levels,
            clear,
            self._edge_weights[0]._replace(lines=np.stack([one.lines for one in self._edge_weights])),
            np.stack(self._gains),
            np.array(self._numbers, np.uint8),
            np.array([offset is not _NO_OFFSET for offset in self._offsets]),
            largest._replace(lines=lines),
        )

    def _view_buffers(self, count: int) -> tuple[UInt8, Bool]:
        """Return the levels and masks of the first `count` scenes, after enlarging the buffers where needed."""
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


@compile_kernel
def _is_incomplete(levels: UInt8, clear: Bool) -> bool:
    """Return True if a clear pixel lacks data in a band."""
    found = False
    for band in range(levels.shape[0]):
        for y in range(levels.shape[1]):
            for x in range(levels.shape[2]):
                found |= clear[y, x] & (levels[band, y, x] == 0)
    return found

"""Per-pixel fusion of a tile's scenes: the best scene first, patch borders cross-faded (paper, section 2.2 c).

A scene takes of each pixel what the scenes before it left. Deep inside its clear area that is all of it; towards
cloud, shadow or the swath's edge its share falls with the distance, so the next scene comes in gradually, and thin
cloud that a mask has missed at its rim weighs little. What the last scene leaves is shared out in proportion: every
pixel that any scene saw clear is filled, and no other.

Levels are mixed, not reflectances: the tone curve is nearly logarithmic, so equal steps of the fade look equal, a
bright remnant of cloud pulls less on a dark pixel, and no pixel needs a logarithm.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from s2ops.codes import BANDS, Bool, Float32, UInt8
from s2ops.compiled import compiled
from s2ops.distance import Lerp, bounded_distance, distance_within
from s2ops.errors import RasterError
from s2ops.gains import gain_tables

MAX_SCENES: Final = 255
"""Provenance is one byte, and 0 is a hole."""


class Fused(NamedTuple):
    """A composite and where each of its pixels came from."""

    levels: UInt8
    """(4, y, x) levels 1..255; 0 in holes."""
    source: UInt8
    """(y, x): n = the n-th scene fed has the largest share of the pixel, and was clear there; 0 is a hole."""

    @property
    def holes(self) -> int:
        """Pixels that no scene filled."""
        return int(np.count_nonzero(self.source == 0))


class ClearScene(NamedTuple):
    """One scene as the fusion takes it."""

    levels: UInt8
    """(4, y, x) levels; 0 is no data."""
    clear: Bool
    """(y, x): seen free of cloud and shadow."""
    tables: Float32 | None = None
    """(4, 256) corrected level of each level (`gains.gain_tables`); None leaves the levels as they are."""
    shift: Lerp | None = None
    """(4, y, x) levels to add after that (`local.ShiftField.rows`); None adds nothing."""


def fade_ramp(clear: Bool, fade: float, wanted: Bool | None = None) -> Float32:
    """Share that a scene claims of what is left: 0 where not clear, else above 0, rising to 1 at `fade` pixels.

    (y, x) bool -> (y, x) float32. A slab needs `distance.halo(fade)` rows of halo; a fade up to 1 is a hard edge.
    """
    reach = max(fade, 1.0)
    ramp = bounded_distance(clear, reach, wanted)
    ramp /= np.float32(reach)
    return ramp


def fade_ramp_within(clear: Bool, fade: float, core: tuple[slice, slice], wanted: Bool | None = None) -> Float32:
    """`fade_ramp` of a part of `clear`, which sees what lies around that part; `wanted` has that part's shape."""
    reach = max(fade, 1.0)
    ramp = distance_within(clear, core, reach, wanted)
    ramp /= np.float32(reach)
    return ramp


@dataclass
class FadedFirst:
    """The fusion of one slab: feed the best scene first, stop when `is_done`, take the `result`."""

    shape: tuple[int, int]
    """Rows and columns of the slab."""
    fed: int = field(default=0, init=False)
    wanted: Bool = field(init=False)
    """(y, x): where a further scene can still change something."""
    _parts: "list[_Part]" = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.wanted = np.ones(self.shape, np.bool_)

    @property
    def is_done(self) -> bool:
        """Nothing is left to share: further scenes would change no pixel."""
        return not self.wanted.any()

    def feed(self, levels: UInt8, ramp: Float32, tables: Float32 | None = None, shift: Lerp | None = None) -> None:
        """Add the next scene: (4, y, x) levels, (y, x) `fade_ramp`; `tables` and `shift` as in `ClearScene`.

        The levels are held until the result. Raises RasterError for another shape, and for more than 255 scenes.
        """
        if levels.shape != (len(BANDS), *self.shape) or ramp.shape != self.shape:
            raise RasterError(
                f"scene {self.fed + 1} has levels of {levels.shape} and a ramp of {ramp.shape}, the slab is "
                f"{self.shape}; cut all to the slab"
            )
        self.skip()
        if not levels.all():
            ramp = np.where((levels == 0).any(axis=0), np.float32(0), ramp)
        self.wanted &= ramp < 1
        self._parts.append(_Part(self.fed, levels, ramp, _UNCHANGED if tables is None else tables, shift))

    def skip(self) -> None:
        """Count a scene that is clear nowhere in the slab. Raises RasterError for more than 255 scenes."""
        if self.fed == MAX_SCENES:
            raise RasterError(f"provenance holds {MAX_SCENES} scenes a tile and this is one more; lower max_scenes")
        self.fed += 1

    def result(self) -> Fused:
        """The composite of what was fed."""
        out = Fused(np.zeros((len(BANDS), *self.shape), np.uint8), np.zeros(self.shape, np.uint8))
        if not self._parts:
            return out
        shifts = [_NO_SHIFT if part.shift is None else part.shift for part in self._parts]
        nodes = max(shift.lines.shape[-1] for shift in shifts)
        lines = np.zeros((len(shifts), len(BANDS), self.shape[0], nodes), np.float32)
        for line, shift in zip(lines, shifts, strict=True):
            line[:, :, : shift.lines.shape[-1]] = shift.lines
        place = max(shifts, key=lambda shift: len(shift.before))  # all shifts lie on the same nodes
        _fuse(
            np.stack([part.levels for part in self._parts]),
            np.stack([part.ramp for part in self._parts]),
            np.stack([part.tables for part in self._parts]),
            np.array([part.number for part in self._parts], np.uint8),
            np.array([part.shift is not None for part in self._parts]),
            place._replace(lines=lines),
            out.levels,
            out.source,
        )
        return out


class _Part(NamedTuple):
    """What a scene gives to a slab."""

    number: int
    levels: UInt8
    ramp: Float32
    tables: Float32
    shift: Lerp | None


_UNCHANGED: Final = gain_tables((1.0,) * len(BANDS))
_NO_SHIFT: Final = Lerp(
    np.zeros((len(BANDS), 1, 0), np.float32), *(np.zeros(0, np.int64),) * 2, np.zeros(0, np.float32)
)


@compiled
def _fuse(
    levels: UInt8, ramps: Float32, tables: Float32, numbers: UInt8, shifted: Bool, shifts: Lerp,
    out: UInt8, source: UInt8,
) -> None:  # fmt: skip
    """All scenes of a slab, first axis the scene, pixel by pixel: its sums never leave the processor."""
    scenes, bands, height, width = levels.shape
    one, low, high = np.float32(1), np.float32(1), np.float32(255)
    rounded = np.rint(tables[0]).astype(np.uint8)
    mean = np.zeros(bands, np.float32)
    for y in range(height):
        for x in range(width):
            if ramps[0, y, x] == one and not shifted[0]:
                source[y, x] = numbers[0]
                for band in range(bands):
                    out[band, y, x] = rounded[band, levels[0, band, y, x]]
                continue
            remaining, weight, largest = one, np.float32(0), np.float32(0)
            mean[:] = 0
            for scene in range(scenes):
                share = ramps[scene, y, x] * remaining
                if share <= 0:
                    continue
                remaining -= share
                weight += share
                if share > largest:
                    largest = share
                    source[y, x] = numbers[scene]
                # a running mean: the first share has the part 1, so a pixel of one scene is that scene's, exactly
                part = share / weight
                for band in range(bands):
                    value = tables[scene, band, levels[scene, band, y, x]]
                    if shifted[scene]:
                        line, right = shifts.lines[scene, band, y], shifts.part[x]
                        value += line[shifts.before[x]] * (one - right) + line[shifts.after[x]] * right
                        value = min(max(value, low), high)
                    mean[band] += (value - mean[band]) * part
            for band in range(bands):
                out[band, y, x] = np.uint8(np.rint(mean[band]))


def fuse(scenes: Iterable[ClearScene], fade: float, rows: slice = slice(None)) -> Fused:
    """Fuse scenes, best first, with cross-fades of `fade` pixels.

    Give `distance.halo(fade)` rows more than wanted where the tile goes on, and in `rows` those to keep: the slabs
    of a tile are then exactly the rows of the whole. No further scene is asked for once nothing is left to share.
    Raises RasterError where there is no scene.
    """
    rule: FadedFirst | None = None
    for scene in scenes:
        clear = scene.clear & (scene.levels != 0).all(axis=0)
        if rule is None:
            height, width = clear[rows].shape
            rule = FadedFirst((height, width))
        wanted = np.zeros(clear.shape, np.bool_)
        wanted[rows] = rule.wanted
        ramp = fade_ramp(clear, fade, wanted)[rows]
        shift = None if scene.shift is None else scene.shift.cut(rows)
        rule.feed(scene.levels[:, rows], ramp, scene.tables, shift)
        if rule.is_done:
            break
    if rule is None:
        raise RasterError("there is no scene to fuse; write an empty tile instead")
    return rule.result()

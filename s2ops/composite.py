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
from s2ops.distance import bounded_distance
from s2ops.errors import RasterError
from s2ops.gains import corrected

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
    shift: Float32 | None = None
    """(4, y, x) levels to add after that (`local.ShiftField`); None adds nothing."""


def fade_ramp(clear: Bool, fade: float, wanted: Bool | None = None) -> Float32:
    """Share that a scene claims of what is left: 0 where not clear, else above 0, rising to 1 at `fade` pixels.

    (y, x) bool -> (y, x) float32. A slab needs `distance.halo(fade)` rows of halo; a fade up to 1 is a hard edge.
    """
    reach = max(fade, 1.0)
    ramp = bounded_distance(clear, reach, wanted)
    ramp /= np.float32(reach)
    return ramp


@dataclass
class FadedFirst:
    """The fusion of one slab: feed the best scene first, stop when `is_done`, take the `result`."""

    shape: tuple[int, int]
    """Rows and columns of the slab."""
    fed: int = field(default=0, init=False)
    mean: Float32 = field(init=False)
    weight: Float32 = field(init=False)
    remaining: Float32 = field(init=False)
    largest: Float32 = field(init=False)
    source: UInt8 = field(init=False)

    def __post_init__(self) -> None:
        self.mean = np.zeros((len(BANDS), *self.shape), np.float32)
        self.weight = np.zeros(self.shape, np.float32)
        self.remaining = np.ones(self.shape, np.float32)
        self.largest = np.zeros(self.shape, np.float32)
        self.source = np.zeros(self.shape, np.uint8)

    @property
    def wanted(self) -> Bool:
        """(y, x): where a further scene can still change something."""
        out: Bool = self.remaining > 0
        return out

    @property
    def is_done(self) -> bool:
        """Nothing is left to share: further scenes would change no pixel."""
        return not self.remaining.any()

    def feed(self, levels: UInt8, ramp: Float32, tables: Float32 | None = None, shift: Float32 | None = None) -> None:
        """Add the next scene: (4, y, x) levels, (y, x) `fade_ramp`; `tables` and `shift` as in `ClearScene`.

        Raises RasterError for another shape, and for more than 255 scenes.
        """
        if levels.shape != self.mean.shape or ramp.shape != self.shape:
            raise RasterError(
                f"scene {self.fed + 1} has levels of {levels.shape} and a ramp of {ramp.shape}, the slab is "
                f"{self.mean.shape}; cut all to the slab"
            )
        if self.fed == MAX_SCENES:
            raise RasterError(f"provenance holds {MAX_SCENES} scenes a tile and this is one more; lower max_scenes")
        self.fed += 1
        share = ramp * self.remaining
        share[(levels == 0).any(axis=0)] = 0
        self.remaining -= share
        self.weight += share
        self.source[share > self.largest] = self.fed
        np.maximum(self.largest, share, out=self.largest)
        # a running mean: the first share of a pixel has the part 1, so a pixel of one scene is that scene's, exactly
        part = np.divide(share, self.weight, out=np.zeros_like(share), where=share > 0)
        for band in range(len(BANDS)):
            value = corrected(levels[band], None if tables is None else tables[band])
            if shift is not None:
                value = np.clip(value + shift[band], 1, 255)
            self.mean[band] += (value - self.mean[band]) * part

    def result(self) -> Fused:
        """The composite of what was fed."""
        levels = np.rint(self.mean).astype(np.uint8)
        levels[:, self.source == 0] = 0
        return Fused(levels, self.source.copy())


def fuse(scenes: Iterable[ClearScene], fade: float, rows: slice = slice(None)) -> Fused:
    """Fuse scenes, best first, with cross-fades of `fade` pixels.

    Give `distance.halo(fade)` rows more than wanted where the tile goes on, and in `rows` those to keep: the slabs
    of a tile are then exactly the rows of the whole. From a generator only one scene is held at a time, and none is
    asked for once nothing is left to share. Raises RasterError where there is no scene.
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
        shift = None if scene.shift is None else scene.shift[:, rows]
        rule.feed(scene.levels[:, rows], ramp, scene.tables, shift)
        if rule.is_done:
            break
    if rule is None:
        raise RasterError("there is no scene to fuse; write an empty tile instead")
    return rule.result()

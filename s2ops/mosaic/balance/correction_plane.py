"""What brings a tile to the region's radiometry: levels to add, one plane over the tile for each band.

A constant number of levels is a gain on reflectance + 0.04 (`gains.py`). The plane lets that gain change slowly over
the tile, as haze and the sun's and the sensor's angles do; what is finer is landscape, and nobody's business here.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np

from s2ops.constants import BANDS, Float32, Float64
from s2ops.imaging.tone_curve import FULL

STEP: Final = 0.2
"""Levels: corrections are whole multiples of it (0.3 % of brightness), so that of what a changed tile sets in motion
little reaches the others: a correction that stays the same leaves a mosaic its bytes."""

LEVEL_LIMIT: Final = 20.0
"""Levels at the centre, a gain of 0.75 to 1.33: more is no atmosphere or season but a wrong observation."""

SLOPE_LIMIT: Final = 10.0
"""Levels between centre and edge, 15 %: more is landscape."""

Bandwise = tuple[float, ...]
"""One figure for each of `codes.BANDS`."""


class Plane(NamedTuple):
    """Levels to add over a window: those of its row plus those of its column."""

    rows: Float32
    """(4, y)."""
    cols: Float32
    """(4, x)."""


@dataclass(frozen=True, slots=True)
class Correction:
    """Levels to add to a tile's composite, per band in the order of `codes.BANDS`."""

    centre: Bandwise
    """At the tile's centre."""
    east: Bandwise
    """That much more at the eastern edge, that much less at the western one."""
    south: Bandwise
    """That much more at the southern edge, that much less at the northern one."""

    @classmethod
    def of(cls, solved: Float64) -> Self:
        """From (4, 3) levels: centre, east, south; clipped to the limits, rounded to whole multiples of `STEP`."""
        limits = np.array([LEVEL_LIMIT, SLOPE_LIMIT, SLOPE_LIMIT])
        whole = np.rint(np.clip(solved, -limits, limits) / STEP)
        # adding 0.0 turns -0.0 into 0.0: equal corrections have equal bytes
        return cls(*(tuple(round(float(value) * STEP, 1) + 0.0 for value in part) for part in whole.T))

    @classmethod
    def read(cls, stored: dict[str, Any]) -> Self:
        """From what `to_json` gave."""
        return cls(*(tuple(stored[name]) for name in ("centre", "east", "south")))

    @property
    def solved(self) -> Float64:
        """(4, 3) levels, as `of` takes them."""
        return np.array([self.centre, self.east, self.south], np.float64).T

    @property
    def gains(self) -> Bandwise:
        """The gain on reflectance + 0.04 at the tile's centre, per band."""
        return tuple(round(float(np.exp(levels / FULL)), 4) for levels in self.centre)

    def plane(self, rows: Float64, cols: Float64) -> Plane:
        """The levels at the crossings of `rows` (y,) and `cols` (x,): -1 at north and west, 1 at south and east."""
        centre, east, south = (np.array(part, np.float64)[:, None] for part in (self.centre, self.east, self.south))
        return Plane((centre + south * rows).astype(np.float32), (east * cols).astype(np.float32))

    def to_json(self) -> dict[str, list[float]]:
        """Fields as plain lists."""
        return {name: list(values) for name, values in asdict(self).items()}


UNCHANGED: Final = Correction(*((0.0,) * len(BANDS),) * 3)

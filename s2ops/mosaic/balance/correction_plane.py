"""Correction plane of a tile (colour correction): levels to add, one plane over the tile per band.

A constant number of levels is a gain on reflectance + 0.04 (`mosaic/composite/gain_matching.py`). The plane lets that
gain change slowly over the tile, as haze and the angles of sun and sensor do. Finer differences are landscape and stay.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np

from s2ops.constants import BANDS, Float32, Float64
from s2ops.imaging.tone_curve import LEVELS_PER_LOG

LEVEL_STEP: Final = 0.2
"""Levels: corrections are whole multiples of this (0.3 % of brightness). Most tiles then keep their correction when
another tile changes, and a correction that stays the same leaves a mosaic its bytes."""

LEVEL_LIMIT: Final = 20.0
"""Levels at the centre, a gain of 0.75 to 1.33: more is not atmosphere or season but a wrong observation."""

SLOPE_LIMIT: Final = 10.0
"""Levels between centre and edge, 15 %: more is landscape."""

PerBand = tuple[float, ...]
"""One number for each of `constants.BANDS`."""


class PlaneOffsets(NamedTuple):
    """Levels to add over a window of pixels: the sum of a pixel's row offset and its column offset."""

    rows: Float32
    """(4, y)."""
    cols: Float32
    """(4, x)."""


@dataclass(frozen=True, slots=True)
class CorrectionPlane:
    """Levels to add to a tile's composite, per band in the order of `constants.BANDS`."""

    centre: PerBand
    """Levels at the tile's centre."""
    east: PerBand
    """Levels more at the eastern edge, and as many fewer at the western edge."""
    south: PerBand
    """Levels more at the southern edge, and as many fewer at the northern edge."""

    @classmethod
    def from_coefficients(cls, coefficients: Float64) -> Self:
        """Create from (4, 3) levels: centre, east, south; clipped to the limits, rounded to multiples of the step."""
        limits = np.array([LEVEL_LIMIT, SLOPE_LIMIT, SLOPE_LIMIT])
        whole = np.rint(np.clip(coefficients, -limits, limits) / LEVEL_STEP)
        # adding 0.0 turns -0.0 into 0.0: equal corrections have equal bytes
        return cls(*(tuple(round(float(value) * LEVEL_STEP, 1) + 0.0 for value in part) for part in whole.T))

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """Create from the result of `to_json`."""
        return cls(*(tuple(stored[name]) for name in ("centre", "east", "south")))

    @property
    def coefficients(self) -> Float64:
        """(4, 3) levels, as `from_coefficients` accepts them."""
        return np.array([self.centre, self.east, self.south], np.float64).T

    @property
    def gains(self) -> PerBand:
        """Gain on reflectance + 0.04 at the tile's centre, per band."""
        return tuple(round(float(np.exp(levels / LEVELS_PER_LOG)), 4) for levels in self.centre)

    def evaluate(self, rows: Float64, cols: Float64) -> PlaneOffsets:
        """Evaluate the plane at the crossings of `rows` (y,) and `cols` (x,).

        Positions are -1 at the north and west edge, 1 at the south and east edge.
        """
        centre, east, south = (np.array(part, np.float64)[:, None] for part in (self.centre, self.east, self.south))
        return PlaneOffsets((centre + south * rows).astype(np.float32), (east * cols).astype(np.float32))

    def to_json(self) -> dict[str, list[float]]:
        """Return the fields as plain lists."""
        return {name: list(values) for name, values in asdict(self).items()}


NO_CORRECTION: Final = CorrectionPlane(*((0.0,) * len(BANDS),) * 3)
"""Correction that adds nothing."""

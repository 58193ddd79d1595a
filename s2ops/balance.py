"""One radiometry for the whole region: a gain per tile and band from what neighbours show in their overlaps.

The measuring and the solving are `gains.py`; here it is said for tiles, in a form that goes into `balance.json`.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Final, Self

import numpy as np

from s2ops.gains import Gains, Pair, PairCounts, Ratio, solve_gains

TILE_GAIN_LIMITS: Final = (0.75, 1.33)
"""Composites of neighbours show the same surface at most some weeks apart; more than this is clipped."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """What two tiles' composites show of their common ground, per band in the order of `codes.BANDS`."""

    a: str
    b: str
    ratios: tuple[float, ...]
    """Natural logarithm of brightness of b / brightness of a (`gains.py`)."""
    weights: tuple[float, ...]
    """Trust in each ratio, relative to other overlaps."""
    pixels: int
    """Common valid pixels."""

    @classmethod
    def measured(cls, a: str, b: str, counts: PairCounts) -> Self | None:
        """The overlap of tiles `a` and `b` from the counts of their pairs of levels; None where too few."""
        ratio = counts.ratio()
        return None if ratio is None else cls(a, b, ratio.logs, ratio.weights, ratio.pixels)

    @property
    def pair(self) -> Pair:
        """The same as the solver takes it."""
        return Pair(self.a, self.b, Ratio(self.ratios, self.weights, self.pixels))

    def remaining(self, gains: dict[str, Gains]) -> Gains:
        """Ratio of brightness b / a, per band, that is left once both tiles are corrected: 1 is agreement."""
        logs = np.array(self.ratios) + np.log(gains[self.b]) - np.log(gains[self.a])
        return tuple(round(float(ratio), 4) for ratio in np.exp(logs))

    def to_json(self) -> dict[str, object]:
        """Fields as plain values, figures rounded to what they are worth."""
        fields = asdict(self)
        return fields | {
            "ratios": [round(log, 6) for log in self.ratios],
            "weights": [round(weight, 3) for weight in self.weights],
        }


def solve(tiles: Iterable[str], overlaps: Iterable[Overlap]) -> dict[str, Gains]:
    """Gain of each tile and band; the mean log gain of tiles that hang together is 0, a lone tile keeps 1.

    Gains are clipped to `TILE_GAIN_LIMITS` and rounded to 4 decimals; no order of tiles or overlaps changes them.
    Raises RasterError for an overlap with a tile that is not among `tiles`.
    """
    return solve_gains(dict.fromkeys(tiles, 1.0), [overlap.pair for overlap in overlaps], limits=TILE_GAIN_LIMITS)

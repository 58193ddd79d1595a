"""From the scenes that a tile may have to how many each step will handle.

A model of select and acquire that sees one number of each scene, how much of the tile it shows clear, and takes what
scenes show as independent of one another. What it is wrong by is measured by each run (`Rates.scenes`) and corrected.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from math import exp
from typing import Final, Self

from s2ops.config import RunConfig
from s2ops.cost.acquisition_model import Sight
from s2ops.geo.mgrs_tiles import TILE_SIZE_M
from s2ops.selection.scene_selection import MOSTLY_CLEAR

CLUMP_M: Final = 1000.0
"""Side of what clouds leave open together: a tile has as many chances of a hole as it has of such clumps."""


@dataclass(frozen=True)
class Scenes:
    """Numbers of scenes: of a tile, of a region, or ratios of two such."""

    candidates: float = 0.0
    """Previews that select looks at."""
    selected: float = 0.0
    """On the list that covers the tile."""
    used: float = 0.0
    """In the mosaic: those selected, and those that fill its holes."""
    read: float = 0.0
    """Read at full resolution: those used, those that filled nothing, further dates for land cover."""
    dates: float = 0.0
    """Images that land cover classifies."""

    def __add__(self, other: Self) -> "Scenes":
        return Scenes(*(a + b for a, b in zip(self.numbers(), other.numbers(), strict=True)))

    def __mul__(self, other: Self) -> "Scenes":
        return Scenes(*(a * b for a, b in zip(self.numbers(), other.numbers(), strict=True)))

    def over(self, other: Self) -> "Scenes":
        """These in parts of `other`; 1 where that is 0, since then nothing is known."""
        return Scenes(*(a / b if b else 1.0 for a, b in zip(self.numbers(), other.numbers(), strict=True)))

    def numbers(self) -> tuple[float, ...]:
        """The figures in the order of the fields."""
        return tuple(getattr(self, field.name) for field in fields(self))

    def to_json(self) -> dict[str, float]:
        """By name, rounded."""
        return {field.name: round(getattr(self, field.name), 3) for field in fields(self)}


def expected(sights: Sequence[Sight], config: RunConfig) -> Scenes:
    """What the steps will make of a tile that has these scenes.

    select stops where the next scene shows less that is new than it costs; acquire goes on while it has holes; then
    mostly clear dates are added up to `landcover.max_dates`. A hole is a matter of chance: see `_chance`.
    """
    clear = sorted((one.clear for one in sights), reverse=True)
    cap = min(config.max_scenes, len(clear))
    covering = [1.0]  # part of the tile that the first n scenes leave open
    for part in clear[:cap]:
        covering.append(covering[-1] * (1 - part))
    new = [before - after for before, after in pairwise(covering)]
    selected = sum(part >= config.selection.min_gain for part in new)
    used = sum(_chance(part) for part in new)
    tried = sum(_chance(before) for before in covering[:-1])
    options = config.landcover
    wanted = options.max_dates if options.enabled and options.source == "scenes" else 0
    mostly = sum(part >= MOSTLY_CLEAR for part in clear)
    series = min(max(wanted - used, 0), max(mostly, tried) - used) if wanted else 0
    mosaic = _chance(covering[-1]) if wanted and used else 1  # land cover reads the mosaic where dates leave holes
    dates = (used + series if wanted else 0) + mosaic
    return Scenes(len(clear), selected, used, max(tried, used + series), dates if options.enabled else 0)


def _chance(part: float) -> float:
    """That a part of the tile, 0 to 1, holds at least one clump."""
    return 1 - exp(-part * (TILE_SIZE_M / CLUMP_M) ** 2)

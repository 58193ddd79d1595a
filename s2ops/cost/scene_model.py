"""Scene count model: number of scenes that each step will process, predicted from the scenes' clear fractions.

The model of select and acquire uses one number per scene, the fraction of the tile that it shows clear, and treats the
clear areas of scenes as statistically independent. Each run measures the model's error (`Rates.scenes`), which is then
corrected.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp
from typing import Final

from s2ops.config import RunConfig
from s2ops.cost.acquisition_model import ExpectedScene
from s2ops.cost.elementwise import ElementwiseNumbers
from s2ops.geo.mgrs_tiles import TILE_SIZE_M
from s2ops.selection.scene_selection import MIN_CLEAR_FRACTION

CLOUD_GAP_SIZE_M: Final = 1000.0
"""Width in metres of a typical gap between clouds; a tile is modelled as a grid of cells of this width."""


@dataclass(frozen=True)
class SceneCounts(ElementwiseNumbers):
    """Numbers of scenes of a tile or a region, or ratios of such numbers."""

    candidates: float = 0.0
    """Previews that select evaluates."""
    selected: float = 0.0
    """Scenes selected to cover the tile."""
    used: float = 0.0
    """Scenes used in the mosaic: the selected scenes, and fallback scenes that fill holes."""
    read: float = 0.0
    """Scenes read at full resolution: used scenes, scenes that filled nothing, and further dates for land cover."""
    dates: float = 0.0
    """Images that land cover classifies."""


def predict_scene_counts(scenes: Sequence[ExpectedScene], config: RunConfig) -> SceneCounts:
    """Predict how many scenes each step will process for a tile that has the given scenes.

    select stops if the next scene shows less new area than it costs. acquire continues while there are holes. Mostly
    clear dates are then added up to `landcover.max_dates`. Holes are random: see `_compute_gap_probability`.
    """
    clear = sorted((one.clear for one in scenes), reverse=True)
    cap = min(config.max_scenes, len(clear))
    uncovered = [1.0]  # fraction of the tile that the first n scenes do not cover
    for part in clear[:cap]:
        uncovered.append(uncovered[-1] * (1 - part))
    new = [before - after for before, after in pairwise(uncovered)]
    selected = sum(part >= config.selection.min_gain for part in new)
    used = sum(_compute_gap_probability(part) for part in new)
    tried = sum(_compute_gap_probability(before) for before in uncovered[:-1])
    options = config.landcover
    wanted = options.max_dates if options.enabled and options.source == "scenes" else 0
    mostly = sum(part >= MIN_CLEAR_FRACTION for part in clear)
    series = min(max(wanted - used, 0), max(mostly, tried) - used) if wanted else 0
    mosaic = (
        _compute_gap_probability(uncovered[-1]) if wanted and used else 1
    )  # land cover reads the mosaic where dates have holes
    dates = (used + series if wanted else 0) + mosaic
    return SceneCounts(len(clear), selected, used, max(tried, used + series), dates if options.enabled else 0)


def _compute_gap_probability(part: float) -> float:
    """Compute the probability that a fraction of the tile (0 to 1) contains at least one gap between clouds."""
    return 1 - exp(-part * (TILE_SIZE_M / CLOUD_GAP_SIZE_M) ** 2)

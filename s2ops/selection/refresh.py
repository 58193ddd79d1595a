"""Scene selection in a refresh (incremental update): adds newer scenes to the scene list of an earlier run.

The list of the earlier run keeps its order. A newer scene is inserted by its cost, as in any list. It is added if it
fills holes, makes enough of the tile more recent, or removes enough haze. A scene is dropped if newer scenes replace
all pixels taken from it. All functions are pure and work on previews (docs/how-to/refresh-a-mosaic.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from s2ops.config import Refresh
from s2ops.constants import Bool
from s2ops.errors import InputError
from s2ops.records import Decision
from s2ops.selection.scene_selection import (
    FALLBACKS_PER_SCENE,
    CandidateDecision,
    CostModel,
    PreviewCandidate,
    format_percent,
)

Int16: TypeAlias = npt.NDArray[np.int16]

_HOLE: Final = -1


@dataclass(frozen=True, slots=True)
class RefreshGain:
    """Improvement of a tile by a newer scene, as fractions of the tile."""

    filled: float
    """Pixels that no scene showed clear before."""
    fresher: float
    """Pixels that become more recent by `fresher_days` or more."""
    clearer: float
    """Pixels whose scene becomes less hazy by `less_haze` or more."""

    def is_enough(self, options: Refresh) -> bool:
        """Return True if one fraction reaches its threshold and is not 0."""
        found = (
            (self.filled, options.min_fill),
            (self.fresher, options.min_fresher),
            (self.clearer, options.min_clearer),
        )
        return any(part > 0 and part >= least for part, least in found)

    def describe(self, options: Refresh) -> str:
        """Describe the three fractions and their thresholds."""
        return (
            f"fills {format_percent(self.filled)} of the tile (min_fill {format_percent(options.min_fill)}), makes "
            f"{format_percent(self.fresher)} at least {options.fresher_days} days more recent "
            f"(min_fresher {format_percent(options.min_fresher)}), removes haze from {format_percent(self.clearer)} "
            f"(min_clearer {format_percent(options.min_clearer)})"
        )


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """Scene list of a tile after a refresh."""

    selected: tuple[str, ...]
    added: tuple[str, ...]
    """Newer scenes in the list."""
    dropped: tuple[str, ...]
    """Scenes of the earlier list that are not needed any more."""
    decisions: Mapping[str, CandidateDecision]
    """Decision about each scene of the earlier list and each newer scene, by scene id."""
    covered: float
    """Fraction of the tile that is clear in at least one scene of the list."""


def refresh_selection(
    base: Sequence[PreviewCandidate], newer: Sequence[PreviewCandidate], model: CostModel, options: Refresh
) -> RefreshResult:
    """Add the newer scenes that improve the tile to a scene list, and drop the scenes that become superfluous.

    Args:
        base: Scenes of the earlier list, in its order.
        newer: Newer scenes on the same grid; their order does not matter.
        model: Costs and the maximum number of scenes.
        options: Thresholds of the improvement.

    Raises:
        InputError: If a scene is both in `base` and in `newer`.
    """
    ids = [one.id for one in (*base, *newer)]
    if len(set(ids)) < len(ids):
        twice = min(name for name in ids if ids.count(name) > 1)
        raise InputError(f"Cannot refresh the selection: {twice} is both in the earlier list and newer; list it once.")
    cost = {one.id: model.compute_cost(one).total for one in (*base, *newer)}
    order, reasons = list(base), dict[str, str]()
    for candidate in sorted(newer, key=lambda one: (cost[one.id], -int(np.count_nonzero(one.clear)), one.id)):
        place = next((n for n, one in enumerate(order) if cost[candidate.id] < cost[one.id]), len(order))
        trial = [*order[:place], candidate, *order[place:]]
        gain = _measure_gain(order, trial, place, options)
        reasons[candidate.id] = gain.describe(options)
        if not gain.is_enough(options):
            continue
        if len(_drop_superseded(trial, base, model)) > model.max_scenes:
            reasons[candidate.id] += f"; max_scenes ({model.max_scenes}) is reached"
        else:
            order = trial
    kept = _drop_superseded(order, base, model) if len(order) > len(base) else order
    names = {one.id for one in kept}
    return RefreshResult(
        selected=tuple(one.id for one in kept),
        added=tuple(one.id for one in kept if one.id in reasons),
        dropped=tuple(one.id for one in base if one.id not in names),
        decisions=_explain_decisions(kept, base, newer, reasons, model),
        covered=_compute_fraction(_map_sources(kept) != _HOLE),
    )


def _map_sources(order: Sequence[PreviewCandidate]) -> Int16:
    """Map each pixel (y, x) to the index of the first clear scene in `order`; _HOLE where no scene is clear."""
    out = np.full(order[0].clear.shape if order else (1, 1), _HOLE, np.int16)
    for place in reversed(range(len(order))):
        out[order[place].clear] = place
    return out


def _measure_gain(
    order: Sequence[PreviewCandidate], trial: Sequence[PreviewCandidate], place: int, options: Refresh
) -> RefreshGain:
    """Measure the improvement from `order` to `trial`, whose scene at `place` is the new one."""
    new, replaced = trial[place], _map_sources(trial) == place
    before = np.broadcast_to(_map_sources(order), replaced.shape)
    younger = [(new.date - one.date).days >= options.fresher_days for one in order]
    clearer = [one.haze - new.haze >= options.less_haze and one.haze > new.haze for one in order]
    # index -1 (_HOLE) selects the appended last entry: neither younger nor clearer
    return RefreshGain(
        filled=_compute_fraction(replaced & (before == _HOLE)),
        fresher=_compute_fraction(replaced & np.array([*younger, False])[before]),
        clearer=_compute_fraction(replaced & np.array([*clearer, False])[before]),
    )


def _drop_superseded(
    order: Sequence[PreviewCandidate], base: Sequence[PreviewCandidate], model: CostModel
) -> list[PreviewCandidate]:
    """Drop scenes of the earlier list that provide at most `min_gain` of the tile."""
    sources, old = _map_sources(order), {one.id for one in base}
    least = model.options.min_gain
    return [one for n, one in enumerate(order) if one.id not in old or _compute_fraction(sources == n) > least]


def _explain_decisions(
    kept: Sequence[PreviewCandidate],
    base: Sequence[PreviewCandidate],
    newer: Sequence[PreviewCandidate],
    reasons: Mapping[str, str],
    model: CostModel,
) -> dict[str, CandidateDecision]:
    """Explain the decision about each scene; `kept` is the list after the refresh, `reasons` those of newer scenes."""
    sources = _map_sources(kept)
    places = {one.id: n for n, one in enumerate(kept)}
    dropped = [one for one in base if one.id not in places]
    least = model.options.min_gain
    useful = [one for one in newer if one.id not in places and _compute_fraction(one.clear) >= least]
    queue = [*dropped, *sorted(useful, key=lambda one: (model.compute_cost(one).total, one.id))]
    fallbacks = {one.id: n for n, one in enumerate(queue[: FALLBACKS_PER_SCENE * model.max_scenes])}
    times = np.sum([one.clear for one in kept], axis=0) if kept else np.zeros(1)
    out = {}
    for one in (*base, *newer):
        place = places.get(one.id)
        gain = _compute_fraction(one.clear & (times == (0 if place is None else 1)))
        if one.id in reasons:
            reason = f"Newer scene: {reasons[one.id]}."
        elif place is not None:
            provided = format_percent(_compute_fraction(sources == place))
            reason = f"Kept from the earlier list: provides {provided} of the tile."
        else:
            reason = "Dropped from the earlier list: newer scenes replace all its pixels. Fallback for holes."
        decision: Decision = "taken" if place is not None else "spare" if one.id in fallbacks else "left"
        rank = {"taken": (place or 0) + 1, "spare": fallbacks.get(one.id, 0) + 1, "left": None}[decision]
        coverage = _compute_fraction(one.clear)
        out[one.id] = CandidateDecision(decision, rank, model.compute_cost(one), coverage, gain, reason)
    return out


def _compute_fraction(pixels: Bool) -> float:
    return int(np.count_nonzero(pixels)) / pixels.size

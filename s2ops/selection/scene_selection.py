"""Scene selection for a tile (minimum-cost set cover): cost model, selected and fallback scenes, explained decisions.

It finds the cheapest list of scenes that shows the tile cloud-free; recent and haze-free scenes are cheaper. Paper,
section 1, steps b to d; docs/explanation/select.md describes the model and the reasons for its numbers.

Three words stand for the decisions: selected scenes ("taken" in records), fallbacks ("spare"), rejected ("left").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

import numpy as np

from s2ops.catalog.scene import Scene
from s2ops.config import RunConfig, Selection
from s2ops.constants import Bool, Float64
from s2ops.errors import InputError
from s2ops.records import Candidate, Cost, Decision, SolverStatus
from s2ops.selection.set_cover import CoverElements, merge_pixels, solve_set_cover

DEPTH_DISCOUNT: Final = 0.1
"""Value of a pixel to a fallback falls to a tenth with each scene that already shows it clear."""
FALLBACKS_PER_SCENE: Final = 2
"""Fallbacks kept per scene that the cap allows; more would never be used."""

MIN_CLEAR_FRACTION: Final = 0.5
"""Fraction of the tile that an additional date must show clear to be worth classifying."""


@dataclass(frozen=True, slots=True)
class PreviewCandidate:
    """Candidate scene for the selection: cloud mask and haze of its preview, on the tile's preview grid."""

    id: str
    date: date
    haze: float
    """Probability of haze, 0 to 1."""
    clear: Bool
    """(y, x): valid and free of cloud."""
    valid: Bool
    """(y, x): inside the swath."""

    @property
    def cloud(self) -> float:
        """Cloudy fraction of the valid pixels; 0 if no pixel is valid."""
        valid = int(np.count_nonzero(self.valid))
        return 1 - int(np.count_nonzero(self.clear)) / valid if valid else 0.0

    @property
    def nodata(self) -> float:
        """Fraction of the tile outside the swath."""
        return 1 - int(np.count_nonzero(self.valid)) / self.valid.size


@dataclass(frozen=True, slots=True)
class CostModel:
    """Costs of scenes and of uncovered pixels, and the maximum number of scenes."""

    start: date
    end: date
    target: date
    max_scenes: int
    options: Selection

    @classmethod
    def from_config(cls, config: RunConfig) -> "CostModel":
        """Return the cost model of a run's configuration."""
        dates = config.dates
        return cls(dates.start, dates.end, config.target, config.max_scenes, config.selection)

    def compute_cost(self, candidate: PreviewCandidate) -> Cost:
        """Compute the cost of a scene: 1, plus `recency` times its relative age, plus `haze` times its haze.

        The age is the distance to the target date, relative to the farther end of the date range.
        """
        reach = max(abs((end - self.target).days) for end in (self.start, self.end))
        age = min(abs((candidate.date - self.target).days) / max(reach, 1), 1.0)
        older, hazier = self.options.recency * age, self.options.haze * candidate.haze
        return Cost(base=1.0, age=older, haze=hazier, total=1.0 + older + hazier)

    def compute_penalty(self, pixels: int) -> float:
        """Compute the penalty for leaving the whole tile (`pixels` pixels) uncovered, in scenes.

        With 1 / min_gain, a scene is worth its cost exactly when it alone shows `cost * min_gain` of the tile clear.
        With a min_gain of 0, a single pixel is worth the most expensive scene.
        """
        dearest = 1 + self.options.recency + self.options.haze
        return 1.0 / max(self.options.min_gain, 1.0 / (pixels * (dearest + 1)))


@dataclass(frozen=True, slots=True)
class CandidateDecision:
    """Decision about one candidate, with the numbers that it depends on."""

    decision: Decision
    rank: int | None
    """Place among the selected scenes or among the fallbacks, from 1; None for rejected scenes."""
    cost: Cost
    coverage: float
    """Fraction of the tile that the scene shows clear."""
    gain: float
    """Fraction of the tile that only this selected scene shows clear; for other scenes, the fraction it would add."""
    reason: str


@dataclass(frozen=True, slots=True)
class SceneSelection:
    """Scene list of a tile and its quality."""

    selected: tuple[str, ...]
    """Priority order: the cheapest (recent, haze-free) first; of equal costs, the one with more clear pixels."""
    fallbacks: tuple[str, ...]
    """Scenes to try, in this order, if holes remain at full resolution."""
    decisions: Mapping[str, CandidateDecision]
    """Decision about every candidate, by scene id."""
    coverable: float
    """Fraction of the tile that is clear in at least one candidate."""
    covered: float
    """Fraction of the tile that is clear in at least one selected scene."""
    objective: float
    lower_bound: float
    status: SolverStatus
    elements: int
    """Number of pixel sets that the solver distinguishes."""

    @property
    def gap(self) -> float:
        """Optimality gap: (objective - lower bound) / objective."""
        return (self.objective - self.lower_bound) / self.objective if self.objective else 0.0


def select_scenes(candidates: Sequence[PreviewCandidate], model: CostModel) -> SceneSelection:
    """Select the scenes of least cost that cover what can be covered.

    Args:
        candidates: Candidates on one grid, with different ids; their order does not matter.
        model: Costs and the maximum number of scenes.

    Returns:
        The selection; it is empty if there is no candidate or none is clear anywhere.

    Raises:
        InputError: If two candidates have the same id, or their masks differ in shape.
    """
    candidates = sorted(candidates, key=lambda one: (abs((one.date - model.target).days), one.date, one.id))
    _check_candidates(candidates)
    if not candidates:
        return SceneSelection((), (), {}, 0.0, 0.0, 0.0, 0.0, "nothing to cover", 0)
    clear = np.stack([one.clear for one in candidates])
    costs = [model.compute_cost(one) for one in candidates]
    total = np.array([cost.total for cost in costs])
    parts, penalty = merge_pixels(clear), model.compute_penalty(clear[0].size)
    solution = solve_set_cover(clear, total, penalty, model.max_scenes, model.options.time_limit_s)
    coverage = np.count_nonzero(clear.reshape(len(candidates), -1), axis=1) / clear[0].size
    selected = sorted(np.flatnonzero(solution.selected).tolist(), key=lambda s: (total[s], -coverage[s], s))
    useful = ~solution.selected & (coverage >= model.options.min_gain)
    fallbacks = _rank_fallbacks(parts, total, solution.selected, useful, model)
    decisions = _explain_decisions(candidates, costs, parts, coverage, (selected, fallbacks), model)
    status: SolverStatus = "optimal" if solution.proven else "time limit"
    return SceneSelection(
        selected=tuple(candidates[s].id for s in selected),
        fallbacks=tuple(candidates[s].id for s in fallbacks),
        decisions=decisions,
        coverable=float(parts.weight.sum()),
        covered=float(parts.weight[parts.seen[:, selected].any(axis=1)].sum()),
        objective=solution.objective,
        lower_bound=solution.lower_bound,
        status=status if len(parts.weight) else "nothing to cover",
        elements=len(parts.weight),
    )


def build_candidate_record(
    scene: Scene, candidate: PreviewCandidate, decision: CandidateDecision, preview: str
) -> Candidate:
    """Build the record of one candidate; `preview` is 'thumbnail' or 'bands'."""
    return Candidate.model_validate(
        {
            "id": scene.id,
            "datetime": scene.datetime.isoformat(),
            "platform": scene.platform,
            "catalog_cloud": scene.cloud_cover,
            "preview": preview,
            "cloud": candidate.cloud,
            "coverage": decision.coverage,
            "nodata": candidate.nodata,
            "haze": candidate.haze,
            "cost": decision.cost,
            "gain": decision.gain,
            "decision": decision.decision,
            "rank": decision.rank,
            "reason": decision.reason,
        }
    )


def _check_candidates(candidates: Sequence[PreviewCandidate]) -> None:
    ids = [one.id for one in candidates]
    if len(set(ids)) < len(ids):
        twice = min(name for name in ids if ids.count(name) > 1)
        raise InputError(f"Cannot select scenes: {twice} is a candidate twice; drop duplicates before the selection.")
    for one in candidates:
        if one.clear.shape != candidates[0].clear.shape or one.valid.shape != one.clear.shape:
            raise InputError(
                f"Cannot select scenes: {one.id} has masks of {one.clear.shape} and {one.valid.shape} pixels, but "
                f"{candidates[0].id} has {candidates[0].clear.shape}; resample all previews to one grid."
            )


def _rank_fallbacks(parts: CoverElements, cost: Float64, selected: Bool, useful: Bool, model: CostModel) -> list[int]:
    """Rank the `useful` scenes by their value, given the selected scenes and the fallbacks before them.

    A pixel that k scenes already show clear has the value DEPTH_DISCOUNT ** k. So fallbacks first fill what is
    uncovered, then what depends on one scene only and may be cloudy at full resolution. The value is divided by cost.
    """
    seen = parts.seen.astype(np.float32)
    worth = (parts.weight * DEPTH_DISCOUNT ** parts.seen[:, selected].sum(axis=1)).astype(np.float32)
    order: list[int] = []
    while useful.any() and len(order) < FALLBACKS_PER_SCENE * model.max_scenes:
        best = int(np.argmax(np.where(useful, (worth @ seen) / cost, -1.0)))
        order.append(best)
        useful[best] = False
        worth[parts.seen[:, best]] *= DEPTH_DISCOUNT
    return order


def _explain_decisions(
    candidates: Sequence[PreviewCandidate],
    costs: Sequence[Cost],
    parts: CoverElements,
    coverage: Float64,
    lists: tuple[list[int], list[int]],
    model: CostModel,
) -> dict[str, CandidateDecision]:
    """Explain the decision about each candidate; `lists` are the selected scenes and the fallbacks, in order."""
    selected, fallbacks = lists
    times = parts.seen[:, selected].sum(axis=1)
    seen = np.ascontiguousarray(parts.seen.T)  # contiguous rows: each scene is read as a whole
    decisions = {}
    for s, candidate in enumerate(candidates):
        gain = float(parts.weight[(times == (1 if s in selected else 0)) & seen[s]].sum())
        word: Decision = "taken" if s in selected else "spare" if s in fallbacks else "left"
        rank = (selected if s in selected else fallbacks).index(s) + 1 if word != "left" else None
        decision = CandidateDecision(word, rank, costs[s], float(coverage[s]), gain, reason="")
        better = [t for t in selected if not gain and not (seen[s] & ~seen[t]).any()]
        rival = f"{candidates[better[0]].id} (cost {costs[better[0]].total:.2f})" if better else ""
        capped = len(selected) >= model.max_scenes
        if word == "taken":
            reason = _explain_selected(decision)
        else:
            reason = _explain_rejected(candidate, decision, model, rival, capped)
        decisions[candidate.id] = replace(decision, reason=reason)
    return decisions


def _explain_selected(decision: CandidateDecision) -> str:
    return (
        f"Selected: clear over {format_percent(decision.coverage)} of the tile, {format_percent(decision.gain)} of it "
        f"in no other selected scene; cost {decision.cost.total:.2f}."
    )


def _explain_rejected(
    candidate: PreviewCandidate, decision: CandidateDecision, model: CostModel, rival: str, capped: bool
) -> str:
    """Explain why a scene is not selected; `rival` is a selected scene that shows all its clear pixels clear."""
    least, cost = 1 / model.compute_penalty(candidate.clear.size), decision.cost.total
    gain = format_percent(decision.gain)
    if not decision.coverage:
        reason = "the preview is completely cloudy" if candidate.valid.any() else "its swath does not cover the tile"
        return f"Rejected: {reason}."
    if decision.coverage < least:
        coverage, min_gain = format_percent(decision.coverage), format_percent(least)
        return f"Rejected: clear over only {coverage} of the tile, less than min_gain ({min_gain})."
    if rival:
        why = f"everything it shows clear is also clear in {rival}; its own cost is {cost:.2f}"
    elif decision.gain < least * cost:
        floor = format_percent(least * cost)
        why = f"it would add {gain} of the tile; its cost of {cost:.2f} requires at least {floor}"
    elif capped:
        why = f"it would add {gain} of the tile, but max_scenes ({model.max_scenes}) is reached"
    else:
        why = f"it would add {gain} of the tile, but the time limit ended the search"
    if decision.decision == "spare":
        return f"Fallback for holes at full resolution: {why}."
    return f"Rejected: {why}, and the fallback list is full."


def format_percent(fraction: float) -> str:
    """Format a fraction of the tile as percentage with two decimals."""
    return "under 0.01 %" if 0 < fraction < 0.00005 else f"{100 * fraction:.2f} %"

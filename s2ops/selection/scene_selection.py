"""Which scenes a tile needs: the smallest list that covers it cloud-free, recent and haze-free ones first.

Paper, section 1, steps b to d; the model in words and the reasons for its numbers: docs/explanation/select.md.
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
from s2ops.selection.set_cover import Elements, elements, minimum

DEPTH_DISCOUNT: Final = 0.1
"""Worth of a pixel to a spare for each scene that sees it already: a second look is worth a tenth of a first."""
SPARES_PER_SCENE: Final = 2
"""Spares kept for each scene that the cap allows; more would never be reached."""

MOSTLY_CLEAR: Final = 0.5
"""Part of the tile that a further date must show clear to be worth classifying."""


@dataclass(frozen=True, slots=True)
class Look:
    """A candidate as its preview shows it, on the tile's preview grid."""

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
        """Part of the valid pixels that is cloud; 0 where nothing is valid."""
        valid = int(np.count_nonzero(self.valid))
        return 1 - int(np.count_nonzero(self.clear)) / valid if valid else 0.0

    @property
    def nodata(self) -> float:
        """Part of the tile outside the swath."""
        return 1 - int(np.count_nonzero(self.valid)) / self.valid.size


@dataclass(frozen=True, slots=True)
class Rule:
    """How scenes are priced, and how many there may be."""

    start: date
    end: date
    target: date
    max_scenes: int
    options: Selection

    @classmethod
    def of(cls, config: RunConfig) -> "Rule":
        """The rule that a run's configuration states."""
        dates = config.dates
        return cls(dates.start, dates.end, config.target, config.max_scenes, config.selection)

    def cost(self, look: Look) -> Cost:
        """1, plus `recency` at the far end of the date range, plus `haze` for a surely hazy scene."""
        reach = max(abs((end - self.target).days) for end in (self.start, self.end))
        age = min(abs((look.date - self.target).days) / max(reach, 1), 1.0)
        older, hazier = self.options.recency * age, self.options.haze * look.haze
        return Cost(base=1.0, age=older, haze=hazier, total=1.0 + older + hazier)

    def penalty(self, pixels: int) -> float:
        """Price of the whole tile left uncovered, in scenes.

        At 1 / min_gain a scene pays for itself exactly when it alone sees `cost * min_gain` of the tile. With
        a min_gain of 0 a single pixel is worth the dearest scene.
        """
        dearest = 1 + self.options.recency + self.options.haze
        return 1.0 / max(self.options.min_gain, 1.0 / (pixels * (dearest + 1)))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided for one candidate."""

    decision: Decision
    rank: int | None
    cost: Cost
    coverage: float
    gain: float
    """Taken: part of the tile that no other taken scene sees. Else: what it would add to those taken."""
    reason: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The scene list of a tile and how good it is."""

    selected: tuple[str, ...]
    """Priority order: the cheapest (recent, free of haze) first, of equal ones the one that covers more."""
    spares: tuple[str, ...]
    verdicts: Mapping[str, Verdict]
    coverable: float
    covered: float
    objective: float
    lower_bound: float
    status: SolverStatus
    elements: int

    @property
    def gap(self) -> float:
        """(objective - lower bound) / objective."""
        return (self.objective - self.lower_bound) / self.objective if self.objective else 0.0


def choose(looks: Sequence[Look], rule: Rule) -> Choice:
    """The scenes of least cost that cover what can be covered; the order of `looks` does not matter.

    All looks must share one grid and have different ids (InputError). Without a look, or when none is clear
    anywhere, nothing is selected.
    """
    looks = sorted(looks, key=lambda look: (abs((look.date - rule.target).days), look.date, look.id))
    _check(looks)
    if not looks:
        return Choice((), (), {}, 0.0, 0.0, 0.0, 0.0, "nothing to cover", 0)
    clear = np.stack([look.clear for look in looks])
    costs = [rule.cost(look) for look in looks]
    total = np.array([cost.total for cost in costs])
    parts, penalty = elements(clear), rule.penalty(clear[0].size)
    found = minimum(clear, total, penalty, rule.max_scenes, rule.options.time_limit_s)
    coverage = np.count_nonzero(clear.reshape(len(looks), -1), axis=1) / clear[0].size
    taken = sorted(np.flatnonzero(found.taken).tolist(), key=lambda s: (total[s], -coverage[s], s))
    spares = _spares(parts, total, found.taken, ~found.taken & (coverage >= rule.options.min_gain), rule)
    verdicts = _verdicts(looks, costs, parts, coverage, (taken, spares), rule)
    status: SolverStatus = "optimal" if found.proven else "time limit"
    return Choice(
        selected=tuple(looks[s].id for s in taken),
        spares=tuple(looks[s].id for s in spares),
        verdicts=verdicts,
        coverable=float(parts.weight.sum()),
        covered=float(parts.weight[parts.seen[:, taken].any(axis=1)].sum()),
        objective=found.objective,
        lower_bound=found.lower_bound,
        status=status if len(parts.weight) else "nothing to cover",
        elements=len(parts.weight),
    )


def candidate(scene: Scene, look: Look, verdict: Verdict, preview: str) -> Candidate:
    """The record of one candidate; `preview` is 'thumbnail' or 'bands'."""
    return Candidate.model_validate(
        {
            "id": scene.id,
            "datetime": scene.datetime.isoformat(),
            "platform": scene.platform,
            "catalog_cloud": scene.cloud_cover,
            "preview": preview,
            "cloud": look.cloud,
            "coverage": verdict.coverage,
            "nodata": look.nodata,
            "haze": look.haze,
            "cost": verdict.cost,
            "gain": verdict.gain,
            "decision": verdict.decision,
            "rank": verdict.rank,
            "reason": verdict.reason,
        }
    )


def _check(looks: Sequence[Look]) -> None:
    ids = [look.id for look in looks]
    if len(set(ids)) < len(ids):
        twice = min(name for name in ids if ids.count(name) > 1)
        raise InputError(f"{twice} is a candidate twice: drop duplicates before the selection")
    for look in looks:
        if look.clear.shape != looks[0].clear.shape or look.valid.shape != look.clear.shape:
            raise InputError(
                f"{look.id}: masks of {look.clear.shape} and {look.valid.shape} pixels, but {looks[0].id} has "
                f"{looks[0].clear.shape}: put all previews on one grid"
            )


def _spares(parts: Elements, cost: Float64, taken: Bool, useful: Bool, rule: Rule) -> list[int]:
    """Of the `useful` scenes, the most useful after those before it first.

    A pixel that k scenes see already is worth DEPTH_DISCOUNT ** k: first what is still uncovered, then what
    hangs on one scene only and may turn out cloudy at full resolution. Worth is divided by cost.
    """
    seen = parts.seen.astype(np.float32)
    worth = (parts.weight * DEPTH_DISCOUNT ** parts.seen[:, taken].sum(axis=1)).astype(np.float32)
    order: list[int] = []
    while useful.any() and len(order) < SPARES_PER_SCENE * rule.max_scenes:
        best = int(np.argmax(np.where(useful, (worth @ seen) / cost, -1.0)))
        order.append(best)
        useful[best] = False
        worth[parts.seen[:, best]] *= DEPTH_DISCOUNT
    return order


def _verdicts(
    looks: Sequence[Look],
    costs: Sequence[Cost],
    parts: Elements,
    coverage: Float64,
    lists: tuple[list[int], list[int]],
    rule: Rule,
) -> dict[str, Verdict]:
    """A verdict for each look; `lists` are the scenes taken and the spares, in order."""
    taken, spares = lists
    times = parts.seen[:, taken].sum(axis=1)
    seen = np.ascontiguousarray(parts.seen.T)  # a scene's row is read at once
    verdicts = {}
    for s, look in enumerate(looks):
        gain = float(parts.weight[(times == (1 if s in taken else 0)) & seen[s]].sum())
        decision: Decision = "taken" if s in taken else "spare" if s in spares else "left"
        rank = (taken if s in taken else spares).index(s) + 1 if decision != "left" else None
        verdict = Verdict(decision, rank, costs[s], float(coverage[s]), gain, reason="")
        better = [t for t in taken if not gain and not (seen[s] & ~seen[t]).any()]
        rival = f"{looks[better[0]].id} at a cost of {costs[better[0]].total:.2f}" if better else ""
        capped = len(taken) >= rule.max_scenes
        words = _taken(verdict) if decision == "taken" else _not_taken(look, verdict, rule, rival, capped)
        verdicts[look.id] = replace(verdict, reason=words)
    return verdicts


def _taken(verdict: Verdict) -> str:
    return (
        f"clear over {percent(verdict.coverage)} of the tile, {percent(verdict.gain)} of it in no other scene "
        f"taken, at a cost of {verdict.cost.total:.2f}"
    )


def _not_taken(look: Look, verdict: Verdict, rule: Rule, rival: str, capped: bool) -> str:
    """One sentence with the numbers that decided; `rival` is a scene taken that sees all that this one sees."""
    least, cost, gain = 1 / rule.penalty(look.clear.size), verdict.cost.total, percent(verdict.gain)
    if not verdict.coverage:
        return "all cloud" if look.valid.any() else "no pixel of the tile lies in its swath"
    if verdict.coverage < least:
        return f"clear over {percent(verdict.coverage)} of the tile only, less than {percent(least)}"
    if rival:
        why = f"all that it sees clear is seen by {rival}, against {cost:.2f}"
    elif verdict.gain < least * cost:
        why = f"adds {gain} of the tile, less than the {percent(least * cost)} that its cost of {cost:.2f} asks for"
    elif capped:
        why = f"would add {gain} of the tile, but the cap of {rule.max_scenes} scenes is reached"
    else:
        why = f"would add {gain} of the tile, but the time limit ended the search"
    return (
        f"{why}; kept for holes at full resolution"
        if verdict.decision == "spare"
        else f"{why}; enough spares lie before it"
    )


def percent(part: float) -> str:
    """A part of the tile in words."""
    return "under 0.01 %" if 0 < part < 0.00005 else f"{100 * part:.2f} %"

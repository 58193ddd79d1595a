"""Which newer scenes improve a tile that is made already: pure, on previews (docs/how-to/refresh-a-mosaic.md).

The list of the earlier run keeps its order. A newer scene is put in by its cost, as in any list, and is taken where it
fills holes, makes enough of the tile fresher, or takes enough haze away. Scenes of which newer ones show all drop out.
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
from s2ops.selection.scene_selection import SPARES_PER_SCENE, Look, Rule, Verdict, percent

Int16: TypeAlias = npt.NDArray[np.int16]

_HOLE: Final = -1


@dataclass(frozen=True, slots=True)
class Effect:
    """What a newer scene would do to a tile, in parts of the tile."""

    filled: float
    """Had no clear scene."""
    fresher: float
    """Gets younger by `fresher_days` or more."""
    clearer: float
    """Comes from a scene with so much less haze."""

    def is_enough(self, options: Refresh) -> bool:
        """Whether one of the three reaches its threshold; a threshold of 0 still asks for something."""
        found = (
            (self.filled, options.min_fill),
            (self.fresher, options.min_fresher),
            (self.clearer, options.min_clearer),
        )
        return any(part > 0 and part >= least for part, least in found)

    def words(self, options: Refresh) -> str:
        """The three with what is asked for."""
        return (
            f"fills {percent(self.filled)} of the tile ({percent(options.min_fill)} asked for), makes "
            f"{percent(self.fresher)} at least {options.fresher_days} days fresher ({percent(options.min_fresher)}), "
            f"takes haze from {percent(self.clearer)} ({percent(options.min_clearer)})"
        )


@dataclass(frozen=True, slots=True)
class Renewal:
    """The list after a refresh."""

    selected: tuple[str, ...]
    taken: tuple[str, ...]
    """Newer scenes in the list."""
    dropped: tuple[str, ...]
    """Scenes of the earlier list that are not needed any more."""
    verdicts: Mapping[str, Verdict]
    """Of the earlier list and of all newer scenes."""
    covered: float


def renew(base: Sequence[Look], newer: Sequence[Look], rule: Rule, options: Refresh) -> Renewal:
    """The list `base`, in its order, with those of `newer` that improve the tile; their order does not matter.

    All looks share one grid, and their ids differ (InputError).
    """
    ids = [look.id for look in (*base, *newer)]
    if len(set(ids)) < len(ids):
        raise InputError(f"{min(name for name in ids if ids.count(name) > 1)} is both in the list and newer")
    cost = {look.id: rule.cost(look).total for look in (*base, *newer)}
    order, reasons = list(base), dict[str, str]()
    for look in sorted(newer, key=lambda one: (cost[one.id], -int(np.count_nonzero(one.clear)), one.id)):
        place = next((n for n, one in enumerate(order) if cost[look.id] < cost[one.id]), len(order))
        trial = [*order[:place], look, *order[place:]]
        effect = _effect(order, trial, place, options)
        reasons[look.id] = effect.words(options)
        if not effect.is_enough(options):
            continue
        if len(_needed(trial, base, rule)) > rule.max_scenes:
            reasons[look.id] += f"; but the cap of {rule.max_scenes} scenes is reached"
        else:
            order = trial
    kept = _needed(order, base, rule) if len(order) > len(base) else order
    names = {look.id for look in kept}
    return Renewal(
        selected=tuple(look.id for look in kept),
        taken=tuple(look.id for look in kept if look.id in reasons),
        dropped=tuple(look.id for look in base if look.id not in names),
        verdicts=_verdicts(kept, base, newer, reasons, rule),
        covered=_part(_shown(kept) != _HOLE),
    )


def _shown(order: Sequence[Look]) -> Int16:
    """(y, x) place in the order of the scene that each pixel is taken from; _HOLE where none is clear."""
    out = np.full(order[0].clear.shape if order else (1, 1), _HOLE, np.int16)
    for place in reversed(range(len(order))):
        out[order[place].clear] = place
    return out


def _effect(order: Sequence[Look], trial: Sequence[Look], place: int, options: Refresh) -> Effect:
    """What changes from `order` to `trial`, whose scene at `place` is the new one."""
    look, mine = trial[place], _shown(trial) == place
    before = np.broadcast_to(_shown(order), mine.shape)
    younger = [(look.date - one.date).days >= options.fresher_days for one in order]
    clearer = [one.haze - look.haze >= options.less_haze and one.haze > look.haze for one in order]
    # index -1, a hole, is the last entry: neither younger nor clearer
    return Effect(
        filled=_part(mine & (before == _HOLE)),
        fresher=_part(mine & np.array([*younger, False])[before]),
        clearer=_part(mine & np.array([*clearer, False])[before]),
    )


def _needed(order: Sequence[Look], base: Sequence[Look], rule: Rule) -> list[Look]:
    """The order without scenes of the earlier list that show less than `min_gain` of the tile in it."""
    shown, old = _shown(order), {look.id for look in base}
    least = rule.options.min_gain
    return [one for n, one in enumerate(order) if one.id not in old or _part(shown == n) > least]


def _verdicts(
    kept: Sequence[Look], base: Sequence[Look], newer: Sequence[Look], reasons: Mapping[str, str], rule: Rule
) -> dict[str, Verdict]:
    shown = _shown(kept)
    places = {look.id: n for n, look in enumerate(kept)}
    dropped = [look for look in base if look.id not in places]
    useful = [look for look in newer if look.id not in places and _part(look.clear) >= rule.options.min_gain]
    queue = [*dropped, *sorted(useful, key=lambda one: (rule.cost(one).total, one.id))]
    spares = {look.id: n for n, look in enumerate(queue[: SPARES_PER_SCENE * rule.max_scenes])}
    times = np.sum([look.clear for look in kept], axis=0) if kept else np.zeros(1)
    out = {}
    for look in (*base, *newer):
        place = places.get(look.id)
        gain = _part(look.clear & (times == (0 if place is None else 1)))
        if look.id in reasons:
            words = f"newer: {reasons[look.id]}"
        elif place is not None:
            words = f"of the earlier list: shows {percent(_part(shown == place))} of the tile"
        else:
            words = "of the earlier list: newer scenes show all that it showed; kept for holes at full resolution"
        decision: Decision = "taken" if place is not None else "spare" if look.id in spares else "left"
        rank = {"taken": (place or 0) + 1, "spare": spares.get(look.id, 0) + 1, "left": None}[decision]
        out[look.id] = Verdict(decision, rank, rule.cost(look), _part(look.clear), gain, words)
    return out


def _part(pixels: Bool) -> float:
    return int(np.count_nonzero(pixels)) / pixels.size

"""The smallest cover, exactly: which scenes together see what is there to be seen, at the lowest cost.

Pixels that the same scenes see clear are one element. With x_s = 1 for a scene taken and z_e the part of
an element left uncovered, HiGHS minimises

    sum_s cost_s x_s + penalty sum_e weight_e z_e    with  z_e >= 1 - sum_(s sees e) x_s,  sum_s x_s <= limit

Of up to 100,000 elements few ever bind, so rows enter on demand: solve with some, look which others the
answer leaves uncovered, add those, solve again. Each answer is a lower bound for the whole problem; the
first that leaves nothing uncovered outside its rows is the exact optimum.
"""

import time
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, eye_array, hstack, vstack

from s2ops.codes import Bool, Float64, Int64

FIRST_ROWS: Final = 400
"""Elements in the first problem: those that the fewest scenes see bind first."""
NEW_ROWS: Final = 2000
"""Most elements added a round, the heaviest first."""
PROVEN: Final = 1e-6
"""An answer this near to its bound (in scenes) is optimal: well above HiGHS's tolerance, far below a scene."""


@dataclass(frozen=True, slots=True)
class Elements:
    """Sets of pixels that the same scenes see clear."""

    seen: Bool
    """(element, scene): the scenes that see it."""
    weight: Float64
    """(element,): part of the tile, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Cover:
    """Which scenes to take, and how sure that is."""

    taken: Bool
    """(scene,)"""
    objective: float
    lower_bound: float
    proven: bool
    """False: the time limit ended the search."""


def elements(clear: Bool) -> Elements:
    """Merge the pixels of `clear` (scene, y, x) by the set of scenes that see them; unseen ones drop out."""
    scenes = len(clear)
    flat = clear.reshape(scenes, -1)
    bits = np.packbits(flat, axis=0, bitorder="little")
    words = np.zeros((-(-len(bits) // 8) * 8, flat.shape[1]), np.uint8)
    words[: len(bits)] = bits
    keys = np.ascontiguousarray(words.T).view(np.uint64)  # (pixel, word): few wide keys sort fast
    order = np.lexsort(keys.T)
    keys = keys[order]
    first = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]).any(axis=1)]) if len(keys) else np.empty(0, int)
    counts = np.diff(np.r_[first, len(keys)])
    seen = np.ascontiguousarray(flat[:, order[first]].T)
    some = seen.any(axis=1)
    return Elements(seen[some], counts[some] / max(flat.shape[1], 1))


def objective(taken: Bool, parts: Elements, cost: Float64, penalty: float) -> float:
    """Cost of the scenes `taken` plus the penalty of the elements that none of them sees, in scenes."""
    missed = parts.weight[_unseen(parts, taken)].sum()
    return float(cost[taken].sum() + penalty * missed)


def greedy(parts: Elements, cost: Float64, penalty: float, limit: int) -> Bool:
    """A good start: again and again the scene with the best net worth, while there is one."""
    taken = np.zeros(len(cost), bool)
    seen = parts.seen.astype(np.float32)
    missed = (parts.weight * penalty).astype(np.float32)
    for _ in range(limit):
        worth = np.where(taken, -np.inf, missed @ seen - cost)
        best = int(np.argmax(worth))
        if worth[best] <= 0:
            break
        taken[best] = True
        missed[parts.seen[:, best]] = 0
    return taken


def minimum(parts: Elements, cost: Float64, penalty: float, limit: int, time_limit_s: float) -> Cover:
    """The scenes of least objective, at most `limit` of them.

    `cost` (scene,) must be positive. Equal input gives equal output as long as the time limit is not met.
    """
    best = greedy(parts, cost, penalty, limit)
    upper, bound = objective(best, parts, cost, penalty), 0.0
    deadline = time.monotonic() + time_limit_s
    active = _first_rows(parts, best)
    while upper - bound > PROVEN:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            break
        prices = np.r_[cost, penalty * parts.weight[active]]
        taken, lower = _solve(parts.seen[active], prices, limit, left_s)
        bound = max(bound, min(lower, upper))
        if taken is None:
            break
        value = objective(taken, parts, cost, penalty)
        if value < upper - PROVEN:
            best, upper = taken, value
        fresh = _heaviest(_unseen(parts, taken) & ~active, parts.weight)
        if not len(fresh):
            break
        active[fresh] = True
    return Cover(best, upper, bound, proven=upper - bound <= PROVEN)


def _unseen(parts: Elements, taken: Bool) -> Bool:
    """(element,): those that none of the scenes taken sees."""
    return ~np.asarray(parts.seen[:, taken].any(axis=1))


def _first_rows(parts: Elements, start: Bool) -> Bool:
    """Elements that few scenes see, and those that the greedy start misses."""
    rare = np.lexsort((-parts.weight, parts.seen.sum(axis=1)))[:FIRST_ROWS]
    active = np.zeros(len(parts.weight), bool)
    active[rare] = True
    active[_heaviest(_unseen(parts, start), parts.weight)] = True
    return active


def _heaviest(among: Bool, weight: Float64) -> Int64:
    rows = np.flatnonzero(among)
    return rows[np.argsort(-weight[rows], kind="stable")[:NEW_ROWS]]


def _solve(seen: Bool, prices: Float64, limit: int, time_limit_s: float) -> tuple[Bool | None, float]:
    """Optimum over some elements: the scenes taken (None: none found in time) and the proven lower bound.

    `seen` (element, scene); `prices` of the scenes, then of the elements left uncovered.
    """
    slacks, scenes = seen.shape
    cover = hstack([csr_array(seen.astype(float)), eye_array(slacks)])
    size = csr_array(np.r_[np.ones(scenes), np.zeros(slacks)][None])
    lower, upper = np.r_[np.ones(slacks), 0.0], np.r_[np.full(slacks, np.inf), float(limit)]
    result = milp(
        prices,
        integrality=np.r_[np.ones(scenes), np.zeros(slacks)],
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(vstack([cover, size], format="csc"), lower, upper),
        options={"time_limit": time_limit_s, "mip_rel_gap": 0.0},
    )
    bound = 0.0 if result.mip_dual_bound is None else float(result.mip_dual_bound)
    return (None if result.x is None else result.x[:scenes] > 0.5), bound

"""Exact solver for the weighted set cover problem with penalties (branch and bound on bit sets).

Among all lists of at most `limit` scenes, it finds the list that minimizes

    sum of the scenes' costs + penalty * (fraction of the tile that is clear in some scene, but in none of the list)

`tests/selection/test_set_cover.py` compares the results with HiGHS, which solves the same integer program. HiGHS
needs one row for each of up to 100,000 pixel sets. Its linear relaxation covers pixels with halves of many cloudy
scenes, so it proves little within the time limit. Branch and bound is fast here because lists are short, so the search
tree is shallow, and because counting bits is cheap (docs/explanation/select.md has a table).
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from s2ops.constants import Bool, Float64, Int64
from s2ops.runtime.jit import compile_kernel

BitRows: TypeAlias = NDArray[np.uint64]

WORDS_PER_S: Final = 0.8e9
"""Words of 64 pixels that one core processes per second, at least (measured). The time limit is counted in words, so
that a busy machine finds the same list as an idle one."""
WORDS_PER_NODE_OVERHEAD: Final = 1e5
"""Fixed cost of one node in words: sorting its candidates, and the Python interpreter."""
HARDEST_FRACTION: Final = 1 / 8
"""Fraction of the uncovered pixels, those clear in the fewest scenes, from which bounds are computed."""
OBJECTIVE_TOLERANCE: Final = 1e-9
"""Objectives (in scenes) that differ by less are equal: the list found first is kept."""


@dataclass(frozen=True, slots=True)
class CoverElements:
    """Elements of the set cover: pixels merged by the set of scenes in which they are clear."""

    seen: Bool
    """(element, scene): True if the element is clear in the scene."""
    weight: Float64
    """(element,): fraction of the tile, 0 to 1."""


@dataclass(frozen=True, slots=True)
class CoverSolution:
    """Best list found, with a lower bound that proves how good it is."""

    selected: Bool
    """(scene,): True for the scenes of the list."""
    objective: float
    """Cost of the scenes plus penalty for uncovered pixels, in scenes."""
    lower_bound: float
    """Lower bound of the objective of every list."""

    @property
    def proven(self) -> bool:
        """True if no list is better; False if the time limit ended the search."""
        return self.objective - self.lower_bound <= OBJECTIVE_TOLERANCE


def merge_pixels(clear: Bool) -> CoverElements:
    """Merge pixels that are clear in the same scenes; pixels that are clear in no scene are dropped.

    Args:
        clear: Cloud-free pixels (scene, y, x).
    """
    scenes = len(clear)
    flat = clear.reshape(scenes, -1)
    bits = np.packbits(flat, axis=0)
    words = np.zeros((_count_words(scenes) * 8, flat.shape[1]), np.uint8)
    words[: len(bits)] = bits
    keys = np.ascontiguousarray(words.T).view(np.uint64)  # (pixel, word): few wide keys sort fast
    order = np.lexsort(keys.T)
    keys = keys[order]
    first = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]).any(axis=1)])
    seen = np.ascontiguousarray(flat[:, order[first]].T)
    counts = np.diff(np.r_[first, len(keys)])
    some = seen.any(axis=1)
    return CoverElements(seen[some], counts[some] / flat.shape[1])


def solve_set_cover(clear: Bool, cost: Float64, penalty: float, limit: int, time_limit_s: float) -> CoverSolution:
    """Solve the set cover problem; equal input gives equal output, regardless of the machine's speed.

    Args:
        clear: Cloud-free pixels (scene, y, x).
        cost: Cost of each scene (scene,), positive.
        penalty: Cost of leaving the whole tile uncovered, in scenes.
        limit: Maximum number of scenes.
        time_limit_s: Time limit in seconds of a core that processes `WORDS_PER_S`.
    """
    bits = _pack_hardest_first(clear)
    missed = np.bitwise_or.reduce(bits, axis=0)
    root = _Node((), 0.0, bits, missed, int(np.bitwise_count(missed).sum()), np.arange(len(clear)), limit)
    search = _BranchAndBound(cost, penalty / clear[0].size, time_limit_s * WORDS_PER_S)
    bound = search.explore(root)
    selected = np.zeros(len(clear), bool)
    selected[list(search.best)] = True
    return CoverSolution(selected, search.objective, min(bound, search.objective))


def _pack_hardest_first(clear: Bool) -> BitRows:
    """Pack pixels into words of 64 bits (scene, word), those clear in the fewest scenes first; drop the never clear."""
    flat = clear.reshape(len(clear), -1)
    times = np.count_nonzero(flat, axis=0)
    order = np.argsort(times, kind="stable")[np.count_nonzero(times == 0) :]
    packed = np.packbits(flat[:, order], axis=1)
    padded = np.zeros((len(clear), _count_words(len(order)) * 8), np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view(np.uint64)


@dataclass(frozen=True, slots=True)
class _Node:
    """Subtree of the search: all lists that extend `scenes` by up to `room` of the scenes in `free`."""

    scenes: tuple[int, ...]
    cost: float
    bits: BitRows
    """(scene, word): 64 pixels per word."""
    missed: BitRows
    """(word,): pixels that `scenes` leave uncovered; their number is `pixels`."""
    pixels: int
    free: Int64
    room: int

    def count_gains(self, free: Int64, words: int) -> Int64:
        """Count the pixels that each scene of `free` would add within the first `words` words."""
        out = np.empty(len(free), np.int64)
        _count_gains(self.bits, free, self.missed[:words], out)
        return out

    def find_hardest_pixels(self) -> tuple[int, int]:
        """Return the number of words that contain the hardest uncovered pixels, and the number of these pixels."""
        upto = np.cumsum(np.bitwise_count(self.missed), dtype=np.int64)
        last = int(np.searchsorted(upto, HARDEST_FRACTION * self.pixels))
        return last + 1, int(upto[last])


@compile_kernel
def _count_gains(bits: BitRows, free: Int64, missed: BitRows, out: Int64) -> None:
    """Count the bits that each row `free` of `bits` shares with `missed`, without copying either.

    This is the usual population count (pairs, fours, eights, then a product that adds the bytes); the compiler turns it
    into one instruction.
    """
    pairs, fours = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333)
    eights, ones = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0x0101010101010101)
    one, two, four, last = np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(56)
    for place in range(len(free)):
        row, total = bits[free[place]], np.uint64(0)
        for word in range(len(missed)):
            left = row[word] & missed[word]
            left -= (left >> one) & pairs
            left = (left & fours) + ((left >> two) & fours)
            left = (left + (left >> four)) & eights
            total += (left * ones) >> last
        out[place] = np.int64(total)


@compile_kernel
def _compute_lower_bound(spent: float, pixels: int, gain: Int64, cost: Float64, price: float) -> float:
    """Compute the objective of the relaxed problem: scenes do not overlap, and fractions of a scene are allowed.

    `gain` / `cost` must be in descending order. Then adding scenes in this order is optimal until all `pixels` are
    covered, or until covering a pixel costs more than leaving it uncovered.
    """
    for place in range(len(gain)):
        if not pixels or price * gain[place] <= cost[place]:
            break
        part = min(pixels, gain[place]) / gain[place]
        spent += part * cost[place]
        pixels -= min(pixels, gain[place])
    return spent + price * pixels


@compile_kernel
def _compute_child_bounds(
    spent: float, pixels: int, gain: Int64, cost: Float64, price: float, rest: Float64, first: Float64
) -> None:
    """Compute lower bounds of all lists from the i-th scene on (`rest`), and of those that contain it (`first`)."""
    for i in range(len(gain)):
        rest[i] = _compute_lower_bound(spent, pixels, gain[i:], cost[i:], price)
        first[i] = _compute_lower_bound(spent + cost[i], pixels - gain[i], gain[i + 1 :], cost[i + 1 :], price)


@dataclass(slots=True)
class _BranchAndBound:
    """Depth-first search that branches first on the scene with the most new hard pixels per cost.

    A lower bound computed from the hardest pixels only is valid, because a list that leaves them uncovered leaves them
    uncovered among all pixels too. It is cheaper, and usually tighter, because fewer scenes cover these pixels.
    """

    cost: Float64
    price: float
    """Penalty for one uncovered pixel, in scenes."""
    words_left: float
    """Remaining work budget, in words."""
    best: tuple[int, ...] = ()
    """Incumbent: the best list so far."""
    objective: float = float("inf")

    def explore(self, node: _Node) -> float:
        """Search `node` for a better list; return a lower bound of the part that the time limit left unexplored."""
        self._update_incumbent(node.scenes, node.cost + self.price * node.pixels)
        if not node.room or not node.pixels:
            return np.inf
        cost = self.cost[node.free]
        words, pixels = node.find_hardest_pixels()
        self.words_left -= WORDS_PER_NODE_OVERHEAD + len(node.free) * words
        gain = node.count_gains(node.free, words)
        order = np.argsort(-gain / cost, kind="stable")
        if _compute_lower_bound(node.cost, pixels, gain[order], cost[order], self.price) >= self._upper_bound:
            return np.inf
        self._try_one_more_scene(node, node.free[node.cost + cost + self.price * (pixels - gain) < self._upper_bound])
        return self._branch(node, node.free[order], gain[order], pixels)

    def _try_one_more_scene(self, node: _Node, free: Int64) -> None:
        """Try every list with one more scene from `free`."""
        if not len(free):
            return
        self.words_left -= len(free) * len(node.missed)
        left = node.pixels - node.count_gains(free, len(node.missed))
        objectives = node.cost + self.cost[free] + self.price * left
        best = int(np.argmin(objectives))
        self._update_incumbent((*node.scenes, int(free[best])), float(objectives[best]))

    def _branch(self, node: _Node, free: Int64, gain: Int64, pixels: int) -> float:
        """Explore all lists with two or more scenes of `free`: the i-th child adds free[i] and excludes those before.

        `gain` counts new pixels among the `pixels` hardest ones.
        """
        unexplored, cost = np.inf, self.cost[free]
        rest, first = np.empty(len(free)), np.empty(len(free))
        _compute_child_bounds(node.cost, pixels, gain, cost, self.price, rest, first)
        bits, left = self._drop_covered_words(node)
        for i in range(len(free) - 1 if node.room > 1 else 0):
            if rest[i] >= self._upper_bound:
                break
            if self.words_left <= 0:
                return min(unexplored, float(rest[i]))
            if first[i] < self._upper_bound:
                missed, scenes = left & ~bits[free[i]], (*node.scenes, int(free[i]))
                count = int(np.bitwise_count(missed).sum())
                child = _Node(scenes, node.cost + float(cost[i]), bits, missed, count, free[i + 1 :], node.room - 1)
                unexplored = min(unexplored, self.explore(child))
        return unexplored

    def _drop_covered_words(self, node: _Node) -> tuple[BitRows, BitRows]:
        """Return the node's words, without the covered ones if these are the majority: no list below needs them."""
        some = np.flatnonzero(node.missed)
        if 2 * len(some) >= len(node.missed):
            return node.bits, node.missed
        self.words_left -= len(node.bits) * len(some)
        return node.bits[:, some], node.missed[some]

    @property
    def _upper_bound(self) -> float:
        """Objective from which on a list is not better than the incumbent."""
        return self.objective - OBJECTIVE_TOLERANCE

    def _update_incumbent(self, scenes: tuple[int, ...], objective: float) -> None:
        if objective < self._upper_bound:
            self.best, self.objective = scenes, objective


def _count_words(bits: int) -> int:
    return -(-bits // 64)

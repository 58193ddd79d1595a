"""The smallest cover, exactly: which scenes together see what is there to be seen, at the lowest cost.

Of all lists of at most `limit` scenes, the one with the least

    sum of the scenes' costs + penalty * (part of the tile that some scene sees, but none of the list)

That is an integer program, and `tests/test_selection.py` gives it to HiGHS to check the answers. It is solved
here by branch and bound on bit sets: HiGHS needs a row for each of up to 100,000 sets of pixels, and its
relaxation takes halves of many cloudy scenes for a cover. With 40 scenes, none under 20 % cloud, HiGHS needed
11 s, with 150 it had proven nothing after 20 s; a list is short, so the tree is shallow, and counting bits is
cheap: 0.07 s and 0.16 s for the proven optimum (docs/select.md).
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from s2ops.codes import Bool, Float64, Int64
from s2ops.compiled import compiled

Bits: TypeAlias = NDArray[np.uint64]

WORDS_PER_S: Final = 1.2e9
"""Words of 64 pixels that one core looks at in a second, at least (measured). The time limit is counted in words, so
that a busy machine finds the same list as an idle one."""
SAME: Final = 1e-9
"""Objectives (in scenes) nearer than this are equal: the list found first stands."""


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
    """Cost of the scenes plus penalty of what they leave uncovered, in scenes."""
    lower_bound: float
    """No list has a lower objective."""

    @property
    def proven(self) -> bool:
        """Whether no list is better; False: the time limit ended the search."""
        return self.objective - self.lower_bound <= SAME


def elements(clear: Bool) -> Elements:
    """Merge the pixels of `clear` (scene, y, x) by the set of scenes that see them; unseen ones drop out."""
    scenes = len(clear)
    flat = clear.reshape(scenes, -1)
    bits = np.packbits(flat, axis=0)
    words = np.zeros((_words(scenes) * 8, flat.shape[1]), np.uint8)
    words[: len(bits)] = bits
    keys = np.ascontiguousarray(words.T).view(np.uint64)  # (pixel, word): few wide keys sort fast
    order = np.lexsort(keys.T)
    keys = keys[order]
    first = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]).any(axis=1)])
    seen = np.ascontiguousarray(flat[:, order[first]].T)
    counts = np.diff(np.r_[first, len(keys)])
    some = seen.any(axis=1)
    return Elements(seen[some], counts[some] / flat.shape[1])


def minimum(clear: Bool, cost: Float64, penalty: float, limit: int, time_limit_s: float) -> Cover:
    """The list of least objective, at most `limit` scenes.

    `clear` (scene, y, x); `cost` (scene,), positive; `penalty` is the price of the whole tile uncovered. Equal
    input gives equal output.
    """
    flat = np.packbits(clear.reshape(len(clear), -1), axis=1)
    padded = np.zeros((len(clear), _words(clear[0].size) * 8), np.uint8)
    padded[:, : flat.shape[1]] = flat
    bits = padded.view(np.uint64)
    missed = np.bitwise_or.reduce(bits, axis=0)
    root = _Node((), 0.0, bits, missed, int(np.bitwise_count(missed).sum()), np.arange(len(clear)), limit)
    search = _Search(cost, penalty / clear[0].size, time_limit_s * WORDS_PER_S)
    bound = search.visit(root)
    taken = np.zeros(len(clear), bool)
    taken[list(search.best)] = True
    return Cover(taken, search.objective, min(bound, search.objective))


@dataclass(frozen=True, slots=True)
class _Node:
    """All lists that add to `scenes` up to `room` of `free`."""

    scenes: tuple[int, ...]
    cost: float
    bits: Bits
    """(scene, word): 64 pixels a word."""
    missed: Bits
    """(word,): pixels that `scenes` leave uncovered, `pixels` of them."""
    pixels: int
    free: Int64
    room: int

    def gains(self) -> Int64:
        """Pixels that each of `free` would add."""
        out = np.empty(len(self.free), np.int64)
        _count(self.bits, self.free, self.missed, out)
        return out


@compiled
def _count(bits: Bits, free: Int64, missed: Bits, out: Int64) -> None:
    """Ones of each of the `free` rows of `bits` within `missed`, without a copy of either.

    The arithmetic is the usual one for counting bits (pairs, fours, eights, then a product that adds the bytes); the
    compiler makes one instruction of it.
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


@dataclass(slots=True)
class _Search:
    """Depth first, the scene with the most new pixels per cost first."""

    cost: Float64
    price: float
    """Of one pixel left uncovered, in scenes."""
    words_left: float
    best: tuple[int, ...] = ()
    objective: float = float("inf")

    def visit(self, node: _Node) -> float:
        """Improve on the best list within `node`; gives a lower bound of what the time limit left unseen."""
        self._offer(node.scenes, node.cost + self.price * node.pixels)
        if not node.room:
            return np.inf
        self.words_left -= len(node.free) * len(node.missed)
        gain = node.gains()
        cost = self.cost[node.free]
        one_more = node.cost + cost + self.price * (node.pixels - gain)
        last = int(np.argmin(one_more))
        self._offer((*node.scenes, int(node.free[last])), float(one_more[last]))
        order = np.argsort(-gain / cost, kind="stable")
        # A scene that does not pay for itself here never will below: what it adds only shrinks.
        order = order[self.price * gain[order] > cost[order]]
        return self._branch(node, node.free[order], gain[order], cost[order])

    def _branch(self, node: _Node, free: Int64, gain: Int64, cost: Float64) -> float:
        """All lists of two or more of `free`: the i-th child takes free[i] and none before it."""
        unseen, bits, left = np.inf, node.bits, node.missed
        some = np.flatnonzero(left)
        if 2 * len(some) < len(left):  # most is covered: all lists below look at what is not
            bits, left = bits[:, some], left[some]
            self.words_left -= bits.size
        for i in range(len(free) - 1 if node.room > 1 else 0):
            rest = self._bound(node.cost, node.pixels, gain[i:], cost[i:])
            if rest >= self.objective - SAME:
                break
            if self.words_left <= 0:
                return min(unseen, rest)
            spent, pixels = node.cost + float(cost[i]), node.pixels - int(gain[i])
            if self._bound(spent, pixels, gain[i + 1 :], cost[i + 1 :]) < self.objective - SAME:
                missed, scenes = left & ~bits[free[i]], (*node.scenes, int(free[i]))
                child = _Node(scenes, spent, bits, missed, pixels, free[i + 1 :], node.room - 1)
                unseen = min(unseen, self.visit(child))
        return unseen

    def _bound(self, spent: float, pixels: int, gain: Int64, cost: Float64) -> float:
        """Objective if what scenes see did not overlap and parts of a scene could be had.

        `gain` / `cost` must fall: then taking in that order until all is covered is the best.
        """
        covered = np.cumsum(gain)
        last = int(np.searchsorted(covered, pixels))
        if last == len(gain):
            return spent + float(cost.sum()) + self.price * (pixels - int(covered[-1]))
        before = int(covered[last - 1]) if last else 0
        return spent + float(cost[:last].sum()) + float(cost[last]) * (pixels - before) / int(gain[last])

    def _offer(self, scenes: tuple[int, ...], objective: float) -> None:
        if objective < self.objective - SAME:
            self.best, self.objective = scenes, objective


def _words(bits: int) -> int:
    return -(-bits // 64)

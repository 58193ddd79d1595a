"""The smallest cover, exactly: which scenes together see what is there to be seen, at the lowest cost.

Of all lists of at most `limit` scenes, the one with the least

    sum of the scenes' costs + penalty * (part of the tile that some scene sees, but none of the list)

That is an integer program, and `tests/selection/test_scene_selection.py` gives it to HiGHS to check the answers. It is
solved here by branch and bound on bit sets: HiGHS needs a row for each of up to 100,000 sets of pixels, and its
relaxation takes halves of many cloudy scenes for a cover, so that it proves little in the time that there is; a
list is short, so the tree is shallow, and counting bits is cheap (docs/explanation/select.md has a table).
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from s2ops.constants import Bool, Float64, Int64
from s2ops.runtime.jit import compiled

Bits: TypeAlias = NDArray[np.uint64]

WORDS_PER_S: Final = 0.8e9
"""Words of 64 pixels that one core looks at in a second, at least (measured). The time limit is counted in words, so
that a busy machine finds the same list as an idle one."""
WORDS_PER_NODE: Final = 1e5
"""What a list costs beside its words, as words: sorting its candidates, and Python."""
HARD_PART: Final = 1 / 8
"""Part of the pixels left, those that the fewest scenes see, that bounds are made from."""
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
    bits = _hardest_first(clear)
    missed = np.bitwise_or.reduce(bits, axis=0)
    root = _Node((), 0.0, bits, missed, int(np.bitwise_count(missed).sum()), np.arange(len(clear)), limit)
    search = _Search(cost, penalty / clear[0].size, time_limit_s * WORDS_PER_S)
    bound = search.visit(root)
    taken = np.zeros(len(clear), bool)
    taken[list(search.best)] = True
    return Cover(taken, search.objective, min(bound, search.objective))


def _hardest_first(clear: Bool) -> Bits:
    """(scene, word): 64 pixels a word, those that the fewest scenes see first, those that none sees left out."""
    flat = clear.reshape(len(clear), -1)
    times = np.count_nonzero(flat, axis=0)
    order = np.argsort(times, kind="stable")[np.count_nonzero(times == 0) :]
    packed = np.packbits(flat[:, order], axis=1)
    padded = np.zeros((len(clear), _words(len(order)) * 8), np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view(np.uint64)


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

    def gains(self, free: Int64, words: int) -> Int64:
        """Pixels that each of `free` would add among the first `words`."""
        out = np.empty(len(free), np.int64)
        _count(self.bits, free, self.missed[:words], out)
        return out

    def hard(self) -> tuple[int, int]:
        """How many words hold the hardest part of the pixels left, and how many pixels that is."""
        upto = np.cumsum(np.bitwise_count(self.missed), dtype=np.int64)
        last = int(np.searchsorted(upto, HARD_PART * self.pixels))
        return last + 1, int(upto[last])


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


@compiled
def _bound(spent: float, pixels: int, gain: Int64, cost: Float64, price: float) -> float:
    """Objective if what scenes see did not overlap and parts of a scene could be had.

    `gain` / `cost` must fall: then taking in that order is the best, until all of `pixels` are covered or a pixel costs
    more than it does uncovered.
    """
    for place in range(len(gain)):
        if not pixels or price * gain[place] <= cost[place]:
            break
        part = min(pixels, gain[place]) / gain[place]
        spent += part * cost[place]
        pixels -= min(pixels, gain[place])
    return spent + price * pixels


@compiled
def _bounds(spent: float, pixels: int, gain: Int64, cost: Float64, price: float, rest: Float64, first: Float64) -> None:
    """Bounds of all lists of the i-th scene and later ones (`rest`), and of those of them with the i-th (`first`)."""
    for i in range(len(gain)):
        rest[i] = _bound(spent, pixels, gain[i:], cost[i:], price)
        first[i] = _bound(spent + cost[i], pixels - gain[i], gain[i + 1 :], cost[i + 1 :], price)


@dataclass(slots=True)
class _Search:
    """Depth first, the scene with the most new hard pixels per cost first.

    What a list leaves of the hard pixels it leaves of all: a bound from them alone holds, looks at few words, and is
    the tighter one, since scenes see less of them.
    """

    cost: Float64
    price: float
    """Of one pixel left uncovered, in scenes."""
    words_left: float
    best: tuple[int, ...] = ()
    objective: float = float("inf")

    def visit(self, node: _Node) -> float:
        """Improve on the best list within `node`; gives a lower bound of what the time limit left unseen."""
        self._offer(node.scenes, node.cost + self.price * node.pixels)
        if not node.room or not node.pixels:
            return np.inf
        cost = self.cost[node.free]
        words, pixels = node.hard()
        self.words_left -= WORDS_PER_NODE + len(node.free) * words
        gain = node.gains(node.free, words)
        order = np.argsort(-gain / cost, kind="stable")
        if _bound(node.cost, pixels, gain[order], cost[order], self.price) >= self._ceiling:
            return np.inf
        self._offer_one_more(node, node.free[node.cost + cost + self.price * (pixels - gain) < self._ceiling])
        return self._branch(node, node.free[order], gain[order], pixels)

    def _offer_one_more(self, node: _Node, free: Int64) -> None:
        """The best list of one more scene, of `free`."""
        if not len(free):
            return
        self.words_left -= len(free) * len(node.missed)
        left = node.pixels - node.gains(free, len(node.missed))
        objectives = node.cost + self.cost[free] + self.price * left
        best = int(np.argmin(objectives))
        self._offer((*node.scenes, int(free[best])), float(objectives[best]))

    def _branch(self, node: _Node, free: Int64, gain: Int64, pixels: int) -> float:
        """All lists of two or more of `free`: the i-th child takes free[i] and none before it.

        `gain` are new ones of the `pixels` that are hard.
        """
        unseen, cost = np.inf, self.cost[free]
        rest, first = np.empty(len(free)), np.empty(len(free))
        _bounds(node.cost, pixels, gain, cost, self.price, rest, first)
        bits, left = self._packed(node)
        for i in range(len(free) - 1 if node.room > 1 else 0):
            if rest[i] >= self._ceiling:
                break
            if self.words_left <= 0:
                return min(unseen, float(rest[i]))
            if first[i] < self._ceiling:
                missed, scenes = left & ~bits[free[i]], (*node.scenes, int(free[i]))
                count = int(np.bitwise_count(missed).sum())
                child = _Node(scenes, node.cost + float(cost[i]), bits, missed, count, free[i + 1 :], node.room - 1)
                unseen = min(unseen, self.visit(child))
        return unseen

    def _packed(self, node: _Node) -> tuple[Bits, Bits]:
        """The node's words; where most is covered, without those that are: all lists below look at what is not."""
        some = np.flatnonzero(node.missed)
        if 2 * len(some) >= len(node.missed):
            return node.bits, node.missed
        self.words_left -= len(node.bits) * len(some)
        return node.bits[:, some], node.missed[some]

    @property
    def _ceiling(self) -> float:
        """Lists of this objective or a higher one are not better than the best one."""
        return self.objective - SAME

    def _offer(self, scenes: tuple[int, ...], objective: float) -> None:
        if objective < self._ceiling:
            self.best, self.objective = scenes, objective


def _words(bits: int) -> int:
    return -(-bits // 64)

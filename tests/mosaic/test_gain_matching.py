"""Facts about measuring and solving the gains of scenes."""

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2ops.constants import Float64, UInt8
from s2ops.errors import RasterError
from s2ops.imaging.tone_curve import FULL, TOE, levels_of, reflectance_of
from s2ops.mosaic.composite.gain_matching import (
    GAIN_LIMITS,
    Gains,
    Pair,
    PairCounts,
    Ratio,
    corrected,
    gain_shift,
    pair_ratio,
    solve_gains,
)

LEVELS = np.arange(256, dtype=np.uint8)
CLEAR = np.ones((120, 90), np.bool_)
TILES = [f"33T{a}{b}" for a in "VWX" for b in "LMNP"]


def land(seed: int, shape: tuple[int, int] = (120, 90)) -> UInt8:
    """Levels as land shows them: dark to middling, correlated between bands."""
    rng = np.random.default_rng(seed)
    base = rng.gamma(4, 0.02, shape)
    bands = np.stack([base, base * 1.1, base * 0.8, base + 0.2]) + rng.normal(0, 0.002, (4, *shape))
    return np.rint(levels_of(bands)).astype(np.uint8)


def brighter(levels: UInt8, gains: tuple[float, ...]) -> UInt8:
    return np.rint(corrected(levels, gain_shift(gains)[:, None, None])).astype(np.uint8)


def chain(logs: dict[str, Float64], noise: float = 0.0, seed: int = 0) -> list[Pair]:
    """Pairs of all consecutive nodes and some across, from the nodes' true log brightness."""
    rng = np.random.default_rng(seed)
    names = list(logs)
    ends = [(a, b) for step in (1, 4) for a, b in zip(names, names[step:], strict=False)]
    return [
        Pair(a, b, Ratio(tuple(logs[b] - logs[a] + rng.normal(0, noise, 4) * (noise > 0)), (1.0,) * 4, 1000))
        for a, b in ends
    ]


def solve(nodes: list[str], pairs: list[Pair]) -> dict[str, Gains]:
    return solve_gains(dict.fromkeys(nodes, 1.0), pairs)


def test_gain_one_changes_no_level() -> None:
    table = corrected(LEVELS, gain_shift((1.0,)))
    assert table.dtype == np.float32
    np.testing.assert_array_equal(table, np.arange(256))


@given(st.floats(0.6, 1.6))
def test_a_gain_keeps_no_data_and_never_makes_any(gain: float) -> None:
    table = corrected(LEVELS, gain_shift((gain,)))
    assert table[0] == 0
    assert table[1:].min() >= 1
    assert table.max() <= 255
    assert (np.diff(table) >= 0).all()


def test_a_gain_multiplies_reflectance_plus_the_toe() -> None:
    before = reflectance_of(np.array([50.0, 120.0]))
    after = reflectance_of(corrected(LEVELS, gain_shift((1.2,)))[[50, 120]])
    np.testing.assert_allclose(after + TOE, 1.2 * (before + TOE), rtol=1e-4)


@given(st.tuples(*[st.floats(0.8, 1.25)] * 4), st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_the_ratio_of_a_scene_to_a_brighter_copy_is_its_gain(gains: tuple[float, ...], seed: int) -> None:
    levels = land(seed)
    ratio = pair_ratio(levels, brighter(levels, gains), CLEAR)
    assert ratio is not None
    np.testing.assert_allclose(ratio.logs, np.log(gains), atol=0.51 / FULL)  # the copy was rounded to whole levels


def test_change_on_a_third_of_the_ground_does_not_move_the_ratio() -> None:
    before, after = land(1), brighter(land(1), (1.1, 0.95, 1.0, 1.05))
    after[:, :40] = land(2)[:, :40] // 2 + 100  # harvested fields
    ratio = pair_ratio(before, after, CLEAR)
    assert ratio is not None
    np.testing.assert_allclose(np.exp(ratio.logs), (1.1, 0.95, 1.0, 1.05), atol=0.01)


def test_the_ratio_turned_round_is_the_inverse() -> None:
    there, back = pair_ratio(land(1), land(2), CLEAR), pair_ratio(land(2), land(1), CLEAR)
    assert there is not None
    assert back is not None
    np.testing.assert_allclose(there.logs, [-log for log in back.logs], atol=1e-3)
    np.testing.assert_allclose(there.weights, back.weights, rtol=0.01)


def test_counting_in_slabs_in_any_order_gives_the_same_ratio() -> None:
    a, b = land(1), brighter(land(1), (1.07, 1.0, 0.9, 1.2))
    slabs = PairCounts()
    for top in (64, 0, 32, 96):
        rows = slice(top, top + 32)
        slabs.feed(a[:, rows], b[:, rows], CLEAR[rows])
    assert slabs.ratio() == pair_ratio(a, b, CLEAR)


def test_too_few_common_pixels_give_no_ratio() -> None:
    few = np.zeros_like(CLEAR)
    few[0, :50] = True
    assert pair_ratio(land(1), land(1), few) is None
    saturated = np.full((4, 120, 90), 255, np.uint8)
    assert pair_ratio(land(1), saturated, CLEAR) is None


def test_rasters_of_unequal_shape_are_no_pair() -> None:
    with pytest.raises(RasterError, match="are no pair; cut alike"):
        pair_ratio(land(1), land(1, (90, 120)), CLEAR)


def test_a_gain_on_reflectance_alone_is_removed_to_a_level() -> None:
    levels = land(4)
    other = np.rint(levels_of(reflectance_of(levels) * np.float32(1.05))).astype(np.uint8)
    ratio = pair_ratio(levels, other, CLEAR)
    assert ratio is not None
    matched = brighter(levels, tuple(math.exp(log) for log in ratio.logs)).astype(int)
    assert np.abs(matched - other).mean() < 1


@given(st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=20)
def test_neither_the_order_of_nodes_nor_of_pairs_changes_a_gain(random: Random) -> None:
    logs = {name: np.random.default_rng(n).normal(0, 0.05, 4) for n, name in enumerate(TILES)}
    pairs = chain(logs, noise=0.01)
    expected = solve(TILES, pairs)
    shuffled = [_turned(pair) if random.random() < 0.5 else pair for pair in pairs]
    random.shuffle(shuffled)
    assert solve(random.sample(TILES, len(TILES)), shuffled) == expected


def _turned(pair: Pair) -> Pair:
    ratio = pair.ratio
    return Pair(pair.b, pair.a, Ratio(tuple(-log for log in ratio.logs), ratio.weights, ratio.pixels))


def test_true_gains_come_back_from_consistent_pairs() -> None:
    logs = {name: np.random.default_rng(n).normal(0, 0.05, 4) for n, name in enumerate(TILES)}
    mean = np.mean(list(logs.values()), axis=0)
    for name, gains in solve(TILES, chain(logs)).items():
        np.testing.assert_allclose(gains, np.exp(mean - logs[name]), atol=0.002)


def test_the_mean_log_gain_of_each_connected_group_is_zero() -> None:
    ratio = Ratio((0.1, 0.0, -0.1, 0.02), (1.0,) * 4, 500)
    gains = solve_gains(dict.fromkeys("abcde", 1.0), [Pair("a", "b", ratio), Pair("c", "d", ratio)])
    for group in ("ab", "cd"):
        np.testing.assert_allclose(np.log([gains[name] for name in group]).mean(axis=0), 0, atol=1e-4)
    assert gains["e"] == (1, 1, 1, 1)


def test_the_node_that_weighs_more_moves_less() -> None:
    pair = Pair("hazy", "plain", Ratio((-0.2,) * 4, (1.0,) * 4, 500))
    gains = solve_gains({"hazy": 1.0, "plain": 9.0}, [pair])
    np.testing.assert_allclose(np.log(gains["hazy"]), -9 * np.log(gains["plain"]), atol=0.01)
    assert gains["hazy"][0] == pytest.approx(math.exp(-0.18), abs=0.001)


def test_one_wrong_pair_is_outvoted() -> None:
    pairs = chain({name: np.zeros(4) for name in TILES})
    wrong = pairs[5]
    pairs[5] = Pair(wrong.a, wrong.b, Ratio((0.3,) * 4, (1.0,) * 4, 1000))
    for gains in solve(TILES, pairs).values():
        assert gains == pytest.approx((1, 1, 1, 1), abs=0.01)


def test_gains_are_clipped_to_the_stated_range() -> None:
    gains = solve(["a", "b"], [Pair("a", "b", Ratio((2.0,) * 4, (1.0,) * 4, 500))])
    assert gains == {"a": (GAIN_LIMITS[1],) * 4, "b": (GAIN_LIMITS[0],) * 4}


def test_without_pairs_every_gain_is_one() -> None:
    assert solve(["a", "b"], []) == {"a": (1.0,) * 4, "b": (1.0,) * 4}


def test_a_pair_with_an_unknown_node_is_named() -> None:
    with pytest.raises(RasterError, match="the pair a, x does not join two of the 1 nodes"):
        solve(["a"], [Pair("a", "x", Ratio((0.0,) * 4, (1.0,) * 4, 500))])

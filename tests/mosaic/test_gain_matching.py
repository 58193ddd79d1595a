"""Gain matching: measured brightness ratios of scenes, and the gains that are solved from them."""

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2ops.constants import Float32, Float64, UInt8
from s2ops.errors import RasterError
from s2ops.imaging.tone_curve import LEVELS_PER_LOG, TOE, apply_tone_curve, invert_tone_curve, shift_level
from s2ops.mosaic.composite.gain_matching import (
    GAIN_LIMITS,
    BrightnessRatio,
    Gains,
    JointHistogram,
    ScenePair,
    convert_gain_to_level_offset,
    measure_brightness_ratio,
    solve_gains,
)

CLEAR = np.ones((120, 90), np.bool_)
TILES = [f"33T{a}{b}" for a in "VWX" for b in "LMNP"]


def make_land(seed: int, shape: tuple[int, int] = (120, 90)) -> UInt8:
    """Make levels of land: dark to medium, correlated between bands."""
    rng = np.random.default_rng(seed)
    base = rng.gamma(4, 0.02, shape)
    bands = np.stack([base, base * 1.1, base * 0.8, base + 0.2]) + rng.normal(0, 0.002, (4, *shape))
    return np.rint(apply_tone_curve(bands)).astype(np.uint8)


def apply_gains(levels: UInt8, gains: tuple[float, ...]) -> UInt8:
    """Apply one gain per band to (4, y, x) levels with data everywhere."""
    offsets = convert_gain_to_level_offset(gains)[:, None, None]
    return np.clip(np.rint(levels + offsets), 1, 255).astype(np.uint8)


def shift_all_levels(gain: float) -> Float32:
    """Apply a gain to each level with data, 1 to 255."""
    (offset,) = convert_gain_to_level_offset((gain,))
    return np.array([shift_level(level, offset) for level in range(1, 256)], np.float32)


def make_pairs(logs: dict[str, Float64], noise: float = 0.0, seed: int = 0) -> list[ScenePair]:
    """Make pairs of all consecutive scenes and some across, from the scenes' true log brightness."""
    rng = np.random.default_rng(seed)
    names = list(logs)
    ends = [(a, b) for step in (1, 4) for a, b in zip(names, names[step:], strict=False)]
    return [
        ScenePair(
            a, b, BrightnessRatio(tuple(logs[b] - logs[a] + rng.normal(0, noise, 4) * (noise > 0)), (1.0,) * 4, 1000)
        )
        for a, b in ends
    ]


def solve_equally(nodes: list[str], pairs: list[ScenePair]) -> dict[str, Gains]:
    return solve_gains(dict.fromkeys(nodes, 1.0), pairs)


def test_gain_one_changes_no_level() -> None:
    np.testing.assert_array_equal(shift_all_levels(1.0), np.arange(1, 256))


@given(st.floats(0.6, 1.6))
def test_gain_never_makes_no_data(gain: float) -> None:
    table = shift_all_levels(gain)
    assert table.min() >= 1
    assert table.max() <= 255
    assert (np.diff(table) >= 0).all()


def test_gain_multiplies_reflectance_plus_the_toe() -> None:
    before = invert_tone_curve(np.array([50.0, 120.0]))
    after = invert_tone_curve(shift_all_levels(1.2)[[49, 119]])
    np.testing.assert_allclose(after + TOE, 1.2 * (before + TOE), rtol=1e-4)


@given(st.tuples(*[st.floats(0.8, 1.25)] * 4), st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_brightness_ratio_of_a_scene_to_a_brighter_copy_is_its_gain(gains: tuple[float, ...], seed: int) -> None:
    levels = make_land(seed)
    ratio = measure_brightness_ratio(levels, apply_gains(levels, gains), CLEAR)
    assert ratio is not None
    np.testing.assert_allclose(
        ratio.logs, np.log(gains), atol=0.51 / LEVELS_PER_LOG
    )  # the copy was rounded to whole levels


def test_brightness_ratio_ignores_change_on_a_third_of_the_ground() -> None:
    before, after = make_land(1), apply_gains(make_land(1), (1.1, 0.95, 1.0, 1.05))
    after[:, :40] = make_land(2)[:, :40] // 2 + 100  # harvested fields
    ratio = measure_brightness_ratio(before, after, CLEAR)
    assert ratio is not None
    np.testing.assert_allclose(np.exp(ratio.logs), (1.1, 0.95, 1.0, 1.05), atol=0.01)


def test_brightness_ratio_of_exchanged_scenes_is_the_inverse() -> None:
    there, back = (
        measure_brightness_ratio(make_land(1), make_land(2), CLEAR),
        measure_brightness_ratio(make_land(2), make_land(1), CLEAR),
    )
    assert there is not None
    assert back is not None
    np.testing.assert_allclose(there.logs, [-log for log in back.logs], atol=1e-3)
    np.testing.assert_allclose(there.weights, back.weights, rtol=0.01)


def test_joint_histogram_of_slabs_in_any_order_gives_the_same_ratio() -> None:
    a, b = make_land(1), apply_gains(make_land(1), (1.07, 1.0, 0.9, 1.2))
    slabs = JointHistogram()
    for top in (64, 0, 32, 96):
        rows = slice(top, top + 32)
        slabs.feed(a[:, rows], b[:, rows], CLEAR[rows])
    assert slabs.measure_ratio() == measure_brightness_ratio(a, b, CLEAR)


def test_brightness_ratio_of_too_few_common_pixels_is_none() -> None:
    few = np.zeros_like(CLEAR)
    few[0, :50] = True
    assert measure_brightness_ratio(make_land(1), make_land(1), few) is None
    saturated = np.full((4, 120, 90), 255, np.uint8)
    assert measure_brightness_ratio(make_land(1), saturated, CLEAR) is None


def test_joint_histogram_refuses_rasters_of_unequal_shape() -> None:
    with pytest.raises(RasterError, match="do not match; cut them to the same window"):
        measure_brightness_ratio(make_land(1), make_land(1, (90, 120)), CLEAR)


def test_brightness_ratio_removes_a_gain_on_reflectance_to_within_a_level() -> None:
    levels = make_land(4)
    other = np.rint(apply_tone_curve(invert_tone_curve(levels) * np.float32(1.05))).astype(np.uint8)
    ratio = measure_brightness_ratio(levels, other, CLEAR)
    assert ratio is not None
    matched = apply_gains(levels, tuple(math.exp(log) for log in ratio.logs)).astype(int)
    assert np.abs(matched - other).mean() < 1


@given(st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=20)
def test_solve_gains_does_not_depend_on_the_order_of_scenes_or_pairs(random: Random) -> None:
    logs = {name: np.random.default_rng(n).normal(0, 0.05, 4) for n, name in enumerate(TILES)}
    pairs = make_pairs(logs, noise=0.01)
    expected = solve_equally(TILES, pairs)
    shuffled = [_exchange_scenes(pair) if random.random() < 0.5 else pair for pair in pairs]
    random.shuffle(shuffled)
    assert solve_equally(random.sample(TILES, len(TILES)), shuffled) == expected


def _exchange_scenes(pair: ScenePair) -> ScenePair:
    ratio = pair.ratio
    return ScenePair(pair.b, pair.a, BrightnessRatio(tuple(-log for log in ratio.logs), ratio.weights, ratio.pixels))


def test_solve_gains_recovers_true_gains_from_consistent_pairs() -> None:
    logs = {name: np.random.default_rng(n).normal(0, 0.05, 4) for n, name in enumerate(TILES)}
    mean = np.mean(list(logs.values()), axis=0)
    for name, gains in solve_equally(TILES, make_pairs(logs)).items():
        np.testing.assert_allclose(gains, np.exp(mean - logs[name]), atol=0.002)


def test_solve_gains_gives_each_connected_group_a_mean_log_gain_of_zero() -> None:
    ratio = BrightnessRatio((0.1, 0.0, -0.1, 0.02), (1.0,) * 4, 500)
    gains = solve_gains(dict.fromkeys("abcde", 1.0), [ScenePair("a", "b", ratio), ScenePair("c", "d", ratio)])
    for group in ("ab", "cd"):
        np.testing.assert_allclose(np.log([gains[name] for name in group]).mean(axis=0), 0, atol=1e-4)
    assert gains["e"] == (1, 1, 1, 1)


def test_solve_gains_changes_a_scene_of_larger_weight_less() -> None:
    pair = ScenePair("hazy", "plain", BrightnessRatio((-0.2,) * 4, (1.0,) * 4, 500))
    gains = solve_gains({"hazy": 1.0, "plain": 9.0}, [pair])
    np.testing.assert_allclose(np.log(gains["hazy"]), -9 * np.log(gains["plain"]), atol=0.01)
    assert gains["hazy"][0] == pytest.approx(math.exp(-0.18), abs=0.001)


def test_solve_gains_ignores_one_wrong_pair() -> None:
    pairs = make_pairs({name: np.zeros(4) for name in TILES})
    wrong = pairs[5]
    pairs[5] = ScenePair(wrong.a, wrong.b, BrightnessRatio((0.3,) * 4, (1.0,) * 4, 1000))
    for gains in solve_equally(TILES, pairs).values():
        assert gains == pytest.approx((1, 1, 1, 1), abs=0.01)


def test_solve_gains_clips_gains_to_their_limits() -> None:
    gains = solve_equally(["a", "b"], [ScenePair("a", "b", BrightnessRatio((2.0,) * 4, (1.0,) * 4, 500))])
    assert gains == {"a": (GAIN_LIMITS[1],) * 4, "b": (GAIN_LIMITS[0],) * 4}


def test_solve_gains_without_pairs_gives_gain_one() -> None:
    assert solve_equally(["a", "b"], []) == {"a": (1.0,) * 4, "b": (1.0,) * 4}


def test_solve_gains_names_a_pair_with_an_unknown_scene() -> None:
    with pytest.raises(RasterError, match="the pair a, x does not join two of the 1 scenes"):
        solve_equally(["a"], [ScenePair("a", "x", BrightnessRatio((0.0,) * 4, (1.0,) * 4, 500))])

"""Land cover: three networks to six classes, and dates to one map with a confidence."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from s2ops.constants import Float32, LandCover, UInt8
from s2ops.errors import InputError
from s2ops.landcover.date_fusion import (
    VEIL_WEIGHT,
    Fusion,
    FusionRule,
    class_areas,
    combine,
    date_weight,
    ramp_px,
    seen_through,
)

SHAPE = (5, 7)
ONE = np.ones(SHAPE, np.float32)
LEVELS = arrays(np.uint8, (8, *SHAPE))


def softmax_levels(seed: int, classes: int, shape: tuple[int, int] = SHAPE) -> UInt8:
    """Probabilities (class, y, x) as a network gives them: they sum to about 255."""
    raw = np.random.default_rng(seed).exponential(size=(classes, *shape)) ** 2
    return np.rint(255 * raw / raw.sum(axis=0)).astype(np.uint8)


def sure(code: LandCover, level: int = 255, shape: tuple[int, int] = SHAPE) -> tuple[UInt8, UInt8, UInt8]:
    """The three networks' probabilities for one class everywhere."""
    networks = [np.zeros((classes, *shape), np.uint8) for classes in (2, 3, 3)]
    network, channel = {1: (0, 1), 2: (1, 1), 3: (1, 2), 4: (2, 1), 5: (2, 2), 6: (0, 0)}[int(code)]
    for probs in networks:
        probs[0] = 255
    networks[network][0] = 255 - level
    networks[network][channel] = level
    return networks[0], networks[1], networks[2]


def dates(count: int, seed: int = 0) -> list[tuple[UInt8, UInt8, UInt8]]:
    return [
        (softmax_levels(seed + 3 * i, 2), softmax_levels(seed + 3 * i + 1, 3), softmax_levels(seed + 3 * i + 2, 3))
        for i in range(count)
    ]


def fused(looks: list[tuple[UInt8, UInt8, UInt8]], weight: Float32 = ONE, rule: FusionRule | None = None) -> Fusion:
    fusion = Fusion(weight.shape, rule or FusionRule())
    for probs in looks:
        fusion.feed(*probs, weight)
    return fusion


@given(levels=LEVELS)
def test_six_probabilities_sum_to_one_whatever_the_networks_say(levels: UInt8) -> None:
    six = combine(levels[:2], levels[2:5], levels[5:])
    assert six.dtype == np.float32
    assert (six > 0).all()
    np.testing.assert_allclose(six.sum(axis=0), 1, rtol=1e-5)


@pytest.mark.parametrize("code", [code for code in LandCover if code])
def test_a_sure_network_decides_its_class(code: LandCover) -> None:
    six = combine(*sure(code))
    assert (six.argmax(axis=0) == code - 1).all()
    assert six[code - 1].min() > 0.98


def test_combining_is_exactly_one_true_normalised() -> None:
    water, vegetation, building = dates(1)[0]
    w = (water + 0.5) / (water + 0.5).sum(axis=0)
    v = (vegetation + 0.5) / (vegetation + 0.5).sum(axis=0)
    b = (building + 0.5) / (building + 0.5).sum(axis=0)
    joint = np.stack(
        [
            w[1] * v[0] * b[0],
            w[0] * v[1] * b[0],
            w[0] * v[2] * b[0],
            w[0] * v[0] * b[1],
            w[0] * v[0] * b[2],
            w[0] * v[0] * b[0] / 2,
        ]
    )
    np.testing.assert_allclose(combine(water, vegetation, building), joint / joint.sum(axis=0), rtol=1e-4)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 9))
def test_identical_dates_keep_the_class_and_never_lower_the_confidence(seed: int, count: int) -> None:
    look = dates(1, seed)
    one, many = fused(look).decide(), fused(look * count).decide()
    single = combine(*look[0])
    top = np.sort(single, axis=0)
    clear_cut = top[-1] - top[-2] > 1e-4
    np.testing.assert_array_equal(one[0][clear_cut], (single.argmax(axis=0) + 1)[clear_cut])
    np.testing.assert_array_equal(many[0][clear_cut], one[0][clear_cut])
    assert (many[1] >= one[1]).all()


def test_agreeing_dates_raise_the_confidence_step_by_step_but_never_to_certainty_at_once() -> None:
    looks = [sure(LandCover.TREE, level=150)] * 8
    steps = [fused(looks[:n]).decide()[1][0, 0] for n in range(1, 9)]
    assert all(before <= after for before, after in pairwise(steps))
    assert steps[0] < steps[-1] < 90


def test_one_sure_date_does_not_veto_three_that_agree() -> None:
    looks = [sure(LandCover.GRASS, 240)] * 3 + [sure(LandCover.WATER, 255)]
    assert (fused(looks).decide()[0] == LandCover.GRASS).all()


def test_one_date_seen_clearly_gives_the_networks_own_probability() -> None:
    look = dates(1, 4)
    _, confidence = fused(look).decide()
    own = 0.98 * combine(*look[0]).max(axis=0) + 0.02 / 6
    np.testing.assert_allclose(confidence, 100 * own, atol=0.51)
    assert confidence.dtype == np.uint8


def test_a_doubtful_look_counts_less_beside_others_and_in_full_alone() -> None:
    look, other = sure(LandCover.INDUSTRIAL, 250), sure(LandCover.GRASS, 240)
    faint = ONE * np.float32(0.25)
    alone, full = fused([look], faint).decide(), fused([look]).decide()
    np.testing.assert_array_equal(alone, full)
    fusion = fused([look], faint)
    fusion.feed(*other, ONE)
    assert (fusion.decide()[0] == LandCover.GRASS).all()


def test_a_rare_class_needs_more_evidence() -> None:
    look = [sure(LandCover.INDUSTRIAL, 250)]
    rare = FusionRule(prior=(0.3, 0.3, 0.3, 0.04, 0.01, 0.05))
    assert (fused(look, rule=rare).decide()[1] <= fused(look).decide()[1]).all()
    assert (fused([sure(LandCover.INDUSTRIAL, 90)], ONE * np.float32(VEIL_WEIGHT), rare).decide()[0] != 5).all()


def test_independent_dates_count_more_than_correlated_ones() -> None:
    looks = [sure(LandCover.WATER, 140)] * 4
    order = [fused(looks, rule=FusionRule(correlation=r)).decide()[1].min() for r in (0.0, 0.5, 1.0)]
    assert order[0] > order[1] > order[2]
    assert order[2] == fused(looks[:1]).decide()[1].min()


def test_what_one_date_of_two_shows_is_there_though_the_other_finds_nothing() -> None:
    bare, shown = sure(LandCover.BARREN), sure(LandCover.RESIDENTIAL, 245)
    assert (fused([bare, shown]).decide()[0] == LandCover.RESIDENTIAL).all()
    assert (fused([bare, shown], rule=FusionRule(absence=0)).decide()[0] == LandCover.BARREN).all()
    assert (fused([bare, sure(LandCover.RESIDENTIAL, 120), bare]).decide()[0] == LandCover.BARREN).all()


def test_where_no_date_is_clear_looks_through_veils_decide_with_little_confidence() -> None:
    veil = ONE * np.float32(VEIL_WEIGHT)
    classes, confidence = fused([sure(LandCover.WATER)] * 3, veil).decide()
    assert (classes == LandCover.WATER).all()
    assert 40 < confidence[0, 0] < 80
    assert (confidence == fused([sure(LandCover.WATER)], veil).decide()[1]).all()


def test_one_clear_look_outweighs_a_dozen_through_veils() -> None:
    fusion = fused([sure(LandCover.WATER)] * 12, ONE * np.float32(VEIL_WEIGHT))
    fusion.feed(*sure(LandCover.TREE, 230), ONE)
    assert (fusion.decide()[0] == LandCover.TREE).all()


def test_shadow_and_thin_cloud_let_the_ground_be_seen_and_opaque_cloud_does_not() -> None:
    mask = np.array([[0, 1, 1, 2, 255]], np.uint8)
    levels = np.full((4, 1, 5), 200, np.uint8)
    levels[2] = [[90, 130, 140, 200, 0]]  # blue reflectance 0.20 is level 128
    assert seen_through(mask, levels).tolist() == [[False, False, False, True, False]]
    levels[2, 0, 1] = 120
    assert seen_through(mask, levels).tolist() == [[False, True, False, True, False]]


def test_pixels_that_no_date_sees_are_no_data() -> None:
    weight = ONE.copy()
    weight[2, 3:] = 0
    classes, confidence = fused(dates(3), weight).decide()
    assert classes.dtype == np.uint8
    assert (classes[2, 3:] == 0).all()
    assert (confidence[2, 3:] == 255).all()
    assert (np.delete(classes, 2, axis=0) > 0).all()
    assert (np.delete(confidence, 2, axis=0) <= 100).all()


def test_the_order_of_the_dates_changes_rounding_only() -> None:
    looks = dates(6, 50)
    there, back = fused(looks), fused(looks[::-1])
    np.testing.assert_allclose(there.evidence, back.evidence, rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=15)
@given(rows=st.integers(1, 90), seed=st.integers(0, 99))
def test_cutting_a_tile_into_slabs_changes_no_pixel(rows: int, seed: int) -> None:
    shape = (90, 6)
    look = (softmax_levels(seed, 2, shape), softmax_levels(seed + 1, 3, shape), softmax_levels(seed + 2, 3, shape))
    weight = np.random.default_rng(seed).random(shape).astype(np.float32)
    whole = fused([look], weight).decide()
    parts = [
        fused([(look[0][:, s], look[1][:, s], look[2][:, s])], weight[s]).decide()
        for s in (slice(top, min(top + rows, 90)) for top in range(0, 90, rows))
    ]
    for i in (0, 1):
        np.testing.assert_array_equal(np.concatenate([part[i] for part in parts]), whole[i])


def test_a_date_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"a date of \(5, 7\) pixels .* fusion of \(4, 7\): cut all"):
        Fusion((4, 7)).feed(*dates(1)[0], ONE)


def test_weight_falls_towards_clouds_and_is_zero_under_them() -> None:
    mask = np.zeros((3, 40), np.uint8)
    mask[:, 0], mask[:, 1], mask[0, 30] = 1, 2, 255
    weight = date_weight(mask, 10)
    assert weight.dtype == np.float32
    assert (weight[:, :2] == 0).all()
    assert weight[0, 30] == 0
    assert weight[1, 2] == pytest.approx(0.25 + 0.75 / 20)
    assert (np.diff(weight[1, 2:22]) > 0).all()
    np.testing.assert_allclose(weight[1, 21:], 1, rtol=1e-6)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 9999), rows=st.integers(3, 70), res=st.sampled_from([10, 20, 60, 120]))
def test_weights_in_slabs_with_a_halo_are_those_of_the_whole(seed: int, rows: int, res: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.where(rng.random((70, 9)) < 0.004, 1, 0).astype(np.uint8)
    halo, parts = ramp_px(res), []
    for top in range(0, 70, rows):
        low, high = max(0, top - halo), min(70, top + rows + halo)
        slab = date_weight(mask[low:high], res)
        parts.append(slab[top - low : top - low + rows][: 70 - top])
    np.testing.assert_array_equal(np.concatenate(parts), date_weight(mask, res))


def test_areas_are_in_square_kilometres_and_leave_no_data_out() -> None:
    classes = np.array([[0, 1, 1], [4, 4, 4]], np.uint8)
    areas = class_areas(classes, 1000)
    assert areas == {
        "water": 2.0,
        "grass": 0.0,
        "tree": 0.0,
        "residential": 3.0,
        "industrial/commercial": 0.0,
        "barren": 0.0,
    }

"""Land-cover fusion: three networks to six classes, and several dates to one map with a confidence."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from s2ops.constants import Float32, LandCover, UInt8
from s2ops.errors import InputError
from s2ops.landcover.date_fusion import (
    THIN_CLOUD_WEIGHT,
    DateFusion,
    FusionParams,
    combine_tasks,
    compute_class_areas,
    compute_date_weight,
    compute_ramp_px,
    find_thin_cloud_or_shadow,
)

SHAPE = (5, 7)
ONE = np.ones(SHAPE, np.float32)
LEVELS = arrays(np.uint8, (8, *SHAPE))


def make_probs(seed: int, classes: int, shape: tuple[int, int] = SHAPE) -> UInt8:
    """Make probabilities (class, y, x) as a network returns them: they sum to about 255."""
    raw = np.random.default_rng(seed).exponential(size=(classes, *shape)) ** 2
    return np.rint(255 * raw / raw.sum(axis=0)).astype(np.uint8)


def make_certain_probs(code: LandCover, level: int = 255, shape: tuple[int, int] = SHAPE) -> tuple[UInt8, UInt8, UInt8]:
    """Make the three networks' probabilities of one class everywhere."""
    networks = [np.zeros((classes, *shape), np.uint8) for classes in (2, 3, 3)]
    network, channel = {1: (0, 1), 2: (1, 1), 3: (1, 2), 4: (2, 1), 5: (2, 2), 6: (0, 0)}[int(code)]
    for probs in networks:
        probs[0] = 255
    networks[network][0] = 255 - level
    networks[network][channel] = level
    return networks[0], networks[1], networks[2]


def make_dates(count: int, seed: int = 0) -> list[tuple[UInt8, UInt8, UInt8]]:
    return [
        (make_probs(seed + 3 * i, 2), make_probs(seed + 3 * i + 1, 3), make_probs(seed + 3 * i + 2, 3))
        for i in range(count)
    ]


def fuse(
    observations: list[tuple[UInt8, UInt8, UInt8]], weight: Float32 = ONE, params: FusionParams | None = None
) -> DateFusion:
    fusion = DateFusion(weight.shape, params or FusionParams())
    for probs in observations:
        fusion.feed(*probs, weight)
    return fusion


@given(levels=LEVELS)
def test_combine_tasks_returns_six_probabilities_that_sum_to_one(levels: UInt8) -> None:
    six = combine_tasks(levels[:2], levels[2:5], levels[5:])
    assert six.dtype == np.float32
    assert (six > 0).all()
    np.testing.assert_allclose(six.sum(axis=0), 1, rtol=1e-5)


@pytest.mark.parametrize("code", [code for code in LandCover if code])
def test_combine_tasks_follows_a_certain_network(code: LandCover) -> None:
    six = combine_tasks(*make_certain_probs(code))
    assert (six.argmax(axis=0) == code - 1).all()
    assert six[code - 1].min() > 0.98


def test_combine_tasks_equals_the_normalized_joint_probability_of_exactly_one_true_class() -> None:
    water, vegetation, building = make_dates(1)[0]
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
    np.testing.assert_allclose(combine_tasks(water, vegetation, building), joint / joint.sum(axis=0), rtol=1e-4)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 9))
def test_date_fusion_of_identical_dates_keeps_the_class_and_never_lowers_the_confidence(seed: int, count: int) -> None:
    observation = make_dates(1, seed)
    one, many = fuse(observation).decide(), fuse(observation * count).decide()
    single = combine_tasks(*observation[0])
    top = np.sort(single, axis=0)
    clear_cut = top[-1] - top[-2] > 1e-4
    np.testing.assert_array_equal(one[0][clear_cut], (single.argmax(axis=0) + 1)[clear_cut])
    np.testing.assert_array_equal(many[0][clear_cut], one[0][clear_cut])
    assert (many[1] >= one[1]).all()


def test_date_fusion_raises_the_confidence_gradually_with_agreeing_dates() -> None:
    observations = [make_certain_probs(LandCover.TREE, level=150)] * 8
    steps = [fuse(observations[:n]).decide()[1][0, 0] for n in range(1, 9)]
    assert all(before <= after for before, after in pairwise(steps))
    assert steps[0] < steps[-1] < 90


def test_date_fusion_gives_no_veto_to_one_certain_date_against_three_that_agree() -> None:
    observations = [make_certain_probs(LandCover.GRASS, 240)] * 3 + [make_certain_probs(LandCover.WATER, 255)]
    assert (fuse(observations).decide()[0] == LandCover.GRASS).all()


def test_date_fusion_of_one_clear_date_returns_the_networks_own_probability() -> None:
    observation = make_dates(1, 4)
    _, confidence = fuse(observation).decide()
    own = 0.98 * combine_tasks(*observation[0]).max(axis=0) + 0.02 / 6
    np.testing.assert_allclose(confidence, 100 * own, atol=0.51)
    assert confidence.dtype == np.uint8


def test_date_fusion_weighs_a_doubtful_date_less_beside_others_and_fully_alone() -> None:
    observation, other = make_certain_probs(LandCover.INDUSTRIAL, 250), make_certain_probs(LandCover.GRASS, 240)
    faint = ONE * np.float32(0.25)
    alone, full = fuse([observation], faint).decide(), fuse([observation]).decide()
    np.testing.assert_array_equal(alone, full)
    fusion = fuse([observation], faint)
    fusion.feed(*other, ONE)
    assert (fusion.decide()[0] == LandCover.GRASS).all()


def test_date_fusion_needs_more_evidence_for_a_rare_class() -> None:
    observation = [make_certain_probs(LandCover.INDUSTRIAL, 250)]
    rare = FusionParams(prior=(0.3, 0.3, 0.3, 0.04, 0.01, 0.05))
    assert (fuse(observation, params=rare).decide()[1] <= fuse(observation).decide()[1]).all()
    assert (
        fuse([make_certain_probs(LandCover.INDUSTRIAL, 90)], ONE * np.float32(THIN_CLOUD_WEIGHT), rare).decide()[0] != 5
    ).all()


def test_date_fusion_weighs_independent_dates_more_than_correlated_ones() -> None:
    observations = [make_certain_probs(LandCover.WATER, 140)] * 4
    order = [fuse(observations, params=FusionParams(correlation=r)).decide()[1].min() for r in (0.0, 0.5, 1.0)]
    assert order[0] > order[1] > order[2]
    assert order[2] == fuse(observations[:1]).decide()[1].min()


def test_date_fusion_prefers_a_detected_class_over_barren_on_the_other_date() -> None:
    bare, shown = make_certain_probs(LandCover.BARREN), make_certain_probs(LandCover.RESIDENTIAL, 245)
    assert (fuse([bare, shown]).decide()[0] == LandCover.RESIDENTIAL).all()
    assert (fuse([bare, shown], params=FusionParams(absence=0)).decide()[0] == LandCover.BARREN).all()
    assert (fuse([bare, make_certain_probs(LandCover.RESIDENTIAL, 120), bare]).decide()[0] == LandCover.BARREN).all()


def test_date_fusion_classifies_through_thin_cloud_with_low_confidence_if_no_date_is_clear() -> None:
    thin = ONE * np.float32(THIN_CLOUD_WEIGHT)
    classes, confidence = fuse([make_certain_probs(LandCover.WATER)] * 3, thin).decide()
    assert (classes == LandCover.WATER).all()
    assert 40 < confidence[0, 0] < 80
    assert (confidence == fuse([make_certain_probs(LandCover.WATER)], thin).decide()[1]).all()


def test_date_fusion_prefers_one_clear_date_over_a_dozen_through_thin_cloud() -> None:
    fusion = fuse([make_certain_probs(LandCover.WATER)] * 12, ONE * np.float32(THIN_CLOUD_WEIGHT))
    fusion.feed(*make_certain_probs(LandCover.TREE, 230), ONE)
    assert (fusion.decide()[0] == LandCover.TREE).all()


def test_find_thin_cloud_or_shadow_excludes_opaque_cloud() -> None:
    mask = np.array([[0, 1, 1, 2, 255]], np.uint8)
    levels = np.full((4, 1, 5), 200, np.uint8)
    levels[2] = [[90, 130, 140, 200, 0]]  # blue reflectance 0.20 is level 128
    assert find_thin_cloud_or_shadow(mask, levels).tolist() == [[False, False, False, True, False]]
    levels[2, 0, 1] = 120
    assert find_thin_cloud_or_shadow(mask, levels).tolist() == [[False, True, False, True, False]]


def test_date_fusion_writes_no_data_where_no_date_shows_the_ground() -> None:
    weight = ONE.copy()
    weight[2, 3:] = 0
    classes, confidence = fuse(make_dates(3), weight).decide()
    assert classes.dtype == np.uint8
    assert (classes[2, 3:] == 0).all()
    assert (confidence[2, 3:] == 255).all()
    assert (np.delete(classes, 2, axis=0) > 0).all()
    assert (np.delete(confidence, 2, axis=0) <= 100).all()


def test_date_fusion_depends_on_the_order_of_dates_only_by_rounding() -> None:
    observations = make_dates(6, 50)
    there, back = fuse(observations), fuse(observations[::-1])
    np.testing.assert_allclose(there.evidence, back.evidence, rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=15)
@given(rows=st.integers(1, 90), seed=st.integers(0, 99))
def test_date_fusion_in_slabs_equals_fusion_of_the_whole(rows: int, seed: int) -> None:
    shape = (90, 6)
    observation = (make_probs(seed, 2, shape), make_probs(seed + 1, 3, shape), make_probs(seed + 2, 3, shape))
    weight = np.random.default_rng(seed).random(shape).astype(np.float32)
    whole = fuse([observation], weight).decide()
    parts = [
        fuse([(observation[0][:, s], observation[1][:, s], observation[2][:, s])], weight[s]).decide()
        for s in (slice(top, min(top + rows, 90)) for top in range(0, 90, rows))
    ]
    for i in (0, 1):
        np.testing.assert_array_equal(np.concatenate([part[i] for part in parts]), whole[i])


def test_date_fusion_raises_for_a_date_of_another_size() -> None:
    with pytest.raises(
        InputError, match=r"a date of \(5, 7\) pixels .* fusion of \(4, 7\): the shapes differ; cut all"
    ):
        DateFusion((4, 7)).feed(*make_dates(1)[0], ONE)


def test_compute_date_weight_falls_towards_clouds_and_is_zero_under_them() -> None:
    mask = np.zeros((3, 40), np.uint8)
    mask[:, 0], mask[:, 1], mask[0, 30] = 1, 2, 255
    weight = compute_date_weight(mask, 10)
    assert weight.dtype == np.float32
    assert (weight[:, :2] == 0).all()
    assert weight[0, 30] == 0
    assert weight[1, 2] == pytest.approx(0.25 + 0.75 / 20)
    assert (np.diff(weight[1, 2:22]) > 0).all()
    np.testing.assert_allclose(weight[1, 21:], 1, rtol=1e-6)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 9999), rows=st.integers(3, 70), res=st.sampled_from([10, 20, 60, 120]))
def test_compute_date_weight_in_slabs_with_a_halo_equals_weight_of_the_whole(seed: int, rows: int, res: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.where(rng.random((70, 9)) < 0.004, 1, 0).astype(np.uint8)
    halo, parts = compute_ramp_px(res), []
    for top in range(0, 70, rows):
        low, high = max(0, top - halo), min(70, top + rows + halo)
        slab = compute_date_weight(mask[low:high], res)
        parts.append(slab[top - low : top - low + rows][: 70 - top])
    np.testing.assert_array_equal(np.concatenate(parts), compute_date_weight(mask, res))


def test_compute_class_areas_returns_square_kilometres_without_no_data() -> None:
    classes = np.array([[0, 1, 1], [4, 4, 4]], np.uint8)
    areas = compute_class_areas(classes, 1000)
    assert areas == {
        "water": 2.0,
        "grass": 0.0,
        "tree": 0.0,
        "residential": 3.0,
        "industrial/commercial": 0.0,
        "barren": 0.0,
    }

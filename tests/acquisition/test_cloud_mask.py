"""Masks: thresholds, specks and buffers in metres, the same in slabs as in one piece."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from s2ops.acquisition.cloud_mask import MaskRule, grow, grow_px, preview_mask, scene_mask, without_specks
from s2ops.constants import Bool, UInt8


def probs(cloud: Bool, shadow: Bool) -> UInt8:
    """Sure probabilities (clear, cloud, shadow; y, x)."""
    stack = np.stack([~cloud & ~shadow, cloud, shadow & ~cloud])
    return (stack * 255).astype(np.uint8)


def blank(height: int = 40, width: int = 30) -> Bool:
    return np.zeros((height, width), bool)


def test_a_cloud_grows_by_its_buffer_in_metres_at_every_resolution() -> None:
    for res, reach in ((10, 4), (20, 2), (60, 1), (120, 0)):
        cloud = blank()
        cloud[12:22, 8:18] = True
        mask = scene_mask(probs(cloud, blank()), ~blank(), res)
        rows = np.flatnonzero((mask == 1).any(axis=1))
        assert (rows[0], rows[-1]) == (12 - reach, 21 + reach)
        assert mask.dtype == np.uint8
        assert reach == 0 or mask[12 - reach, 8 - reach] == 0, "a disc leaves the corner of its square"


def test_bright_roofs_are_no_clouds_at_10_m_and_single_pixels_are_at_120_m() -> None:
    roof = blank()
    roof[5:9, 5:11] = True  # 24 pixels, 2,400 m2
    assert not scene_mask(probs(roof, blank()), ~blank(), 10).any()
    dot = blank()
    dot[5, 5] = True
    assert (scene_mask(probs(dot, blank()), ~blank(), 120) == 1).sum() == 1


def test_cloud_wins_over_shadow_and_no_data_over_both() -> None:
    cloud, shadow = blank(), blank()
    cloud[10:20, 5:15] = True
    shadow[10:20, 14:26] = True
    valid = ~blank()
    valid[:, :7] = False
    mask = scene_mask(probs(cloud, shadow), valid, 10)
    assert (mask[15, 3], mask[15, 10], mask[15, 16], mask[15, 23], mask[35, 20]) == (255, 1, 1, 2, 0)


def test_half_a_doubt_is_cloud_but_a_little_is_not() -> None:
    doubtful = np.zeros((3, 40, 30), np.uint8)
    for level, code in ((89, 1), (88, 0)):
        doubtful[1], doubtful[0] = level, 255 - level
        assert (scene_mask(doubtful, ~blank(), 20) == code).all()


def test_cloud_outside_the_swath_casts_no_mask_inside() -> None:
    cloud = blank()
    cloud[:, :10] = True
    valid = ~cloud
    mask = scene_mask(probs(cloud, blank()), valid, 10)
    assert (mask[:, :10] == 255).all()
    assert not mask[:, 10:].any()


def test_of_coarse_pixels_beside_a_cloud_only_doubtful_ones_join_it() -> None:
    levels = np.zeros((3, 9, 9), np.uint8)
    levels[1, 4, 2:5] = 255
    levels[1, 3, 2:5] = 77, 76, 255
    levels[1, 0, 8] = 85  # as doubtful, but alone
    levels[0] = 255 - levels[1]
    mask = scene_mask(levels, np.ones((9, 9), bool), 120)
    assert mask[3, 2:5].tolist() == [1, 0, 1]
    assert (mask == 1).sum() == 5


def test_a_preview_mask_grows_into_doubtful_neighbours_and_keeps_no_data() -> None:
    levels = np.zeros((2, 9, 8), np.uint8)
    levels[0], levels[1, 4, 3] = 255, 255
    levels[1, 4, 2], levels[1, 3, 3], levels[1, 5, 3], levels[1, 4, 4], levels[1, 4, 5] = 80, 80, 80, 80, 80
    valid = np.ones((9, 8), bool)
    valid[:, 7] = False
    mask = preview_mask(levels, valid)
    assert mask.dtype == np.uint8
    assert (mask == 1).sum() == 5
    assert (mask[:, 7] == 255).all()


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 60),
    res=st.sampled_from([10, 20, 60, 120]),
    sigma=st.floats(0, 2),
)
def test_cutting_a_scene_into_slabs_changes_no_pixel(seed: int, rows: int, res: int, sigma: float) -> None:
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(3, 60, 23)), (0, sigma, sigma))
    levels = np.clip(255 * (noise - noise.min()) / np.ptp(noise), 0, 255).astype(np.uint8)
    valid = rng.random((60, 23)) > 0.02
    rule = MaskRule()
    halo, parts = rule.halo_px(res), []
    for top in range(0, 60, rows):
        low, high = max(0, top - halo), min(60, top + rows + halo)
        slab = scene_mask(levels[:, low:high], valid[low:high], res)
        parts.append(slab[top - low : top - low + rows][: 60 - top])
    np.testing.assert_array_equal(np.concatenate(parts), scene_mask(levels, valid, res))


@given(seed=st.integers(0, 2**32 - 1), radius=st.integers(0, 9))
def test_growing_reaches_exactly_the_pixels_within_the_radius(seed: int, radius: int) -> None:
    mask = np.random.default_rng(seed).random((13, 7)) < 0.05
    distance = ndimage.distance_transform_edt(~mask) if mask.any() else np.full(mask.shape, np.inf)
    np.testing.assert_array_equal(grow(mask, radius), distance <= radius)


def test_specks_are_counted_over_corners() -> None:
    diagonal = np.eye(6, 9, dtype=bool)
    np.testing.assert_array_equal(without_specks(diagonal, 6), diagonal)
    assert not without_specks(diagonal, 7).any()


@pytest.mark.parametrize(("res", "halo"), [(10, 28), (20, 7), (60, 1), (120, 1)])
def test_the_halo_is_stated_per_resolution(res: int, halo: int) -> None:
    assert MaskRule().halo_px(res) == halo
    assert grow_px(40, res) <= halo

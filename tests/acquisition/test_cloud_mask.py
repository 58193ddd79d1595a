"""Cloud mask: thresholds, small objects and buffers in metres; equal in slabs and as a whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from s2ops.acquisition.cloud_mask import (
    CloudMaskParams,
    compute_preview_mask,
    compute_scene_mask,
    dilate,
    remove_small_objects,
    to_px,
)
from s2ops.constants import Bool, UInt8


def make_probs(cloud: Bool, shadow: Bool) -> UInt8:
    """Make probabilities of 0 and 255 (clear, cloud, shadow; y, x)."""
    stack = np.stack([~cloud & ~shadow, cloud, shadow & ~cloud])
    return (stack * 255).astype(np.uint8)


def make_empty_mask(height: int = 40, width: int = 30) -> Bool:
    return np.zeros((height, width), bool)


def test_compute_scene_mask_dilates_clouds_by_a_buffer_in_metres_at_every_resolution() -> None:
    for res, reach in ((10, 4), (20, 2), (60, 1), (120, 0)):
        cloud = make_empty_mask()
        cloud[12:22, 8:18] = True
        mask = compute_scene_mask(make_probs(cloud, make_empty_mask()), ~make_empty_mask(), res)
        rows = np.flatnonzero((mask == 1).any(axis=1))
        assert (rows[0], rows[-1]) == (12 - reach, 21 + reach)
        assert mask.dtype == np.uint8
        assert reach == 0 or mask[12 - reach, 8 - reach] == 0, "a disc does not reach the corner of its square"


def test_compute_scene_mask_ignores_bright_roofs_at_10_m_and_keeps_single_pixels_at_120_m() -> None:
    roof = make_empty_mask()
    roof[5:9, 5:11] = True  # 24 pixels, 2,400 m2
    assert not compute_scene_mask(make_probs(roof, make_empty_mask()), ~make_empty_mask(), 10).any()
    dot = make_empty_mask()
    dot[5, 5] = True
    assert (compute_scene_mask(make_probs(dot, make_empty_mask()), ~make_empty_mask(), 120) == 1).sum() == 1


def test_compute_scene_mask_puts_no_data_over_cloud_over_shadow() -> None:
    cloud, shadow = make_empty_mask(), make_empty_mask()
    cloud[10:20, 5:15] = True
    shadow[10:20, 14:26] = True
    valid = ~make_empty_mask()
    valid[:, :7] = False
    mask = compute_scene_mask(make_probs(cloud, shadow), valid, 10)
    assert (mask[15, 3], mask[15, 10], mask[15, 16], mask[15, 23], mask[35, 20]) == (255, 1, 1, 2, 0)


def test_compute_scene_mask_masks_from_the_cloud_threshold_on() -> None:
    doubtful = np.zeros((3, 40, 30), np.uint8)
    for level, code in ((89, 1), (88, 0)):
        doubtful[1], doubtful[0] = level, 255 - level
        assert (compute_scene_mask(doubtful, ~make_empty_mask(), 20) == code).all()


def test_compute_scene_mask_ignores_cloud_outside_the_swath() -> None:
    cloud = make_empty_mask()
    cloud[:, :10] = True
    valid = ~cloud
    mask = compute_scene_mask(make_probs(cloud, make_empty_mask()), valid, 10)
    assert (mask[:, :10] == 255).all()
    assert not mask[:, 10:].any()


def test_compute_scene_mask_adds_only_doubtful_neighbours_at_coarse_resolution() -> None:
    levels = np.zeros((3, 9, 9), np.uint8)
    levels[1, 4, 2:5] = 255
    levels[1, 3, 2:5] = 77, 76, 255
    levels[1, 0, 8] = 85  # as doubtful, but alone
    levels[0] = 255 - levels[1]
    mask = compute_scene_mask(levels, np.ones((9, 9), bool), 120)
    assert mask[3, 2:5].tolist() == [1, 0, 1]
    assert (mask == 1).sum() == 5


def test_compute_preview_mask_adds_doubtful_neighbours_and_keeps_no_data() -> None:
    levels = np.zeros((2, 9, 8), np.uint8)
    levels[0], levels[1, 4, 3] = 255, 255
    levels[1, 4, 2], levels[1, 3, 3], levels[1, 5, 3], levels[1, 4, 4], levels[1, 4, 5] = 80, 80, 80, 80, 80
    valid = np.ones((9, 8), bool)
    valid[:, 7] = False
    mask = compute_preview_mask(levels, valid)
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
def test_compute_scene_mask_in_slabs_equals_mask_of_the_whole(seed: int, rows: int, res: int, sigma: float) -> None:
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(3, 60, 23)), (0, sigma, sigma))
    levels = np.clip(255 * (noise - noise.min()) / np.ptp(noise), 0, 255).astype(np.uint8)
    valid = rng.random((60, 23)) > 0.02
    params = CloudMaskParams()
    halo, parts = params.compute_halo_px(res), []
    for top in range(0, 60, rows):
        low, high = max(0, top - halo), min(60, top + rows + halo)
        slab = compute_scene_mask(levels[:, low:high], valid[low:high], res)
        parts.append(slab[top - low : top - low + rows][: 60 - top])
    np.testing.assert_array_equal(np.concatenate(parts), compute_scene_mask(levels, valid, res))


@given(seed=st.integers(0, 2**32 - 1), radius=st.integers(0, 9))
def test_dilate_reaches_exactly_the_pixels_within_the_radius(seed: int, radius: int) -> None:
    mask = np.random.default_rng(seed).random((13, 7)) < 0.05
    distance = ndimage.distance_transform_edt(~mask) if mask.any() else np.full(mask.shape, np.inf)
    np.testing.assert_array_equal(dilate(mask, radius), distance <= radius)


def test_remove_small_objects_connects_pixels_over_corners() -> None:
    diagonal = np.eye(6, 9, dtype=bool)
    np.testing.assert_array_equal(remove_small_objects(diagonal, 6), diagonal)
    assert not remove_small_objects(diagonal, 7).any()


@pytest.mark.parametrize(("res", "halo"), [(10, 28), (20, 7), (60, 1), (120, 1)])
def test_compute_halo_px_per_resolution(res: int, halo: int) -> None:
    assert CloudMaskParams().compute_halo_px(res) == halo
    assert to_px(40, res) <= halo


def test_cloud_mask_params_keep_the_facts_of_earlier_fingerprints() -> None:
    facts = {"cloud": 89, "shadow": 165, "speck_m2": 2500.0, "cloud_buffer_m": 40.0, "shadow_buffer_m": 20.0}
    assert CloudMaskParams().to_facts() == facts | {"fringe": 77}

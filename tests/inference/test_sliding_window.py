"""Sliding-window inference: windows, slabs and blending weights for images of any size."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2ops.constants import UInt8
from s2ops.inference.sliding_window import (
    WINDOW_HALO_PX,
    compute_slab_bounds,
    compute_window_size,
    compute_window_starts,
    compute_window_weights,
    segment,
    segment_slabs,
)


@dataclass
class PixelSegmenter:
    """Segmenter that depends on each pixel alone, so tiling must change nothing: band 0's level, and 255 minus it."""

    bands: tuple[str, ...] = ("red", "green", "blue", "nir")
    classes: tuple[str, ...] = ("other", "bright")
    window: int = 128
    calls: list[tuple[int, ...]] = field(default_factory=list)

    def predict(self, windows: UInt8) -> UInt8:
        self.calls.append(windows.shape)
        return np.stack([255 - windows[:, 0], windows[:, 0]], axis=1)


@dataclass
class PositionSegmenter(PixelSegmenter):
    """Segmenter that depends on the position in the window, so seams would be visible."""

    def predict(self, windows: UInt8) -> UInt8:
        size = windows.shape[-1]
        ramp = np.broadcast_to(np.linspace(90, 110, size).astype(np.uint8), windows[:, 0].shape)
        return np.stack([255 - ramp, ramp], axis=1)


def build_scene(height: int, width: int, seed: int = 0) -> UInt8:
    return np.random.default_rng(seed).integers(1, 255, (4, height, width), dtype=np.uint8)


@given(length=st.integers(1, 12_000), window=st.sampled_from([128, 352, 512]))
def test_window_starts_cover_an_axis_and_overlap_by_two_halos(length: int, window: int) -> None:
    starts = compute_window_starts(length, window)
    assert starts[0] == 0
    if length <= window:
        assert starts == [0]
        return
    assert starts[-1] == length - window
    steps = np.diff(starts)
    assert steps.min() > 0
    assert steps.max() <= window - 2 * WINDOW_HALO_PX


def test_window_starts_of_915_pixels_are_two_windows_of_512() -> None:
    assert compute_window_starts(915, 512) == [0, 403]
    assert compute_slab_bounds(915, 512) == [(0, 403), (403, 915)]
    assert len(compute_window_starts(10_980, 512)) == 25


@given(height=st.integers(1, 3000), window=st.sampled_from([128, 512]))
def test_slab_bounds_are_contiguous_to_the_last_row(height: int, window: int) -> None:
    bounds = compute_slab_bounds(height, window)
    assert bounds[0][0] == 0
    assert bounds[-1][1] == height
    assert all(before[1] == after[0] for before, after in pairwise(bounds))


@settings(max_examples=30)
@given(height=st.integers(1, 300), width=st.integers(1, 300), seed=st.integers(0, 99))
def test_segment_equals_a_pixelwise_network_exactly(height: int, width: int, seed: int) -> None:
    image = build_scene(height, width, seed)
    probs = segment(PixelSegmenter(), image)
    assert probs.dtype == np.uint8
    np.testing.assert_array_equal(probs[1], image[0])
    np.testing.assert_array_equal(probs[0], 255 - image[0])


@settings(max_examples=20)
@given(height=st.integers(1, 400), width=st.integers(1, 300))
def test_segment_slabs_equal_the_whole_exactly(height: int, width: int) -> None:
    image, network = build_scene(height, width), PositionSegmenter()
    slabs = list(segment_slabs(network, lambda top, end: image[:, top:end], height, width))
    assert [(y0, y1) for y0, y1, _ in slabs] == compute_slab_bounds(height, network.window)
    np.testing.assert_array_equal(np.concatenate([p for _, _, p in slabs], axis=1), segment(network, image))


def test_segment_slabs_reads_each_row_once_in_order() -> None:
    image, read_rows = build_scene(500, 140), []

    def read(top: int, end: int) -> UInt8:
        read_rows.append((top, end))
        return image[:, top:end]

    for _ in segment_slabs(PixelSegmenter(), read, 500, 140):
        pass
    assert read_rows[0][0] == 0
    assert read_rows[-1][1] == 500
    assert all(before[1] == after[0] for before, after in pairwise(read_rows))


def test_segment_blends_windows_across_an_overlap() -> None:
    probs = segment(PositionSegmenter(), build_scene(128, 300))[1].astype(int)
    # without weights the step from 110 to 90 would be visible as a line
    assert np.abs(np.diff(probs, axis=1)).max() <= 3


def test_window_weights_rise_from_the_edge_and_are_symmetric() -> None:
    weights = compute_window_weights(512)
    assert weights.dtype == np.int32
    assert (weights[0], weights[WINDOW_HALO_PX - 1], weights[255]) == (1, 31, 64)
    np.testing.assert_array_equal(weights, weights[::-1])


def test_segment_returns_zero_for_no_data_and_skips_empty_windows() -> None:
    image, network = build_scene(128, 600), PixelSegmenter()
    image[:, :, 300:] = 0
    probs = segment(network, image)
    assert not probs[:, :, 300:].any()
    np.testing.assert_array_equal(probs[1, :, :300], image[0, :, :300])
    assert sum(shape[0] for shape in network.calls) < len(compute_window_starts(600, 128))


def test_segment_of_an_image_without_data_runs_no_window() -> None:
    network = PixelSegmenter()
    assert not segment(network, np.zeros((4, 200, 200), np.uint8)).any()
    assert network.calls == []


def test_segment_selects_bands_in_the_order_of_the_network() -> None:
    image = build_scene(40, 50)
    network = PixelSegmenter(bands=("nir", "red", "green"))
    np.testing.assert_array_equal(segment(network, image)[1], image[3])
    assert network.calls == [(1, 3, 64, 64)]


@pytest.mark.parametrize(("length", "size"), [(1, 32), (52, 64), (343, 352), (512, 512), (900, 512)])
def test_window_size_of_a_short_axis_is_a_multiple_of_32(length: int, size: int) -> None:
    assert compute_window_size(length, 512) == size


def test_segment_slabs_of_networks_with_equal_windows_are_equal() -> None:
    image = build_scene(333, 200)

    def read_slabs() -> Iterator[tuple[int, int, UInt8]]:
        return segment_slabs(PixelSegmenter(), lambda top, end: image[:, top:end], 333, 200)

    for (a0, a1, _), (b0, b1, _) in zip(read_slabs(), read_slabs(), strict=True):
        assert (a0, a1) == (b0, b1)


def test_segment_slabs_skips_unwanted_windows_without_changing_wanted_pixels() -> None:
    """All windows of a wanted pixel are computed, so its mean does not change."""
    image, wanted = build_scene(900, 700), np.zeros((900, 700), np.bool_)
    wanted[140:150, 300:330] = wanted[640, 90] = True
    network = PositionSegmenter()
    whole = segment(network, image)
    some = np.concatenate(
        [
            probs
            for _, _, probs in segment_slabs(
                network, lambda top, end: image[:, top:end], 900, 700, lambda top, end: wanted[top:end]
            )
        ],
        axis=1,
    )
    np.testing.assert_array_equal(some[:, wanted], whole[:, wanted])
    counted = PixelSegmenter()
    list(segment_slabs(counted, lambda top, end: image[:, top:end], 900, 700, lambda top, end: wanted[top:end]))
    assert 0 < sum(shape[0] for shape in counted.calls) <= 10  # of 9 x 7 and more

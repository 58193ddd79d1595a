"""Seam metrics of tile edges and of patch borders."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2ops.constants import UInt8
from s2ops.errors import RasterError
from s2ops.quality.patch_seam_metrics import MAX_SAMPLES, measure_patch_seams, sample_patch_borders
from s2ops.quality.seam_metrics import STRIP_HALF_WIDTH_PX, EdgeLine, measure_seam, overlay_without_blending

HEIGHT, WIDTH = 300, 200
COLUMN = 94  # inside a column of fields: the only step there is the seam
VERTICAL = np.array([[0.0, COLUMN], [HEIGHT, COLUMN]])


def make_landscape(seed: int = 0) -> UInt8:
    """Make an image with texture, fields and a gradual trend across."""
    rng = np.random.default_rng(seed)
    fields = np.kron(rng.normal(0, 12, (4, 30, 20)), np.ones((1, 10, 10)))
    trend = np.linspace(0, 20, WIDTH)
    return np.clip(100 + fields + trend + rng.normal(0, 3, (4, HEIGHT, WIDTH)), 1, 255).astype(np.uint8)


def add_step(levels: int) -> UInt8:
    """Make a landscape whose part right of the line is `levels` brighter."""
    image = make_landscape().astype(np.int16)
    image[:, :, :COLUMN] += levels  # the line runs down, so that its right side is the west
    return np.clip(image, 1, 255).astype(np.uint8)


def test_seam_in_unchanged_landscape_is_invisible() -> None:
    seam = measure_seam(EdgeLine.from_polyline(VERTICAL).extract_strip(make_landscape()))
    assert seam is not None
    assert seam.excess < 1.05
    assert seam.coherent < 1.1
    assert np.abs(seam.step).max() < 1.0
    assert seam.pixels == HEIGHT


@pytest.mark.parametrize("levels", [3, 10, -10])
def test_seam_step_has_the_sign_and_size_of_the_difference(levels: int) -> None:
    line = EdgeLine.from_polyline(VERTICAL)
    seam = measure_seam(line.extract_strip(add_step(levels)))
    assert seam is not None
    np.testing.assert_allclose(seam.step, levels, atol=1)


def test_seam_coherent_is_the_most_sensitive_to_a_small_step() -> None:
    flat = np.random.default_rng(2).normal(100, 6, (4, HEIGHT, WIDTH))
    flat[:, :, :COLUMN] += 5
    seam = measure_seam(EdgeLine.from_polyline(VERTICAL).extract_strip(flat.astype(np.uint8)))
    assert seam is not None
    assert 1.0 < seam.excess < 1.5
    assert seam.coherent > 2.5
    assert seam.energy > seam.excess


def test_seam_over_flat_water_is_visible_only_with_a_step() -> None:
    water = np.full((4, HEIGHT, WIDTH), 20, np.uint8)
    line = EdgeLine.from_polyline(VERTICAL)
    calm = measure_seam(line.extract_strip(water))
    assert calm is not None
    assert (calm.excess, calm.coherent, calm.energy, calm.step) == (1, 1, 1, (0, 0, 0, 0))
    water[:, :, :COLUMN] += 2
    stepped = measure_seam(line.extract_strip(water))
    assert stepped is not None
    assert stepped.excess == 8
    assert stepped.step == (2, 2, 2, 2)


def test_edge_line_runs_between_the_pixels_of_a_border() -> None:
    line = EdgeLine.from_polyline(VERTICAL)
    assert line.rows.shape == (HEIGHT, 2 * STRIP_HALF_WIDTH_PX)
    assert line.rows[7].tolist() == [7] * 2 * STRIP_HALF_WIDTH_PX
    # the line runs down: its left side, where the strip begins, is the east
    assert line.cols[7, STRIP_HALF_WIDTH_PX - 1 : STRIP_HALF_WIDTH_PX + 1].tolist() == [COLUMN, COLUMN - 1]
    across = EdgeLine.from_polyline(np.array([[50.0, 0.0], [50.0, 30.0]]))
    assert across.rows[3, STRIP_HALF_WIDTH_PX - 1 : STRIP_HALF_WIDTH_PX + 1].tolist() == [49, 50]
    assert across.cols[3].tolist() == [3] * 2 * STRIP_HALF_WIDTH_PX


def test_strip_gathered_from_slabs_equals_that_of_the_whole_image() -> None:
    image = make_landscape()
    line = EdgeLine.from_polyline(np.array([[-5.0, 20.0], [120.0, 80.5], [310.0, 60.0]]))
    strip = line.allocate_strip()
    for top in (200, 0, 100):
        line.gather(image[:, top : top + 100], strip, top)
    np.testing.assert_array_equal(strip, line.extract_strip(image))
    assert strip.dtype == np.uint8


def test_strip_gathered_from_windows_along_the_line_equals_that_of_the_whole_image() -> None:
    image, rows_read = make_landscape(), 0
    line = EdgeLine.from_polyline(np.array([[-5.0, 20.0], [120.0, 80.5], [310.0, 60.0]]))
    strip = line.allocate_strip()
    for top in (0, 100, 200):
        rows = slice(top, top + 100)
        along = line.find_positions(rows)
        part = line.crop(along)
        for left in range(0, WIDTH, 40):
            cols = slice(left, left + 40)
            high = part.find_rows(rows, cols)
            if high is not None:
                rows_read += high.stop - high.start
                part.gather(image[:, high, cols], strip[:, along], high.start, left)
    np.testing.assert_array_equal(strip, line.extract_strip(image))
    assert rows_read < 0.8 * 5 * HEIGHT  # five columns of windows
    assert line.find_positions(slice(400, 500)) == slice(0, 0)
    assert line.crop(slice(0, 0)).find_rows(slice(0, 100), slice(0, 40)) is None


def test_seam_along_a_slanted_line_has_the_step_along_it() -> None:
    rows, cols = np.indices((HEIGHT, WIDTH))
    right = cols < 60 + rows * 0.2
    image = np.clip(make_landscape().astype(np.int16) + 8 * right, 1, 255).astype(np.uint8)
    line = EdgeLine.from_polyline(np.array([[0.0, 60.0], [HEIGHT, 60 + HEIGHT * 0.2]]))
    seam, plain = measure_seam(line.extract_strip(image)), measure_seam(line.extract_strip(make_landscape()))
    assert seam is not None
    assert plain is not None
    np.testing.assert_allclose(np.subtract(seam.step, plain.step), 8, atol=0.6)
    assert seam.coherent > 1.5


def test_seam_excludes_positions_with_missing_pixels() -> None:
    image = make_landscape()
    image[2, 100:180, COLUMN + 3] = 0
    seam = measure_seam(EdgeLine.from_polyline(VERTICAL).extract_strip(image))
    assert seam is not None
    assert seam.pixels == HEIGHT - 80


def test_seam_of_too_short_an_edge_is_none() -> None:
    image = make_landscape()
    image[:, 50:] = 0
    assert measure_seam(EdgeLine.from_polyline(VERTICAL).extract_strip(image)) is None


def test_seam_ignores_a_road_along_a_few_pixels() -> None:
    image = make_landscape()
    image[:, 10:14, COLUMN - 2 : COLUMN] = 250
    seam = measure_seam(EdgeLine.from_polyline(VERTICAL).extract_strip(image))
    plain = measure_seam(EdgeLine.from_polyline(VERTICAL).extract_strip(make_landscape()))
    assert seam is not None
    assert plain is not None
    # without clipping, the 150 levels of the road at 4 of 300 positions would give a step of 2 levels
    np.testing.assert_allclose(seam.step, plain.step, atol=0.7)


def test_overlay_without_blending_shows_the_inner_tile_up_to_its_border() -> None:
    inner, outer = make_landscape(1), make_landscape(2)
    inner[:, :, COLUMN:] = 0
    inner[1, 5, 5] = 0  # one band has no data, so the pixel has none
    image = overlay_without_blending(inner, outer)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image[:, :, COLUMN:], outer[:, :, COLUMN:])
    np.testing.assert_array_equal(image[:, 6:, :COLUMN], inner[:, 6:, :COLUMN])
    np.testing.assert_array_equal(image[:, 5, 5], outer[:, 5, 5])


def test_seam_metrics_to_json_gives_plain_numbers() -> None:
    seam = measure_seam(EdgeLine.from_polyline(VERTICAL).extract_strip(make_landscape()))
    assert seam is not None
    fields = seam.to_json()
    assert list(fields) == ["excess", "coherent", "energy", "step", "pixels"]
    assert all(type(value) is float for value in fields["step"])


def test_edge_line_from_a_single_point_raises() -> None:
    with pytest.raises(
        RasterError, match=r"The edge is not a line: its points have shape \(1, 2\); give two or more points"
    ):
        EdgeLine.from_polyline(np.array([[1.0, 2.0]]))


def test_measure_seam_with_a_strip_of_another_width_raises() -> None:
    with pytest.raises(RasterError, match=r"the strip has shape \(4, 100, 30\), not \(band, along, 48\)"):
        measure_seam(np.ones((4, 100, 30), np.uint8))


def make_patch(step: int) -> tuple[UInt8, UInt8]:
    """Make a landscape with a round patch of another scene, `step` levels brighter; return levels and provenance."""
    rows, cols = np.indices((HEIGHT, WIDTH))
    inside = (rows - 150) ** 2 + (cols - 97) ** 2 < 60**2
    levels = np.clip(make_landscape().astype(np.int16) + step * inside, 1, 255).astype(np.uint8)
    return levels, np.where(inside, 2, 1).astype(np.uint8)


def test_patch_seams_are_visible_only_if_the_patch_differs() -> None:
    hidden, seen = (
        measure_patch_seams([sample_patch_borders(*make_patch(0))]),
        measure_patch_seams([sample_patch_borders(*make_patch(25))]),
    )
    assert hidden is not None
    assert seen is not None
    assert 0.85 < hidden["excess"] < 1.1  # type: ignore[operator]
    assert seen["excess"] > 1.6  # type: ignore[operator]
    assert seen["pixels"] == 2 * 119


def test_patch_borders_are_neither_in_a_single_scene_nor_at_holes() -> None:
    levels, source = make_patch(9)
    assert measure_patch_seams([sample_patch_borders(levels, np.ones_like(source))]) is None
    source[source == 2] = 0
    assert sample_patch_borders(levels, source).shape == (4, 0, 2 * STRIP_HALF_WIDTH_PX)
    assert measure_patch_seams([]) is None


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(40, 300), (7, 2 * STRIP_HALF_WIDTH_PX), (300, 520)]),
    st.floats(0.001, 0.5),
)
def test_patch_borders_equal_every_nth_border_found_by_numpy(seed: int, shape: tuple[int, int], part: float) -> None:
    rng = np.random.default_rng(seed)
    source = np.cumsum(rng.random(shape) < part, axis=1).astype(np.uint8) % 4  # 0 is a hole
    levels = rng.integers(0, 256, (4, *shape), dtype=np.uint8)
    before, after = (
        source[:, STRIP_HALF_WIDTH_PX - 1 : shape[1] - STRIP_HALF_WIDTH_PX],
        source[:, STRIP_HALF_WIDTH_PX : shape[1] - STRIP_HALF_WIDTH_PX + 1],
    )
    rows, cols = np.nonzero((before != after) & (before != 0) & (after != 0))
    every = max(-(-len(rows) // MAX_SAMPLES), 1)
    expected = levels[:, rows[::every, None], cols[::every, None] + np.arange(2 * STRIP_HALF_WIDTH_PX)]
    np.testing.assert_array_equal(sample_patch_borders(levels, source), expected)


def test_patch_borders_are_sampled_evenly_if_there_are_many() -> None:
    source = np.indices((HEIGHT, WIDTH)).sum(axis=0).astype(np.uint8) % 2 + 1
    assert MAX_SAMPLES / 2 < sample_patch_borders(make_landscape(), source).shape[1] <= MAX_SAMPLES

"""Facts about the seam metric."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2ops.constants import UInt8
from s2ops.errors import RasterError
from s2ops.quality.patch_seam_metrics import MOST, across, figures
from s2ops.quality.seam_metrics import REACH, EdgeLine, hard_edge, measure

HEIGHT, WIDTH = 300, 200
COLUMN = 94  # inside a column of fields: what is found there is the seam
VERTICAL = np.array([[0.0, COLUMN], [HEIGHT, COLUMN]])


def landscape(seed: int = 0) -> UInt8:
    """Texture of some levels, with fields and a slow trend across."""
    rng = np.random.default_rng(seed)
    fields = np.kron(rng.normal(0, 12, (4, 30, 20)), np.ones((1, 10, 10)))
    trend = np.linspace(0, 20, WIDTH)
    return np.clip(100 + fields + trend + rng.normal(0, 3, (4, HEIGHT, WIDTH)), 1, 255).astype(np.uint8)


def with_step(levels: int) -> UInt8:
    image = landscape().astype(np.int16)
    image[:, :, :COLUMN] += levels  # left of the line when it runs down is the east; this is its right
    return np.clip(image, 1, 255).astype(np.uint8)


def test_a_line_through_untouched_ground_is_invisible() -> None:
    seam = measure(EdgeLine.along(VERTICAL).strip(landscape()))
    assert seam is not None
    assert seam.excess < 1.05
    assert seam.coherent < 1.1
    assert np.abs(seam.step).max() < 1.0
    assert seam.pixels == HEIGHT


@pytest.mark.parametrize("levels", [3, 10, -10])
def test_a_step_along_the_line_is_seen_with_its_sign(levels: int) -> None:
    line = EdgeLine.along(VERTICAL)
    seam = measure(line.strip(with_step(levels)))
    assert seam is not None
    np.testing.assert_allclose(seam.step, levels, atol=1)


def test_a_small_step_shows_first_in_the_coherent_figure() -> None:
    flat = np.random.default_rng(2).normal(100, 6, (4, HEIGHT, WIDTH))
    flat[:, :, :COLUMN] += 5
    seam = measure(EdgeLine.along(VERTICAL).strip(flat.astype(np.uint8)))
    assert seam is not None
    assert 1.0 < seam.excess < 1.5
    assert seam.coherent > 2.5
    assert seam.energy > seam.excess


def test_flat_water_is_invisible_and_a_step_on_it_is_not() -> None:
    water = np.full((4, HEIGHT, WIDTH), 20, np.uint8)
    line = EdgeLine.along(VERTICAL)
    calm = measure(line.strip(water))
    assert calm is not None
    assert (calm.excess, calm.coherent, calm.energy, calm.step) == (1, 1, 1, (0, 0, 0, 0))
    water[:, :, :COLUMN] += 2
    stepped = measure(line.strip(water))
    assert stepped is not None
    assert stepped.excess == 8
    assert stepped.step == (2, 2, 2, 2)


def test_a_line_runs_between_the_pixels_of_a_border() -> None:
    line = EdgeLine.along(VERTICAL)
    assert line.rows.shape == (HEIGHT, 2 * REACH)
    assert line.rows[7].tolist() == [7] * 2 * REACH
    # downwards, the left of the direction is east, and the strip begins there
    assert line.cols[7, REACH - 1 : REACH + 1].tolist() == [COLUMN, COLUMN - 1]
    across = EdgeLine.along(np.array([[50.0, 0.0], [50.0, 30.0]]))
    assert across.rows[3, REACH - 1 : REACH + 1].tolist() == [49, 50]
    assert across.cols[3].tolist() == [3] * 2 * REACH


def test_a_strip_gathered_from_slabs_is_that_of_the_whole() -> None:
    image = landscape()
    line = EdgeLine.along(np.array([[-5.0, 20.0], [120.0, 80.5], [310.0, 60.0]]))
    strip = line.empty()
    for top in (200, 0, 100):
        line.gather(image[:, top : top + 100], strip, top)
    np.testing.assert_array_equal(strip, line.strip(image))
    assert strip.dtype == np.uint8


def test_a_strip_gathered_from_windows_that_hold_the_line_is_that_of_the_whole() -> None:
    image, looked = landscape(), 0
    line = EdgeLine.along(np.array([[-5.0, 20.0], [120.0, 80.5], [310.0, 60.0]]))
    strip = line.empty()
    for top in (0, 100, 200):
        rows = slice(top, top + 100)
        along = line.along_in(rows)
        part = line.cut(along)
        for left in range(0, WIDTH, 40):
            cols = slice(left, left + 40)
            high = part.rows_in(rows, cols)
            if high is not None:
                looked += high.stop - high.start
                part.gather(image[:, high, cols], strip[:, along], high.start, left)
    np.testing.assert_array_equal(strip, line.strip(image))
    assert looked < 0.8 * 5 * HEIGHT  # rows of the five columns of windows
    assert line.along_in(slice(400, 500)) == slice(0, 0)
    assert line.cut(slice(0, 0)).rows_in(slice(0, 100), slice(0, 40)) is None


def test_a_slanted_line_finds_the_step_that_follows_it() -> None:
    rows, cols = np.indices((HEIGHT, WIDTH))
    right = cols < 60 + rows * 0.2
    image = np.clip(landscape().astype(np.int16) + 8 * right, 1, 255).astype(np.uint8)
    line = EdgeLine.along(np.array([[0.0, 60.0], [HEIGHT, 60 + HEIGHT * 0.2]]))
    seam, plain = measure(line.strip(image)), measure(line.strip(landscape()))
    assert seam is not None
    assert plain is not None
    np.testing.assert_allclose(np.subtract(seam.step, plain.step), 8, atol=0.6)
    assert seam.coherent > 1.5


def test_positions_with_missing_pixels_are_left_out() -> None:
    image = landscape()
    image[2, 100:180, COLUMN + 3] = 0
    seam = measure(EdgeLine.along(VERTICAL).strip(image))
    assert seam is not None
    assert seam.pixels == HEIGHT - 80


def test_too_short_an_edge_has_no_figures() -> None:
    image = landscape()
    image[:, 50:] = 0
    assert measure(EdgeLine.along(VERTICAL).strip(image)) is None


def test_a_road_along_a_few_pixels_is_no_seam() -> None:
    image = landscape()
    image[:, 10:14, COLUMN - 2 : COLUMN] = 250
    seam = measure(EdgeLine.along(VERTICAL).strip(image))
    plain = measure(EdgeLine.along(VERTICAL).strip(landscape()))
    assert seam is not None
    assert plain is not None
    # unbounded, the road's 150 levels on 4 of 300 positions would be 2 levels of seam
    np.testing.assert_allclose(seam.step, plain.step, atol=0.7)


def test_without_blending_the_inner_tile_ends_at_its_border() -> None:
    inner, outer = landscape(1), landscape(2)
    inner[:, :, COLUMN:] = 0
    inner[1, 5, 5] = 0  # a band is missing: the pixel is no data
    image = hard_edge(inner, outer)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image[:, :, COLUMN:], outer[:, :, COLUMN:])
    np.testing.assert_array_equal(image[:, 6:, :COLUMN], inner[:, 6:, :COLUMN])
    np.testing.assert_array_equal(image[:, 5, 5], outer[:, 5, 5])


def test_seam_figures_are_plain_numbers() -> None:
    seam = measure(EdgeLine.along(VERTICAL).strip(landscape()))
    assert seam is not None
    fields = seam.to_json()
    assert list(fields) == ["excess", "coherent", "energy", "step", "pixels"]
    assert all(type(value) is float for value in fields["step"])


def test_a_single_point_is_no_line() -> None:
    with pytest.raises(RasterError, match="give two or more points"):
        EdgeLine.along(np.array([[1.0, 2.0]]))


def test_a_strip_of_another_width_is_refused() -> None:
    with pytest.raises(RasterError, match=r"is not \(band, along, 48\)"):
        measure(np.ones((4, 100, 30), np.uint8))


def patched(step: int) -> tuple[UInt8, UInt8]:
    """A landscape whose round patch of another scene differs by `step` levels, and its provenance."""
    rows, cols = np.indices((HEIGHT, WIDTH))
    inside = (rows - 150) ** 2 + (cols - 97) ** 2 < 60**2
    levels = np.clip(landscape().astype(np.int16) + step * inside, 1, 255).astype(np.uint8)
    return levels, np.where(inside, 2, 1).astype(np.uint8)


def test_a_patch_that_fits_is_invisible_and_one_that_does_not_is_seen() -> None:
    hidden, seen = figures([across(*patched(0))]), figures([across(*patched(25))])
    assert hidden is not None
    assert seen is not None
    assert 0.85 < hidden["excess"] < 1.1  # type: ignore[operator]
    assert seen["excess"] > 1.6  # type: ignore[operator]
    assert seen["pixels"] == 2 * 119


def test_a_composite_of_one_scene_has_no_patches_and_holes_are_no_border() -> None:
    levels, source = patched(9)
    assert figures([across(levels, np.ones_like(source))]) is None
    source[source == 2] = 0
    assert across(levels, source).shape == (4, 0, 2 * REACH)
    assert figures([]) is None


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(40, 300), (7, 2 * REACH), (300, 520)]), st.floats(0.001, 0.5))
def test_borders_are_each_nth_of_those_that_numpy_finds(seed: int, shape: tuple[int, int], part: float) -> None:
    rng = np.random.default_rng(seed)
    source = np.cumsum(rng.random(shape) < part, axis=1).astype(np.uint8) % 4  # 0 is a hole
    levels = rng.integers(0, 256, (4, *shape), dtype=np.uint8)
    before, after = source[:, REACH - 1 : shape[1] - REACH], source[:, REACH : shape[1] - REACH + 1]
    rows, cols = np.nonzero((before != after) & (before != 0) & (after != 0))
    every = max(-(-len(rows) // MOST), 1)
    expected = levels[:, rows[::every, None], cols[::every, None] + np.arange(2 * REACH)]
    np.testing.assert_array_equal(across(levels, source), expected)


def test_of_many_borders_an_even_choice_is_looked_at() -> None:
    source = np.indices((HEIGHT, WIDTH)).sum(axis=0).astype(np.uint8) % 2 + 1
    assert MOST / 2 < across(landscape(), source).shape[1] <= MOST

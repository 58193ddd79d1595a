"""Tone curve between reflectance and 8-bit levels, and the clean-up of swath edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2ops.imaging.swath_edge import clean_swath_edge, convert_image_to_levels
from s2ops.imaging.tone_curve import (
    NODATA_RESIDUE_DN,
    TOP,
    apply_tone_curve,
    build_level_table,
    build_reflectance_table,
    compute_tci_levels,
    convert_bands_to_levels,
    convert_dn_to_levels,
    invert_tone_curve,
)


def test_tone_curve_inverts_every_level_exactly() -> None:
    levels = np.arange(1, 256)
    back = np.rint(apply_tone_curve(invert_tone_curve(levels.astype(np.float64))))
    np.testing.assert_array_equal(back, levels)


@given(st.floats(0, TOP))
def test_tone_curve_restores_reflectance_within_half_a_level(value: float) -> None:
    exact = float(apply_tone_curve(np.array([value]))[0])
    stored = np.rint(exact)
    again = float(apply_tone_curve(invert_tone_curve(np.array([stored])))[0])
    assert abs(again - exact) <= 0.5 + 1e-3
    assert 1 <= stored <= 255


@pytest.mark.parametrize("offset", [0, -1000])
def test_tone_curve_never_falls(offset: int) -> None:
    table = build_level_table(offset)
    assert table.dtype == np.uint8
    assert table.shape == (65_536,)
    assert (np.diff(table.astype(np.int16)) >= 0).all()
    assert table[65_535] == 255


def test_level_table_has_no_data_for_digital_number_zero_only() -> None:
    for offset in (0, -1000):
        table = build_level_table(offset)
        assert table[0] == 0
        assert table[1:].min() == 1


def test_convert_dn_makes_negative_reflectance_black_and_not_no_data() -> None:
    numbers = np.array([[[1, 999, 1000, 1001, 1040, 0]]], np.uint16)
    assert convert_dn_to_levels(numbers, -1000).tolist() == [[[1, 1, 1, 1, 8, 0]]]


@given(st.integers(1001, 60_000))
def test_convert_dn_with_the_offset_of_later_baselines_gives_equal_levels(number: int) -> None:
    late, early = np.array([number], np.uint16), np.array([number - 1000], np.uint16)
    assert convert_dn_to_levels(late, -1000) == convert_dn_to_levels(early, 0)


def test_reflectance_table_begins_with_no_data() -> None:
    table = build_reflectance_table()
    assert table.shape == (256,)
    assert table.dtype == np.float32
    assert np.isnan(table[0])
    assert table[1] == 0
    assert table[255] == pytest.approx(TOP, rel=1e-5)


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.03), (0.36, 1.2)])
def test_tone_curve_has_more_levels_for_dark_and_bright_ground_than_the_true_colour_image(
    low: float, high: float
) -> None:
    ramp = np.linspace(low, high, 5000)
    ours = np.unique(np.rint(apply_tone_curve(ramp))).size
    theirs = np.unique(compute_tci_levels(ramp)).size
    assert ours > 1.5 * theirs


def test_tci_levels_saturate_at_the_documented_reflectance() -> None:
    levels = compute_tci_levels(np.array([-0.1, 0.0, 0.1, 0.3558, 1.0]))
    assert levels.dtype == np.uint8
    assert levels.tolist() == [1, 1, 72, 255, 255]


def test_convert_image_removes_residue_at_the_swath_edge_but_keeps_black_water_inside() -> None:
    numbers = np.full((4, 8, 12), 900, np.uint16)
    numbers[:, :, :4] = 0
    numbers[0, :4, 4], numbers[3, 4:, 4] = 15, 1
    numbers[3, 4, 9] = 0
    levels = convert_image_to_levels(numbers, 0, edge_px=1)
    assert not levels[:, :, :5].any()
    assert (levels[:, :, 5:] > 0).all()
    assert levels[3, 4, 9] == 1


@pytest.mark.parametrize("columns", range(7))
@pytest.mark.parametrize("first", range(3))
def test_convert_bands_gives_equal_levels_in_words_and_one_by_one(columns: int, first: int) -> None:
    numbers = np.random.default_rng(columns).integers(0, 65_536, (3, 5, columns + first), dtype=np.uint16)[..., first:]
    expected = convert_dn_to_levels(numbers, -1000)
    expected[numbers <= NODATA_RESIDUE_DN] = 0
    np.testing.assert_array_equal(convert_bands_to_levels(numbers, -1000), expected)
    room = np.zeros(numbers.size + first, np.uint8)[first:].reshape(numbers.shape)  # begins anywhere in memory
    assert convert_bands_to_levels(numbers, -1000, room) is room
    np.testing.assert_array_equal(room, expected)


@given(top=st.integers(0, 30), rows=st.integers(1, 40), edge=st.integers(1, 6))
def test_clean_swath_edge_in_slabs_equals_the_whole(top: int, rows: int, edge: int) -> None:
    dice = np.random.default_rng(top)
    levels = dice.integers(0, 3, (4, 31, 17), dtype=np.uint8)
    levels[:, :, :5] = 0
    levels[:, top, 5:9] = 0
    whole, cut = levels.copy(), levels.copy()
    clean_swath_edge(whole, edge, rows=31)
    clean_swath_edge(cut, edge, rows=rows)
    np.testing.assert_array_equal(cut, whole)
    assert ((whole == 0).all(axis=0) == (whole == 0).any(axis=0)).all()

"""Colour balance of a region: corrections, overlap statistics, and the illumination gradient."""

from dataclasses import replace
from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2ops.constants import Float64, UInt8
from s2ops.errors import RasterError
from s2ops.mosaic.balance.color_balance import BalanceResult, balance_colors
from s2ops.mosaic.balance.correction_plane import LEVEL_LIMIT, NO_CORRECTION, SLOPE_LIMIT, CorrectionPlane
from s2ops.mosaic.balance.illumination_gradient import IlluminationGradient, LandTrend
from s2ops.mosaic.balance.overlap_statistics import (
    PIECES_PER_SIDE,
    Overlap,
    Piece,
    PieceStatistics,
    TilePosition,
    compute_land_mask,
    measure_overlap,
)

PITCH = 1.82
"""Distance between the centres of neighbours, in half tiles: 100 km of 109.8."""

Truth = dict[str, Float64]
"""(4, 3) levels by which a tile is too bright: at its centre, more at its eastern edge, more at its southern edge."""


def name_tiles(rows: int, cols: int) -> dict[str, tuple[int, int]]:
    """Name the tiles of a rectangular region; row 0 is the northernmost."""
    return {f"{row}{col}": (row, col) for row in range(rows) for col in range(cols)}


def make_overlaps(grid: dict[str, tuple[int, int]], truth: Truth, noise: float = 0.05) -> list[Overlap]:
    """Make the overlaps of tiles with these faults."""
    rng, found = np.random.default_rng(0), []
    for (a, here), (b, there) in product(grid.items(), grid.items()):
        down, right = there[0] - here[0], there[1] - here[1]
        if not a < b or max(abs(down), abs(right)) > 1:
            continue
        along = (-0.75, -0.25, 0.25, 0.75) if 0 in {down, right} else (0.0,)
        pieces = []
        for part in along:
            at = TilePosition(0.91 * down if down else part, 0.91 * right if right else part)
            other = TilePosition(at.y - PITCH * down, at.x - PITCH * right)
            levels = truth[b] @ [1, other.x, other.y] - truth[a] @ [1, at.x, at.y] + rng.normal(0, noise, 4)
            pieces.append(Piece(at, other, tuple(levels), (100.0,) * 4, 10_000))
        found.append(Overlap(a, b, tuple(pieces)))
    return found


def make_trends(
    grid: dict[str, tuple[int, int]], truth: Truth | None = None, slope: tuple[float, float] = (0, 0)
) -> dict[str, LandTrend]:
    """Make the land of the tiles: level, or rising by `slope` levels per half tile, plus their faults."""
    planes = {}
    for name, (row, col) in grid.items():
        plane = np.tile([90 + PITCH * (slope[0] * col + slope[1] * row), *slope], (4, 1))
        plane = plane + (truth[name] if truth else 0)
        planes[name] = LandTrend(*(tuple(part) for part in plane.T), share=1.0)
    return planes


def make_faults(grid: dict[str, tuple[int, int]], level: float, slope: float, seed: int = 0) -> Truth:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, [level, slope, slope], (4, 3)) for name in grid}


def compute_errors(made: BalanceResult, truth: Truth) -> Float64:
    """Compute (tile, 4) levels that remain at the tiles' centres, about their mean."""
    errors = np.array([made.corrections[name].coefficients[:, 0] + truth[name][:, 0] for name in truth])
    return errors - errors.mean(axis=0)


def test_balance_leaves_a_clean_region_unchanged() -> None:
    grid = name_tiles(4, 5)
    none = {name: np.zeros((4, 3)) for name in grid}
    for slope in ((0, 0), (6, -4)):  # the second: a landscape that brightens over a thousand kilometres
        made = balance_colors(grid, make_overlaps(grid, none, noise=0), make_trends(grid, slope=slope))
        assert made == BalanceResult(dict.fromkeys(grid, NO_CORRECTION), IlluminationGradient())


def test_balance_changes_a_clean_region_with_noise_by_less_than_half_a_level() -> None:
    grid = name_tiles(4, 5)
    none = {name: np.zeros((4, 3)) for name in grid}
    made = balance_colors(grid, make_overlaps(grid, none, noise=0.2), make_trends(grid))
    assert max(np.abs(one.coefficients).max() for one in made.corrections.values()) < 0.5


def test_balance_removes_constant_differences_without_slopes() -> None:
    grid = name_tiles(4, 4)
    truth = make_faults(grid, level=5, slope=0)
    made = balance_colors(grid, make_overlaps(grid, truth), make_trends(grid, truth))
    assert np.abs(compute_errors(made, truth)).max() < 0.35
    assert max(np.abs(one.coefficients[:, 1:]).max() for one in made.corrections.values()) < 0.35


def test_balance_levels_one_tile_with_uneven_light() -> None:
    grid = name_tiles(5, 5)
    truth = {name: np.zeros((4, 3)) for name in grid}
    truth["22"] = np.array([[8.0, 3, -4]] * 4)
    made = balance_colors(grid, make_overlaps(grid, truth), make_trends(grid, truth))
    # a fifth of its slopes is attributed to a plane through its row and its column
    np.testing.assert_allclose(made.corrections["22"].coefficients, -truth["22"], atol=1.2)
    assert np.abs(compute_errors(made, truth)).max() < 2


def test_balance_separates_light_equal_in_all_tiles_from_landscape() -> None:
    grid = name_tiles(3, 3)
    light = np.array([[0.0, 3, -4]] * 4)
    truth = {name: fault + light for name, fault in make_faults(grid, level=2, slope=0).items()}
    made = balance_colors(grid, make_overlaps(grid, truth), make_trends(grid, truth))
    np.testing.assert_allclose(made.gradient, (-3, 4), atol=0.5)
    assert np.abs(compute_errors(made, truth)).max() < 0.7  # one percent
    for correction in made.corrections.values():
        np.testing.assert_allclose(correction.coefficients[:, 1:], -light[:, 1:], atol=0.5)


@pytest.mark.parametrize("seed", range(20))
def test_balance_does_not_mistake_a_rising_landscape_for_light(seed: int) -> None:
    grid = name_tiles(3, 3)
    truth = make_faults(grid, level=2, slope=0, seed=seed)
    assert (
        balance_colors(grid, make_overlaps(grid, truth), make_trends(grid, truth, slope=(4, -3))).gradient
        == IlluminationGradient()
    )


def test_balance_does_not_mistake_a_slope_of_single_bands_for_light() -> None:
    grid = name_tiles(3, 3)
    greening = np.array([[0.0, 4, 0], [0, 3, 0], [0, 4, 0], [0, -4, 0]])
    truth = dict.fromkeys(grid, greening)
    assert balance_colors(grid, make_overlaps(grid, truth), make_trends(grid, truth)).gradient == IlluminationGradient()


def test_balance_keeps_the_mean_level_of_the_region() -> None:
    grid = name_tiles(4, 4)
    truth = make_faults(grid, level=5, slope=0.5)
    made = balance_colors(grid, make_overlaps(grid, truth), make_trends(grid, truth))
    mean = np.mean([one.coefficients[:, 0] for one in made.corrections.values()], axis=0)
    np.testing.assert_allclose(mean, 0, atol=0.1)


def test_balance_ignores_one_wrong_overlap() -> None:
    grid = name_tiles(3, 3)
    none = {name: np.zeros((4, 3)) for name in grid}
    found = make_overlaps(grid, none)
    wrong = found[4]
    found[4] = replace(wrong, pieces=tuple(replace(piece, levels=(20.0,) * 4) for piece in wrong.pieces))
    for correction in balance_colors(grid, found, make_trends(grid)).corrections.values():
        assert np.abs(correction.coefficients).max() < 1


def test_balance_leaves_a_tile_without_overlaps_unchanged() -> None:
    grid = name_tiles(1, 2)
    truth = make_faults(grid, level=5, slope=0)
    made = balance_colors(
        [*grid, "alone"], make_overlaps(grid, truth), make_trends(grid, truth) | make_trends({"alone": (9, 9)})
    )
    assert made.corrections["alone"] == NO_CORRECTION
    assert balance_colors(["00", "01"], [], make_trends(grid)).corrections == {"00": NO_CORRECTION, "01": NO_CORRECTION}


@given(st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=15)
def test_balance_does_not_depend_on_the_order_of_tiles_or_overlaps(random: Random) -> None:
    grid = name_tiles(3, 4)
    truth = make_faults(grid, level=4, slope=1)
    found, lands = make_overlaps(grid, truth), make_trends(grid, truth)
    expected = balance_colors(grid, found, lands)
    shuffled = [_exchange_tiles(overlap) if random.random() < 0.5 else overlap for overlap in found]
    random.shuffle(shuffled)
    assert balance_colors(random.sample(list(grid), len(grid)), shuffled, lands) == expected


def _exchange_tiles(overlap: Overlap) -> Overlap:
    pieces = (
        Piece(one.in_b, one.in_a, tuple(-level for level in one.levels), one.weights, one.pixels)
        for one in overlap.pieces
    )
    return Overlap(overlap.b, overlap.a, tuple(pieces))


def test_balance_keeps_most_corrections_when_one_tile_changes_a_little() -> None:
    grid = {f"{row:02}{col:02}": (row, col) for row in range(12) for col in range(12)}
    truth = make_faults(grid, level=4, slope=0.5)
    before = balance_colors(grid, make_overlaps(grid, truth), make_trends(grid, truth)).corrections
    changed = truth | {"0507": truth["0507"] + np.array([[0.5, 0, 0]] * 4)}
    after = balance_colors(grid, make_overlaps(grid, changed), make_trends(grid, changed)).corrections
    moved = {name for name in grid if before[name] != after[name]}
    assert "0507" in moved
    assert len(moved) < 0.2 * len(grid)


def test_balance_keeps_frozen_corrections_and_adjusts_a_new_tile_to_them() -> None:
    grid = name_tiles(2, 3)
    truth = make_faults(grid, level=4, slope=0)
    old = {name: place for name, place in grid.items() if name != "12"}
    first = balance_colors(old, make_overlaps(old, truth), make_trends(old, truth))
    joined = balance_colors(
        grid, make_overlaps(grid, truth), make_trends(grid, truth), first.corrections, first.gradient
    )
    assert {name: joined.corrections[name] for name in old} == first.corrections
    new = joined.corrections["12"].coefficients[:, 0] + truth["12"][:, 0]
    beside = joined.corrections["11"].coefficients[:, 0] + truth["11"][:, 0]
    np.testing.assert_allclose(new, beside, atol=0.5)


def test_balance_names_an_overlap_with_an_unknown_tile() -> None:
    grid = name_tiles(1, 2)
    with pytest.raises(RasterError, match="the overlap of 00 and 01 does not join two of the run's tiles"):
        balance_colors(["00"], make_overlaps(grid, make_faults(grid, 1, 0)), make_trends(grid))


def test_correction_plane_is_clipped_rounded_and_stored_as_plain_numbers() -> None:
    made = CorrectionPlane.from_coefficients(np.array([[99.0, -99, 0.149], [-0.01, 0, 0], [1.26, 0, 0], [0, 0, 0]]))
    assert made.centre == (LEVEL_LIMIT, 0.0, 1.2, 0.0)
    assert made.east == (-SLOPE_LIMIT, 0.0, 0.0, 0.0)
    assert made.south == (0.2, 0.0, 0.0, 0.0)
    assert CorrectionPlane.from_json(made.to_json()) == made
    assert made.gains[0] == pytest.approx(1.326, abs=0.001)
    assert str(made.to_json()["centre"]) == "[20.0, 0.0, 1.2, 0.0]"


def test_correction_plane_evaluates_a_plane_over_the_tile() -> None:
    plane = CorrectionPlane((1.0, 0, 0, 0), (2.0, 0, 0, 0), (4.0, 0, 0, 0)).evaluate(
        np.array([-1.0, 0, 1]), np.array([-1.0, 1])
    )
    np.testing.assert_array_equal(plane.rows[0][:, None] + plane.cols[0], [[-5, -1], [-1, 3], [3, 7]])


def make_ground(seed: int, shape: tuple[int, int] = (82, 915)) -> UInt8:
    rng = np.random.default_rng(seed)
    fields = np.kron(rng.normal(0, 12, (4, shape[0] // 5 + 1, shape[1] // 5 + 1)), np.ones((1, 5, 5)))
    return np.clip(np.rint(95 + fields[:, : shape[0], : shape[1]] + rng.normal(0, 2, (4, *shape))), 2, 254).astype(
        np.uint8
    )


def measure_pieces(a: UInt8, b: UInt8) -> list[PieceStatistics]:
    return list(measure_overlap(a, b, 915, np.full(4, 95.0)))


def test_measure_overlap_gives_the_difference_in_each_quarter_of_a_strip() -> None:
    a = make_ground(1)
    found = measure_pieces(a, a + np.array([3, 0, 250, 7], np.uint8)[:, None, None])  # 250: 6 less, modulo 256
    assert len(found) == PIECES_PER_SIDE
    np.testing.assert_allclose([piece.x for piece in found], [114, 343, 572, 801], atol=6)
    for piece in found:
        np.testing.assert_allclose(piece.levels, (3, 0, -6, 7), atol=1e-3)
        assert abs(piece.y - 41) < 2


def test_measure_overlap_changes_sign_when_tiles_are_exchanged() -> None:
    there, back = measure_pieces(make_ground(1), make_ground(2)), measure_pieces(make_ground(2), make_ground(1))
    for one, other in zip(there, back, strict=True):
        np.testing.assert_allclose(one.levels, np.negative(other.levels), atol=0.01)
        assert (one.y, one.x, one.pixels, one.weights) == (other.y, other.x, other.pixels, other.weights)


def test_measure_overlap_ignores_pixels_that_have_changed_in_one_band() -> None:
    a = make_ground(1)
    b = a + 4
    b[0, :, :300] -= 60  # sown since
    b[3, :, :300] += 2  # alone, this would count
    first, *others = measure_pieces(a, b)
    for piece in others[1:]:
        np.testing.assert_allclose(piece.levels, 4, atol=0.01)
    mixed = measure_pieces(
        a, np.where(np.arange(915) % 3 == 0, b - np.array([60, 0, 0, 2], np.uint8)[:, None, None], b)
    )
    for piece in mixed[2:]:
        np.testing.assert_allclose(piece.levels, 4, atol=0.01)
    assert first.pixels > 0


def test_measure_overlap_ignores_water() -> None:
    a = make_ground(1)
    a[:, :, :700] = np.array([30, 40, 50, 12])[:, None, None]
    b = a + 2
    b[:, :, :700] += 9  # glint
    assert not compute_land_mask(a)[:, :700].any()
    found = measure_pieces(a, b)
    assert {round(level) for piece in found for level in piece.levels} == {2}


def test_measure_overlap_extrapolates_dark_ground_to_the_reference_level() -> None:
    a = make_ground(1) - 20
    b = np.rint(a + 5 + 0.05 * (a.astype(float) - 95)).astype(np.uint8)
    for piece in measure_pieces(a, b):
        np.testing.assert_allclose(piece.levels, 5, atol=0.5)  # in the strip itself the difference is 4


def test_measure_overlap_skips_pieces_with_too_few_usable_pixels() -> None:
    assert measure_pieces(np.full((4, 9, 9), 90, np.uint8), np.full((4, 9, 9), 92, np.uint8)) == []
    assert measure_pieces(np.full((4, 90, 90), 255, np.uint8), np.full((4, 90, 90), 92, np.uint8)) == []


def test_land_trend_is_fitted_though_half_of_the_tile_is_sea() -> None:
    v, u = np.mgrid[-1:1:200j, -1:1:150j]
    image = np.rint(np.stack([100 + 4 * u - 7 * v] * 4)).astype(np.uint8)
    image[:, :, :60] = np.array([20, 30, 40, 8])[:, None, None]
    plane = LandTrend.from_image(image)
    assert plane.share == pytest.approx(0.6)
    np.testing.assert_allclose(plane.levels, 100, atol=0.5)
    np.testing.assert_allclose(plane.east, 4, atol=0.6)
    np.testing.assert_allclose(plane.south, -7, atol=0.6)
    assert LandTrend.from_image(np.zeros((4, 9, 9), np.uint8)).share == 0


def test_overlap_survives_json_and_back() -> None:
    grid = name_tiles(1, 2)
    (overlap,) = make_overlaps(grid, make_faults(grid, 3, 0))
    assert Overlap.from_json(overlap.to_json()) == overlap
    none = dict.fromkeys(grid, NO_CORRECTION)
    np.testing.assert_allclose(
        overlap.compute_residual(none), np.mean([p.levels for p in overlap.pieces], axis=0), atol=0.01
    )

"""Facts about bringing the tiles of a region to one radiometry."""

from dataclasses import replace
from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2ops.constants import Float64, UInt8
from s2ops.errors import RasterError
from s2ops.mosaic.balance.color_balance import Balanced, balance
from s2ops.mosaic.balance.correction_plane import LEVEL_LIMIT, SLOPE_LIMIT, UNCHANGED, Correction
from s2ops.mosaic.balance.illumination_gradient import Land, Light
from s2ops.mosaic.balance.overlap_statistics import PIECES, Measured, Overlap, Piece, Place, compare, land

PITCH = 1.82
"""From centre to centre of neighbours, in half tiles: 100 km of 109.8."""

Truth = dict[str, Float64]
"""(4, 3) levels that a tile is too bright by: at its centre, more at its eastern edge, more at its southern one."""


def names(rows: int, cols: int) -> dict[str, tuple[int, int]]:
    """Tiles of a region in a square; row 0 is the northernmost."""
    return {f"{row}{col}": (row, col) for row in range(rows) for col in range(cols)}


def overlaps(grid: dict[str, tuple[int, int]], truth: Truth, noise: float = 0.05) -> list[Overlap]:
    """What tiles of these faults show of their common ground."""
    rng, found = np.random.default_rng(0), []
    for (a, here), (b, there) in product(grid.items(), grid.items()):
        down, right = there[0] - here[0], there[1] - here[1]
        if not a < b or max(abs(down), abs(right)) > 1:
            continue
        along = (-0.75, -0.25, 0.25, 0.75) if 0 in {down, right} else (0.0,)
        pieces = []
        for part in along:
            at = Place(0.91 * down if down else part, 0.91 * right if right else part)
            other = Place(at.y - PITCH * down, at.x - PITCH * right)
            levels = truth[b] @ [1, other.x, other.y] - truth[a] @ [1, at.x, at.y] + rng.normal(0, noise, 4)
            pieces.append(Piece(at, other, tuple(levels), (100.0,) * 4, 10_000))
        found.append(Overlap(a, b, tuple(pieces)))
    return found


def flat(
    grid: dict[str, tuple[int, int]], truth: Truth | None = None, slope: tuple[float, float] = (0, 0)
) -> dict[str, Land]:
    """Land as the tiles show it: level ground, or one that rises by `slope` levels a half tile, and their faults."""
    planes = {}
    for name, (row, col) in grid.items():
        plane = np.tile([90 + PITCH * (slope[0] * col + slope[1] * row), *slope], (4, 1))
        plane = plane + (truth[name] if truth else 0)
        planes[name] = Land(*(tuple(part) for part in plane.T), share=1.0)
    return planes


def faults(grid: dict[str, tuple[int, int]], level: float, slope: float, seed: int = 0) -> Truth:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, [level, slope, slope], (4, 3)) for name in grid}


def left_over(made: Balanced, truth: Truth) -> Float64:
    """(tile, 4): levels between the tiles' middles that remain, about their mean."""
    errors = np.array([made.corrections[name].solved[:, 0] + truth[name][:, 0] for name in truth])
    return errors - errors.mean(axis=0)


def test_a_clean_region_stays_as_it_is() -> None:
    grid = names(4, 5)
    none = {name: np.zeros((4, 3)) for name in grid}
    for slope in ((0, 0), (6, -4)):  # a landscape that brightens over a thousand kilometres is landscape
        made = balance(grid, overlaps(grid, none, noise=0), flat(grid, slope=slope))
        assert made == Balanced(dict.fromkeys(grid, UNCHANGED), Light())


def test_noise_in_the_overlaps_moves_no_tile_of_a_clean_region_by_half_a_level() -> None:
    grid = names(4, 5)
    none = {name: np.zeros((4, 3)) for name in grid}
    made = balance(grid, overlaps(grid, none, noise=0.2), flat(grid))
    assert max(np.abs(one.solved).max() for one in made.corrections.values()) < 0.5


def test_constant_differences_are_taken_away_and_leave_no_slopes() -> None:
    grid = names(4, 4)
    truth = faults(grid, level=5, slope=0)
    made = balance(grid, overlaps(grid, truth), flat(grid, truth))
    assert np.abs(left_over(made, truth)).max() < 0.35
    assert max(np.abs(one.solved[:, 1:]).max() for one in made.corrections.values()) < 0.35


def test_one_tile_with_uneven_light_is_made_even() -> None:
    grid = names(5, 5)
    truth = {name: np.zeros((4, 3)) for name in grid}
    truth["22"] = np.array([[8.0, 3, -4]] * 4)
    made = balance(grid, overlaps(grid, truth), flat(grid, truth))
    # a fifth of its slopes could as well be a plane through its row and its column, and is taken for that
    np.testing.assert_allclose(made.corrections["22"].solved, -truth["22"], atol=1.2)
    assert np.abs(left_over(made, truth)).max() < 2


def test_light_that_falls_alike_over_all_tiles_is_told_from_landscape() -> None:
    grid = names(3, 3)
    light = np.array([[0.0, 3, -4]] * 4)
    truth = {name: fault + light for name, fault in faults(grid, level=2, slope=0).items()}
    made = balance(grid, overlaps(grid, truth), flat(grid, truth))
    np.testing.assert_allclose(made.light, (-3, 4), atol=0.5)
    assert np.abs(left_over(made, truth)).max() < 0.7  # one percent
    for correction in made.corrections.values():
        np.testing.assert_allclose(correction.solved[:, 1:], -light[:, 1:], atol=0.5)


@pytest.mark.parametrize("seed", range(20))
def test_a_rising_landscape_is_not_taken_for_light_whatever_the_gains(seed: int) -> None:
    grid = names(3, 3)
    truth = faults(grid, level=2, slope=0, seed=seed)
    assert balance(grid, overlaps(grid, truth), flat(grid, truth, slope=(4, -3))).light == Light()


def test_a_slope_that_the_bands_do_not_share_is_not_taken_for_light() -> None:
    grid = names(3, 3)
    greening = np.array([[0.0, 4, 0], [0, 3, 0], [0, 4, 0], [0, -4, 0]])
    truth = dict.fromkeys(grid, greening)
    assert balance(grid, overlaps(grid, truth), flat(grid, truth)).light == Light()


def test_the_whole_keeps_its_radiometry() -> None:
    grid = names(4, 4)
    truth = faults(grid, level=5, slope=0.5)
    made = balance(grid, overlaps(grid, truth), flat(grid, truth))
    mean = np.mean([one.solved[:, 0] for one in made.corrections.values()], axis=0)
    np.testing.assert_allclose(mean, 0, atol=0.1)


def test_one_wrong_overlap_is_outvoted() -> None:
    grid = names(3, 3)
    none = {name: np.zeros((4, 3)) for name in grid}
    found = overlaps(grid, none)
    wrong = found[4]
    found[4] = replace(wrong, pieces=tuple(replace(piece, levels=(20.0,) * 4) for piece in wrong.pieces))
    for correction in balance(grid, found, flat(grid)).corrections.values():
        assert np.abs(correction.solved).max() < 1


def test_a_tile_without_overlaps_stays_as_it_is() -> None:
    grid = names(1, 2)
    truth = faults(grid, level=5, slope=0)
    made = balance([*grid, "alone"], overlaps(grid, truth), flat(grid, truth) | flat({"alone": (9, 9)}))
    assert made.corrections["alone"] == UNCHANGED
    assert balance(["00", "01"], [], flat(grid)).corrections == {"00": UNCHANGED, "01": UNCHANGED}


@given(st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=15)
def test_neither_the_order_of_tiles_nor_of_overlaps_changes_a_correction(random: Random) -> None:
    grid = names(3, 4)
    truth = faults(grid, level=4, slope=1)
    found, lands = overlaps(grid, truth), flat(grid, truth)
    expected = balance(grid, found, lands)
    shuffled = [_turned(overlap) if random.random() < 0.5 else overlap for overlap in found]
    random.shuffle(shuffled)
    assert balance(random.sample(list(grid), len(grid)), shuffled, lands) == expected


def _turned(overlap: Overlap) -> Overlap:
    pieces = (
        Piece(one.in_b, one.in_a, tuple(-level for level in one.levels), one.weights, one.pixels)
        for one in overlap.pieces
    )
    return Overlap(overlap.b, overlap.a, tuple(pieces))


def test_a_tile_that_changes_a_little_leaves_most_others_their_corrections() -> None:
    grid = {f"{row:02}{col:02}": (row, col) for row in range(12) for col in range(12)}
    truth = faults(grid, level=4, slope=0.5)
    before = balance(grid, overlaps(grid, truth), flat(grid, truth)).corrections
    changed = truth | {"0507": truth["0507"] + np.array([[0.5, 0, 0]] * 4)}
    after = balance(grid, overlaps(grid, changed), flat(grid, changed)).corrections
    moved = {name for name in grid if before[name] != after[name]}
    assert "0507" in moved
    assert len(moved) < 0.2 * len(grid)


def test_frozen_tiles_keep_their_corrections_and_a_new_one_joins_them() -> None:
    grid = names(2, 3)
    truth = faults(grid, level=4, slope=0)
    old = {name: place for name, place in grid.items() if name != "12"}
    first = balance(old, overlaps(old, truth), flat(old, truth))
    joined = balance(grid, overlaps(grid, truth), flat(grid, truth), first.corrections, first.light)
    assert {name: joined.corrections[name] for name in old} == first.corrections
    new = joined.corrections["12"].solved[:, 0] + truth["12"][:, 0]
    beside = joined.corrections["11"].solved[:, 0] + truth["11"][:, 0]
    np.testing.assert_allclose(new, beside, atol=0.5)


def test_an_overlap_with_an_unknown_tile_is_named() -> None:
    grid = names(1, 2)
    with pytest.raises(RasterError, match="the overlap of 00 and 01 does not join two of the run's tiles"):
        balance(["00"], overlaps(grid, faults(grid, 1, 0)), flat(grid))


def test_corrections_are_clipped_rounded_and_stored_as_plain_numbers() -> None:
    made = Correction.of(np.array([[99.0, -99, 0.149], [-0.01, 0, 0], [1.26, 0, 0], [0, 0, 0]]))
    assert made.centre == (LEVEL_LIMIT, 0.0, 1.2, 0.0)
    assert made.east == (-SLOPE_LIMIT, 0.0, 0.0, 0.0)
    assert made.south == (0.2, 0.0, 0.0, 0.0)
    assert Correction.read(made.to_json()) == made
    assert made.gains[0] == pytest.approx(1.326, abs=0.001)
    assert str(made.to_json()["centre"]) == "[20.0, 0.0, 1.2, 0.0]"


def test_a_correction_is_a_plane_over_the_tile() -> None:
    plane = Correction((1.0, 0, 0, 0), (2.0, 0, 0, 0), (4.0, 0, 0, 0)).plane(
        np.array([-1.0, 0, 1]), np.array([-1.0, 1])
    )
    np.testing.assert_array_equal(plane.rows[0][:, None] + plane.cols[0], [[-5, -1], [-1, 3], [3, 7]])


def ground(seed: int, shape: tuple[int, int] = (82, 915)) -> UInt8:
    rng = np.random.default_rng(seed)
    fields = np.kron(rng.normal(0, 12, (4, shape[0] // 5 + 1, shape[1] // 5 + 1)), np.ones((1, 5, 5)))
    return np.clip(np.rint(95 + fields[:, : shape[0], : shape[1]] + rng.normal(0, 2, (4, *shape))), 2, 254).astype(
        np.uint8
    )


def seen(a: UInt8, b: UInt8) -> list[Measured]:
    return list(compare(a, b, 915, np.full(4, 95.0)))


def test_the_pieces_of_a_strip_are_its_quarters_and_say_how_far_apart_two_tiles_are() -> None:
    a = ground(1)
    found = seen(a, a + np.array([3, 0, 250, 7], np.uint8)[:, None, None])  # 250: 6 less, modulo 256
    assert len(found) == PIECES
    np.testing.assert_allclose([piece.x for piece in found], [114, 343, 572, 801], atol=6)
    for piece in found:
        np.testing.assert_allclose(piece.levels, (3, 0, -6, 7), atol=1e-3)
        assert abs(piece.y - 41) < 2


def test_turned_round_the_pieces_change_their_sign() -> None:
    there, back = seen(ground(1), ground(2)), seen(ground(2), ground(1))
    for one, other in zip(there, back, strict=True):
        np.testing.assert_allclose(one.levels, np.negative(other.levels), atol=0.01)
        assert (one.y, one.x, one.pixels, one.weights) == (other.y, other.x, other.pixels, other.weights)


def test_what_has_changed_in_one_band_counts_in_none() -> None:
    a = ground(1)
    b = a + 4
    b[0, :, :300] -= 60  # sown since
    b[3, :, :300] += 2  # alone, this would be believed
    first, *others = seen(a, b)
    for piece in others[1:]:
        np.testing.assert_allclose(piece.levels, 4, atol=0.01)
    mixed = seen(a, np.where(np.arange(915) % 3 == 0, b - np.array([60, 0, 0, 2], np.uint8)[:, None, None], b))
    for piece in mixed[2:]:
        np.testing.assert_allclose(piece.levels, 4, atol=0.01)
    assert first.pixels > 0


def test_water_is_left_out() -> None:
    a = ground(1)
    a[:, :, :700] = np.array([30, 40, 50, 12])[:, None, None]
    b = a + 2
    b[:, :, :700] += 9  # glint
    assert not land(a)[:, :700].any()
    found = seen(a, b)
    assert {round(level) for piece in found for level in piece.levels} == {2}


def test_an_overlap_of_dark_ground_speaks_for_land_of_usual_brightness() -> None:
    a = ground(1) - 20
    b = np.rint(a + 5 + 0.05 * (a.astype(float) - 95)).astype(np.uint8)
    for piece in seen(a, b):
        np.testing.assert_allclose(piece.levels, 5, atol=0.5)  # the strip itself says 4


def test_too_few_usable_pixels_say_nothing() -> None:
    assert seen(np.full((4, 9, 9), 90, np.uint8), np.full((4, 9, 9), 92, np.uint8)) == []
    assert seen(np.full((4, 90, 90), 255, np.uint8), np.full((4, 90, 90), 92, np.uint8)) == []


def test_the_plane_of_a_tiles_land_is_found_though_half_of_it_is_sea() -> None:
    v, u = np.mgrid[-1:1:200j, -1:1:150j]
    image = np.rint(np.stack([100 + 4 * u - 7 * v] * 4)).astype(np.uint8)
    image[:, :, :60] = np.array([20, 30, 40, 8])[:, None, None]
    plane = Land.of(image)
    assert plane.share == pytest.approx(0.6)
    np.testing.assert_allclose(plane.levels, 100, atol=0.5)
    np.testing.assert_allclose(plane.east, 4, atol=0.6)
    np.testing.assert_allclose(plane.south, -7, atol=0.6)
    assert Land.of(np.zeros((4, 9, 9), np.uint8)).share == 0


def test_an_overlap_goes_to_json_and_back() -> None:
    grid = names(1, 2)
    (overlap,) = overlaps(grid, faults(grid, 3, 0))
    assert Overlap.read(overlap.to_json()) == overlap
    none = dict.fromkeys(grid, UNCHANGED)
    np.testing.assert_allclose(overlap.remaining(none), np.mean([p.levels for p in overlap.pieces], axis=0), atol=0.01)

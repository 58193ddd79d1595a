"""Facts about the blending of neighbouring tiles."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter

from s2ops.constants import Bool, Float32
from s2ops.errors import RasterError
from s2ops.mosaic.balance.correction_plane import Correction
from s2ops.mosaic.blend.feather_blend import (
    Blended,
    Blender,
    Layer,
    TileWeight,
    alone,
    blend,
    corrected,
    spans,
    valid_cells,
)
from s2ops.mosaic.blend.low_pass import SIDE as SIDE_AFAR
from s2ops.mosaic.blend.low_pass import FromAfar
from s2ops.quality.gradient_energy import Energy

RES = 120.0
SIDE = 60
"""Pixels of a test tile: 12 cells of 600 m."""

CORNERS = {"A": (0, 0), "B": (4, 38), "C": (41, 2), "D": (37, 43)}
"""Upper left pixel of four tiles that share a corner, on one large grid."""


def levels(name: str) -> Float32:
    rng = np.random.default_rng(ord(name))
    return rng.uniform(1, 255, (4, SIDE, SIDE)).astype(np.float32)


def afar(name: str) -> Float32:
    """Smooth, and of another mean for each tile."""
    rows, cols = np.indices((SIDE, SIDE))
    return np.stack([90 + 3 * ord(name) % 7 + band + rows / 9 - cols / 13 for band in range(4)]).astype(np.float32)


def weight_of(valid: Bool, ramp_m: float = 2_400) -> Float32:
    tile = TileWeight.of(valid_cells((SIDE, SIDE), RES).feed(valid), RES, ramp_m)
    return tile.rows(0, SIDE, SIDE)


def valid_masks() -> dict[str, Bool]:
    """A is whole, B lacks a wedge towards A, C has holes, D lacks its right half."""
    masks = {name: np.ones((SIDE, SIDE), np.bool_) for name in CORNERS}
    rows, cols = np.indices((SIDE, SIDE))
    masks["B"][cols < 12 - rows // 3] = False
    masks["C"][np.random.default_rng(1).random((SIDE, SIDE)) > 0.98] = False
    masks["D"][:, 30:] = False
    return masks


def seen_from(viewer: str, masks: dict[str, Bool], order: tuple[str, ...] = ("A", "B", "C", "D")) -> Blended:
    """The mosaic of tile `viewer`: each tile's own weights, clipped to the viewer's grid."""
    top, left = CORNERS[viewer]
    layers = []
    for name in order:
        dy, dx = CORNERS[name][0] - top, CORNERS[name][1] - left
        own = (slice(max(-dy, 0), SIDE - max(dy, 0)), slice(max(-dx, 0), SIDE - max(dx, 0)))
        layers.append(
            Layer(
                name,
                levels(name)[:, own[0], own[1]],
                afar(name)[:, own[0], own[1]],
                weight_of(masks[name])[own],
                masks[name][own],
                max(dy, 0),
                max(dx, 0),
            )
        )
    return blend((SIDE, SIDE), layers)


def test_every_viewer_sees_the_same_pixels_in_the_overlaps() -> None:
    masks = valid_masks()
    canvas = np.zeros((4, 110, 110), np.uint8)
    source = np.zeros((110, 110), np.uint8)
    for viewer, (top, left) in CORNERS.items():
        view = seen_from(viewer, masks)
        place = (slice(top, top + SIDE), slice(left, left + SIDE))
        known = (canvas[:, place[0], place[1]] != 0).all(axis=0)
        assert known.any() == (viewer != "A")
        np.testing.assert_array_equal(view.levels[:, known], canvas[:, place[0], place[1]][:, known])
        np.testing.assert_array_equal(view.dominant[known], source[place][known])
        canvas[:, place[0], place[1]] = view.levels
        source[place] = view.dominant


@given(masks=arrays(np.bool_, (4, 6, 6)))
@settings(deadline=None, max_examples=25)
def test_blending_is_symmetric_whatever_is_valid(masks: Bool) -> None:
    """Any holes, in blocks of 10 x 10 pixels: what two tiles share looks the same from both, where three meet too."""
    valid = {name: np.kron(mask, np.ones((10, 10), np.bool_)) for name, mask in zip(CORNERS, masks, strict=True)}
    seen = {name: seen_from(name, valid) for name in CORNERS}
    for a, b in permutations(CORNERS, 2):
        dy, dx = CORNERS[b][0] - CORNERS[a][0], CORNERS[b][1] - CORNERS[a][1]
        in_a = (slice(max(dy, 0), SIDE + min(dy, 0)), slice(max(dx, 0), SIDE + min(dx, 0)))
        in_b = (slice(max(-dy, 0), SIDE - max(dy, 0)), slice(max(-dx, 0), SIDE - max(dx, 0)))
        np.testing.assert_array_equal(seen[a].levels[:, *in_a], seen[b].levels[:, *in_b])
        np.testing.assert_array_equal(seen[a].dominant[in_a], seen[b].dominant[in_b])


def test_the_order_of_tiles_changes_no_byte() -> None:
    masks = valid_masks()
    first = seen_from("A", masks)
    for order in permutations(CORNERS):
        other = seen_from("A", masks, order)
        assert other.names == first.names == ("A", "B", "C", "D")
        np.testing.assert_array_equal(other.levels, first.levels)
        np.testing.assert_array_equal(other.dominant, first.dominant)


def test_a_pixel_that_one_tile_shows_is_that_tiles_pixel_and_coverage_is_the_union() -> None:
    masks = valid_masks()
    view = seen_from("A", masks)
    shown = np.zeros((4, SIDE, SIDE), np.bool_)
    for number, (name, (top, left)) in enumerate(CORNERS.items()):
        shown[number, top:, left:] = masks[name][: SIDE - top, : SIDE - left]
    np.testing.assert_array_equal(view.dominant != 0, shown.any(axis=0))
    np.testing.assert_array_equal((view.levels != 0).all(axis=0), shown.any(axis=0))
    only_a = shown[0] & ~shown[1:].any(axis=0)
    np.testing.assert_array_equal(view.levels[:, only_a], np.rint(levels("A"))[:, only_a])
    chosen = np.take_along_axis(shown, np.maximum(view.dominant.astype(np.int64), 1)[None] - 1, axis=0)[0]
    assert chosen.all()


def test_holes_of_one_tile_are_filled_by_its_neighbour_alone() -> None:
    mask = np.ones((SIDE, SIDE), np.bool_)
    holed = mask.copy()
    holed[20:25, 31:33] = False
    whole = Layer("A", levels("A"), afar("A"), weight_of(mask), mask)
    view = blend((SIDE, SIDE), [whole, Layer("B", levels("B"), afar("B"), weight_of(holed), holed)])
    np.testing.assert_array_equal(view.levels[:, ~holed], np.rint(levels("A"))[:, ~holed])
    assert (view.dominant[~holed] == 1).all()


LAYERS = st.lists(
    st.tuples(arrays(np.bool_, (5, 7)), arrays(np.float32, (5, 7), elements=st.floats(0, 1, width=32))),
    min_size=1,
    max_size=4,
)


@given(LAYERS)
@settings(deadline=None)
def test_weights_sum_to_one_so_equal_layers_stay_as_they_are(parts: list[tuple[Bool, Float32]]) -> None:
    constant = np.full((4, 5, 7), 117, np.float32)
    view = blend((5, 7), [Layer(f"{n}", constant, constant, weight, valid) for n, (valid, weight) in enumerate(parts)])
    covered = np.any([valid for valid, _ in parts], axis=0)
    np.testing.assert_array_equal(view.levels, np.broadcast_to(np.where(covered, 117, 0), (4, 5, 7)))


@given(LAYERS)
@settings(deadline=None)
def test_coverage_never_shrinks_and_the_dominant_tile_is_valid(parts: list[tuple[Bool, Float32]]) -> None:
    rng = np.random.default_rng(0)
    layers = [
        Layer(f"{n}", *rng.uniform(1, 255, (2, 4, 5, 7)).astype(np.float32), weight, valid)
        for n, (valid, weight) in enumerate(parts)
    ]
    view = blend((5, 7), layers)
    assert view.levels.dtype == view.dominant.dtype == np.uint8
    np.testing.assert_array_equal((view.levels != 0).all(axis=0), np.any([valid for valid, _ in parts], axis=0))
    for number, (valid, _) in enumerate(parts, start=1):
        assert valid[view.dominant == number].all()


@given(mask=arrays(np.bool_, (47, 33)), slabs=st.integers(1, 47), cell=st.integers(1, 20))
@settings(deadline=None)
def test_weights_and_cells_do_not_show_the_slabs_they_came_in(mask: Bool, slabs: int, cell: int) -> None:
    res = 600.0 / cell
    whole = valid_cells(mask.shape, res).feed(mask)
    cut = valid_cells(mask.shape, res)
    tops = list(range(0, 47, slabs))
    for top in reversed(tops):
        cut.feed(mask[top : top + slabs], top)
    np.testing.assert_array_equal(cut.cells, whole.cells)
    tile = TileWeight.of(whole, res, 3000)
    parts = [tile.rows(top, min(top + slabs, 47), 33) for top in tops]
    np.testing.assert_array_equal(np.concatenate(parts), tile.rows(0, 47, 33))


@given(mask=arrays(np.bool_, (SIDE, SIDE), elements=st.just(value=True) | st.booleans()))
@settings(deadline=None, max_examples=20)
def test_a_weight_is_above_zero_everywhere_and_at_most_one(mask: Bool) -> None:
    weight = weight_of(mask)
    assert weight.dtype == np.float32
    assert weight.min() > 0
    assert weight.max() <= 1


def test_a_weight_rises_smoothly_from_the_tiles_border_to_one() -> None:
    weight = weight_of(np.ones((SIDE, SIDE), np.bool_), ramp_m=2_400)
    line = weight[SIDE // 2]
    assert line[0] < 0.003
    assert line[20] == 1  # 20 px of 120 m are the ramp
    assert (np.diff(line[:21]) >= 0).all()
    assert np.diff(line[:21]).max() < 0.08
    np.testing.assert_allclose(weight, weight[::-1, ::-1], atol=1e-6)


def test_a_hole_pulls_the_weight_down_around_it() -> None:
    mask = np.ones((SIDE, SIDE), np.bool_)
    mask[32, 27] = False
    weight = weight_of(mask, ramp_m=2_400)
    assert weight[32, 27] < 0.001
    assert weight[32, 22] < weight[32, 20] < weight[32, 17] < 1


def test_two_whole_tiles_over_the_full_overlap_share_it_evenly() -> None:
    """Ramp and overlap equal: the two weights sum to one at every pixel, before any normalising."""
    weight = weight_of(np.ones((SIDE, SIDE), np.bool_), ramp_m=1_800)[SIDE // 2]
    np.testing.assert_allclose(weight[:15] + weight[SIDE - 15 :], 1, atol=0.001)


def test_layers_out_of_order_are_refused() -> None:
    ones = np.ones((2, 2), np.bool_)
    blender = Blender((2, 2))
    flat = np.ones((4, 2, 2), np.float32)
    layer = Layer("33TWM", flat, flat, ones.astype(np.float32), ones)
    blender.feed(layer)
    with pytest.raises(RasterError, match="layer 33TWL comes after 33TWM"):
        blender.feed(layer._replace(name="33TWL"))
    with pytest.raises(RasterError, match="layer 33TWM comes after 33TWM"):
        blender.feed(layer)


def test_a_layer_that_leaves_the_slab_is_named() -> None:
    ones = np.ones((2, 2), np.bool_)
    flat = np.ones((4, 2, 2), np.float32)
    layer = Layer("33TWM", flat, flat, ones.astype(np.float32), ones, top=1)
    with pytest.raises(RasterError, match=r"layer 33TWM leaves the slab of \(2, 2\) pixels"):
        blend((2, 2), [layer])
    with pytest.raises(RasterError, match="layer 33TWM has levels of"):
        blend((2, 2), [layer._replace(top=0, levels=np.ones((3, 2, 2), np.float32))])


def test_a_slab_outside_the_raster_is_refused() -> None:
    with pytest.raises(RasterError, match="does not fit a raster"):
        valid_cells((10, 10), 120).feed(np.ones((6, 10), np.bool_), top=5)


@given(valid=arrays(np.bool_, (6, 256)), centre=st.floats(-20, 20), slope=st.floats(-10, 10))
@settings(deadline=None)
def test_a_tile_alone_is_copied_as_blending_would_make_it(valid: Bool, centre: float, slope: float) -> None:
    raw = np.ascontiguousarray(np.broadcast_to(np.arange(256, dtype=np.uint8), (4, 6, 256)))
    made = Correction.of(np.array([[centre, slope, -slope]] * 4))
    plane = made.plane(np.linspace(-1, 1, 6), np.linspace(-1, 1, 256))
    seen, known = valid & (raw[0] != 0), corrected(raw, plane)
    assert (known[:, raw[0] == 0] == 0).all()
    blended = blend((6, 256), [Layer("A", known, known, np.full((6, 256), 0.3, np.float32), seen)])
    np.testing.assert_array_equal(alone(raw, seen, plane), blended.levels)


def side_by_side(west: Float32, east: Float32) -> tuple[list[Layer], Blended]:
    """Two tiles over the same 80 x 80 pixels of 120 m: the whole overlap, from where one begins to where one ends."""
    valid = np.ones((80, 80), np.bool_)
    across = np.broadcast_to((np.arange(80, dtype=np.float32) + 0.5) / 80, (80, 80))
    rise = across * across * (3 - 2 * across)
    smooth = [np.stack([gaussian_filter(band, 7) for band in image]) for image in (west, east)]
    layers = [Layer("A", west, smooth[0], 1 - rise, valid), Layer("B", east, smooth[1], rise, valid)]
    return layers, blend((80, 80), layers)


def test_texture_that_does_not_match_is_not_laid_over_one_another() -> None:
    rng = np.random.default_rng(0)
    west, east = (rng.normal(110, 12, (4, 80, 80)).astype(np.float32) for _ in range(2))
    layers, blended = side_by_side(west, east)
    assert Energy.of(blended.levels, layers).kept > 0.93
    plain = west * (1 - layers[1].weight) + east * layers[1].weight
    assert Energy.of(np.rint(plain).astype(np.uint8), layers).kept < 0.8


def test_a_difference_of_colour_is_spread_over_the_whole_overlap() -> None:
    _, blended = side_by_side(np.full((4, 80, 80), 100, np.float32), np.full((4, 80, 80), 120, np.float32))
    row = blended.levels[0, 40].astype(int)
    assert (row[0], row[-1]) == (100, 120)
    assert np.diff(row).max() <= 1
    assert (np.diff(row) >= 0).all()


def test_energy_is_one_for_pictures_that_match_and_unknown_where_none_meet() -> None:
    image = np.random.default_rng(0).integers(20, 200, (4, 80, 80)).astype(np.float32)
    layers, blended = side_by_side(image, image)
    assert Energy.of(blended.levels, layers).kept == pytest.approx(1, abs=1e-3)
    assert Energy.of(blended.levels, layers[:1]).kept is None


def test_from_afar_a_picture_keeps_its_means_and_bridges_its_holes() -> None:
    picture = np.tile(np.array([60, 90, 120, 150], np.uint8)[:, None, None], (1, SIDE_AFAR, SIDE_AFAR))
    picture[:, 100:130, 200:220] = 0
    picture[:, ::2] = np.where(picture[:, ::2] > 0, picture[:, ::2] + 4, 0)
    cells = FromAfar.of(picture).at(np.linspace(0, 1, 50), np.linspace(0, 1, 40))
    assert cells.shape == (4, 50, 40)
    np.testing.assert_allclose(cells, np.broadcast_to([[[62]], [[92]], [[122]], [[152]]], cells.shape), atol=0.8)


def test_spans_cover_all_columns_and_say_where_another_is_seen() -> None:
    assert spans(10, []) == [(slice(0, 10), False)]
    assert spans(10, [(-3, 4)]) == [(slice(0, 4), True), (slice(4, 10), False)]
    assert spans(10, [(7, 10), (0, 8)]) == [(slice(0, 7), True), (slice(7, 8), True), (slice(8, 10), True)]

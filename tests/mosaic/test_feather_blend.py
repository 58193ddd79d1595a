"""Feather blending of neighbouring tiles: symmetry, weights, texture and colour."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter

from s2ops.constants import Bool, Float32
from s2ops.errors import RasterError
from s2ops.mosaic.balance.correction_plane import CorrectionPlane
from s2ops.mosaic.blend.feather_blend import (
    Blender,
    BlendLayer,
    BlendResult,
    apply_correction,
    blend_layers,
    correct_single_tile,
    split_columns,
)
from s2ops.mosaic.blend.low_pass import PREVIEW_SIDE, LowPassImage
from s2ops.mosaic.blend.tile_weight import TileWeight, create_valid_cells
from s2ops.quality.gradient_energy import GradientEnergy

RES = 120.0
SIDE = 60
"""Pixels of a test tile: 12 cells of 600 m."""

CORNERS = {"A": (0, 0), "B": (4, 38), "C": (41, 2), "D": (37, 43)}
"""Upper left pixel of four tiles that share a corner, on one large grid."""


def make_levels(name: str) -> Float32:
    rng = np.random.default_rng(ord(name))
    return rng.uniform(1, 255, (4, SIDE, SIDE)).astype(np.float32)


def make_low_pass(name: str) -> Float32:
    """Make a smooth image, with another mean for each tile."""
    rows, cols = np.indices((SIDE, SIDE))
    return np.stack([90 + 3 * ord(name) % 7 + band + rows / 9 - cols / 13 for band in range(4)]).astype(np.float32)


def compute_weight(valid: Bool, feather_width_m: float = 2_400) -> Float32:
    tile = TileWeight.from_valid_cells(create_valid_cells((SIDE, SIDE), RES).feed(valid), RES, feather_width_m)
    return tile.sample_rows(0, SIDE, SIDE)


def make_valid_masks() -> dict[str, Bool]:
    """Make the masks: A is whole, B lacks a wedge towards A, C has holes, D lacks its right half."""
    masks = {name: np.ones((SIDE, SIDE), np.bool_) for name in CORNERS}
    rows, cols = np.indices((SIDE, SIDE))
    masks["B"][cols < 12 - rows // 3] = False
    masks["C"][np.random.default_rng(1).random((SIDE, SIDE)) > 0.98] = False
    masks["D"][:, 30:] = False
    return masks


def blend_for(tile: str, masks: dict[str, Bool], order: tuple[str, ...] = ("A", "B", "C", "D")) -> BlendResult:
    """Blend the mosaic of `tile`: each tile has its own weights, clipped to the grid of `tile`."""
    top, left = CORNERS[tile]
    layers = []
    for name in order:
        dy, dx = CORNERS[name][0] - top, CORNERS[name][1] - left
        own = (slice(max(-dy, 0), SIDE - max(dy, 0)), slice(max(-dx, 0), SIDE - max(dx, 0)))
        layers.append(
            BlendLayer(
                name,
                make_levels(name)[:, own[0], own[1]],
                make_low_pass(name)[:, own[0], own[1]],
                compute_weight(masks[name])[own],
                masks[name][own],
                max(dy, 0),
                max(dx, 0),
            )
        )
    return blend_layers((SIDE, SIDE), layers)


def test_blend_of_every_tile_has_the_same_pixels_in_the_overlaps() -> None:
    masks = make_valid_masks()
    canvas = np.zeros((4, 110, 110), np.uint8)
    source = np.zeros((110, 110), np.uint8)
    for tile, (top, left) in CORNERS.items():
        view = blend_for(tile, masks)
        place = (slice(top, top + SIDE), slice(left, left + SIDE))
        known = (canvas[:, place[0], place[1]] != 0).all(axis=0)
        assert known.any() == (tile != "A")
        np.testing.assert_array_equal(view.levels[:, known], canvas[:, place[0], place[1]][:, known])
        np.testing.assert_array_equal(view.dominant[known], source[place][known])
        canvas[:, place[0], place[1]] = view.levels
        source[place] = view.dominant


@given(masks=arrays(np.bool_, (4, 6, 6)))
@settings(deadline=None, max_examples=25)
def test_blend_is_symmetric_for_any_valid_masks(masks: Bool) -> None:
    """With any holes, in blocks of 10 x 10 pixels, an overlap is equal in both mosaics, also where three tiles meet."""
    valid = {name: np.kron(mask, np.ones((10, 10), np.bool_)) for name, mask in zip(CORNERS, masks, strict=True)}
    seen = {name: blend_for(name, valid) for name in CORNERS}
    for a, b in permutations(CORNERS, 2):
        dy, dx = CORNERS[b][0] - CORNERS[a][0], CORNERS[b][1] - CORNERS[a][1]
        in_a = (slice(max(dy, 0), SIDE + min(dy, 0)), slice(max(dx, 0), SIDE + min(dx, 0)))
        in_b = (slice(max(-dy, 0), SIDE - max(dy, 0)), slice(max(-dx, 0), SIDE - max(dx, 0)))
        np.testing.assert_array_equal(seen[a].levels[:, *in_a], seen[b].levels[:, *in_b])
        np.testing.assert_array_equal(seen[a].dominant[in_a], seen[b].dominant[in_b])


def test_blend_does_not_depend_on_the_order_of_tiles() -> None:
    masks = make_valid_masks()
    first = blend_for("A", masks)
    for order in permutations(CORNERS):
        other = blend_for("A", masks, order)
        assert other.names == first.names == ("A", "B", "C", "D")
        np.testing.assert_array_equal(other.levels, first.levels)
        np.testing.assert_array_equal(other.dominant, first.dominant)


def test_blend_keeps_pixels_of_single_tiles_and_covers_the_union() -> None:
    masks = make_valid_masks()
    view = blend_for("A", masks)
    shown = np.zeros((4, SIDE, SIDE), np.bool_)
    for number, (name, (top, left)) in enumerate(CORNERS.items()):
        shown[number, top:, left:] = masks[name][: SIDE - top, : SIDE - left]
    np.testing.assert_array_equal(view.dominant != 0, shown.any(axis=0))
    np.testing.assert_array_equal((view.levels != 0).all(axis=0), shown.any(axis=0))
    only_a = shown[0] & ~shown[1:].any(axis=0)
    np.testing.assert_array_equal(view.levels[:, only_a], np.rint(make_levels("A"))[:, only_a])
    chosen = np.take_along_axis(shown, np.maximum(view.dominant.astype(np.int64), 1)[None] - 1, axis=0)[0]
    assert chosen.all()


def test_blend_fills_holes_of_a_tile_from_its_neighbour_alone() -> None:
    mask = np.ones((SIDE, SIDE), np.bool_)
    holed = mask.copy()
    holed[20:25, 31:33] = False
    whole = BlendLayer("A", make_levels("A"), make_low_pass("A"), compute_weight(mask), mask)
    view = blend_layers(
        (SIDE, SIDE), [whole, BlendLayer("B", make_levels("B"), make_low_pass("B"), compute_weight(holed), holed)]
    )
    np.testing.assert_array_equal(view.levels[:, ~holed], np.rint(make_levels("A"))[:, ~holed])
    assert (view.dominant[~holed] == 1).all()


LAYERS = st.lists(
    st.tuples(arrays(np.bool_, (5, 7)), arrays(np.float32, (5, 7), elements=st.floats(0, 1, width=32))),
    min_size=1,
    max_size=4,
)


@given(LAYERS)
@settings(deadline=None)
def test_blend_of_equal_layers_is_that_layer(parts: list[tuple[Bool, Float32]]) -> None:
    constant = np.full((4, 5, 7), 117, np.float32)
    view = blend_layers(
        (5, 7), [BlendLayer(f"{n}", constant, constant, weight, valid) for n, (valid, weight) in enumerate(parts)]
    )
    covered = np.any([valid for valid, _ in parts], axis=0)
    np.testing.assert_array_equal(view.levels, np.broadcast_to(np.where(covered, 117, 0), (4, 5, 7)))


@given(LAYERS)
@settings(deadline=None)
def test_blend_covers_all_valid_pixels_and_its_dominant_tile_is_valid(parts: list[tuple[Bool, Float32]]) -> None:
    rng = np.random.default_rng(0)
    layers = [
        BlendLayer(f"{n}", *rng.uniform(1, 255, (2, 4, 5, 7)).astype(np.float32), weight, valid)
        for n, (valid, weight) in enumerate(parts)
    ]
    view = blend_layers((5, 7), layers)
    assert view.levels.dtype == view.dominant.dtype == np.uint8
    np.testing.assert_array_equal((view.levels != 0).all(axis=0), np.any([valid for valid, _ in parts], axis=0))
    for number, (valid, _) in enumerate(parts, start=1):
        assert valid[view.dominant == number].all()


@given(mask=arrays(np.bool_, (47, 33)), slabs=st.integers(1, 47), cell=st.integers(1, 20))
@settings(deadline=None)
def test_tile_weight_and_cell_mask_in_slabs_equal_the_whole(mask: Bool, slabs: int, cell: int) -> None:
    res = 600.0 / cell
    whole = create_valid_cells(mask.shape, res).feed(mask)
    cut = create_valid_cells(mask.shape, res)
    tops = list(range(0, 47, slabs))
    for top in reversed(tops):
        cut.feed(mask[top : top + slabs], top)
    np.testing.assert_array_equal(cut.cells, whole.cells)
    tile = TileWeight.from_valid_cells(whole, res, 3000)
    parts = [tile.sample_rows(top, min(top + slabs, 47), 33) for top in tops]
    np.testing.assert_array_equal(np.concatenate(parts), tile.sample_rows(0, 47, 33))


@given(mask=arrays(np.bool_, (SIDE, SIDE), elements=st.just(value=True) | st.booleans()))
@settings(deadline=None, max_examples=20)
def test_tile_weight_is_above_zero_and_at_most_one(mask: Bool) -> None:
    weight = compute_weight(mask)
    assert weight.dtype == np.float32
    assert weight.min() > 0
    assert weight.max() <= 1


def test_tile_weight_rises_smoothly_from_the_border_to_one() -> None:
    weight = compute_weight(np.ones((SIDE, SIDE), np.bool_), feather_width_m=2_400)
    line = weight[SIDE // 2]
    assert line[0] < 0.003
    assert line[20] == 1  # 20 px of 120 m are the ramp
    assert (np.diff(line[:21]) >= 0).all()
    assert np.diff(line[:21]).max() < 0.08
    np.testing.assert_allclose(weight, weight[::-1, ::-1], atol=1e-6)


def test_tile_weight_falls_around_a_hole() -> None:
    mask = np.ones((SIDE, SIDE), np.bool_)
    mask[32, 27] = False
    weight = compute_weight(mask, feather_width_m=2_400)
    assert weight[32, 27] < 0.001
    assert weight[32, 22] < weight[32, 20] < weight[32, 17] < 1


def test_tile_weights_of_two_whole_tiles_sum_to_one_over_the_full_overlap() -> None:
    """With a ramp as wide as the overlap the two weights sum to one at every pixel, before they are normalized."""
    weight = compute_weight(np.ones((SIDE, SIDE), np.bool_), feather_width_m=1_800)[SIDE // 2]
    np.testing.assert_allclose(weight[:15] + weight[SIDE - 15 :], 1, atol=0.001)


def test_blender_refuses_layers_out_of_order() -> None:
    ones = np.ones((2, 2), np.bool_)
    blender = Blender((2, 2))
    flat = np.ones((4, 2, 2), np.float32)
    layer = BlendLayer("33TWM", flat, flat, ones.astype(np.float32), ones)
    blender.add(layer)
    with pytest.raises(RasterError, match="layer 33TWL comes after 33TWM"):
        blender.add(layer._replace(name="33TWL"))
    with pytest.raises(RasterError, match="layer 33TWM comes after 33TWM"):
        blender.add(layer)


def test_blender_names_a_layer_that_leaves_the_slab() -> None:
    ones = np.ones((2, 2), np.bool_)
    flat = np.ones((4, 2, 2), np.float32)
    layer = BlendLayer("33TWM", flat, flat, ones.astype(np.float32), ones, top=1)
    with pytest.raises(RasterError, match=r"layer 33TWM leaves the slab of \(2, 2\) pixels"):
        blend_layers((2, 2), [layer])
    with pytest.raises(RasterError, match="layer 33TWM has levels of"):
        blend_layers((2, 2), [layer._replace(top=0, levels=np.ones((3, 2, 2), np.float32))])


def test_cell_mask_refuses_a_slab_outside_the_raster() -> None:
    with pytest.raises(RasterError, match="does not fit a raster"):
        create_valid_cells((10, 10), 120).feed(np.ones((6, 10), np.bool_), top=5)


@given(valid=arrays(np.bool_, (6, 256)), centre=st.floats(-20, 20), slope=st.floats(-10, 10))
@settings(deadline=None)
def test_correct_single_tile_equals_the_blend_of_one_layer(valid: Bool, centre: float, slope: float) -> None:
    raw = np.ascontiguousarray(np.broadcast_to(np.arange(256, dtype=np.uint8), (4, 6, 256)))
    made = CorrectionPlane.from_coefficients(np.array([[centre, slope, -slope]] * 4))
    plane = made.evaluate(np.linspace(-1, 1, 6), np.linspace(-1, 1, 256))
    seen, known = valid & (raw[0] != 0), apply_correction(raw, plane)
    assert (known[:, raw[0] == 0] == 0).all()
    blended = blend_layers((6, 256), [BlendLayer("A", known, known, np.full((6, 256), 0.3, np.float32), seen)])
    np.testing.assert_array_equal(correct_single_tile(raw, seen, plane), blended.levels)


def blend_side_by_side(west: Float32, east: Float32) -> tuple[list[BlendLayer], BlendResult]:
    """Blend two tiles over 80 x 80 pixels of 120 m: the whole overlap, from one tile's border to the other's."""
    valid = np.ones((80, 80), np.bool_)
    across = np.broadcast_to((np.arange(80, dtype=np.float32) + 0.5) / 80, (80, 80))
    rise = across * across * (3 - 2 * across)
    smooth = [np.stack([gaussian_filter(band, 7) for band in image]) for image in (west, east)]
    layers = [BlendLayer("A", west, smooth[0], 1 - rise, valid), BlendLayer("B", east, smooth[1], rise, valid)]
    return layers, blend_layers((80, 80), layers)


def test_blend_keeps_the_texture_of_tiles_that_do_not_match() -> None:
    rng = np.random.default_rng(0)
    west, east = (rng.normal(110, 12, (4, 80, 80)).astype(np.float32) for _ in range(2))
    layers, blended = blend_side_by_side(west, east)
    assert GradientEnergy.from_mosaic(blended.levels, layers).kept_fraction > 0.93
    plain = west * (1 - layers[1].weight) + east * layers[1].weight
    assert GradientEnergy.from_mosaic(np.rint(plain).astype(np.uint8), layers).kept_fraction < 0.8


def test_blend_spreads_a_difference_of_colour_over_the_whole_overlap() -> None:
    _, blended = blend_side_by_side(np.full((4, 80, 80), 100, np.float32), np.full((4, 80, 80), 120, np.float32))
    row = blended.levels[0, 40].astype(int)
    assert (row[0], row[-1]) == (100, 120)
    assert np.diff(row).max() <= 1
    assert (np.diff(row) >= 0).all()


def test_gradient_energy_is_one_for_equal_images_and_none_without_overlap() -> None:
    image = np.random.default_rng(0).integers(20, 200, (4, 80, 80)).astype(np.float32)
    layers, blended = blend_side_by_side(image, image)
    assert GradientEnergy.from_mosaic(blended.levels, layers).kept_fraction == pytest.approx(1, abs=1e-3)
    assert GradientEnergy.from_mosaic(blended.levels, layers[:1]).kept_fraction is None


def test_low_pass_image_keeps_means_and_bridges_holes() -> None:
    preview = np.tile(np.array([60, 90, 120, 150], np.uint8)[:, None, None], (1, PREVIEW_SIDE, PREVIEW_SIDE))
    preview[:, 100:130, 200:220] = 0
    preview[:, ::2] = np.where(preview[:, ::2] > 0, preview[:, ::2] + 4, 0)
    cells = LowPassImage.from_preview(preview).sample(np.linspace(0, 1, 50), np.linspace(0, 1, 40))
    assert cells.shape == (4, 50, 40)
    np.testing.assert_allclose(cells, np.broadcast_to([[[62]], [[92]], [[122]], [[152]]], cells.shape), atol=0.8)


def test_split_columns_covers_all_columns_and_marks_those_of_neighbours() -> None:
    assert split_columns(10, []) == [(slice(0, 10), False)]
    assert split_columns(10, [(-3, 4)]) == [(slice(0, 4), True), (slice(4, 10), False)]
    assert split_columns(10, [(7, 10), (0, 8)]) == [(slice(0, 7), True), (slice(7, 8), True), (slice(8, 10), True)]

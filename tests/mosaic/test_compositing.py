"""Compositing of a tile's scenes, their edge weights, and the capped distance transform."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from s2ops.constants import Bool, UInt8
from s2ops.errors import RasterError
from s2ops.imaging.distance import compute_capped_distance_transform
from s2ops.mosaic.composite.compositing import FeatheredFirst, composite_scenes
from s2ops.mosaic.composite.edge_weights import EdgeWeights, create_clear_cells
from s2ops.mosaic.composite.gain_matching import convert_gain_to_level_offset
from s2ops.mosaic.composite.scene_stack import MAX_SCENES, MaskedScene, SceneStack

SHAPE = (23, 9)
MASKS = arrays(np.bool_, (3, *SHAPE))
FADES = st.sampled_from([0.0, 1.0, 2.5, 4.0, 30.0])


def make_levels(seed: int, shape: tuple[int, int] = SHAPE) -> UInt8:
    return np.random.default_rng(seed).integers(1, 256, (4, *shape), dtype=np.uint8)


def make_scenes(clear: Bool, seed: int = 5) -> list[MaskedScene]:
    gains = [
        None,
        convert_gain_to_level_offset((1.1, 0.9, 1.0, 1.05)),
        convert_gain_to_level_offset((0.8, 1.0, 1.2, 1.0)),
    ]
    return [MaskedScene(make_levels(seed + n), mask, gains[n % 3]) for n, mask in enumerate(clear)]


def compute_edge_weights(clear: Bool, fade: float) -> EdgeWeights:
    return EdgeWeights.from_clear_cells(create_clear_cells(clear.shape, fade).feed(clear), fade)


@given(mask=arrays(np.bool_, (17, 13)), cap=st.floats(1, 40))
@settings(deadline=None)
def test_capped_distance_is_the_distance_to_the_nearest_false_pixel(mask: Bool, cap: float) -> None:
    y, x = np.nonzero(~mask)
    rows, cols = np.indices(mask.shape)
    nearest = np.full(mask.shape, np.inf)
    for row, col in zip(y, x, strict=True):
        nearest = np.minimum(nearest, np.hypot(rows - row, cols - col))
    result = compute_capped_distance_transform(mask, cap)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, np.minimum(nearest, cap), rtol=1e-6)


def test_capped_distance_does_not_depend_on_blocks() -> None:
    mask = np.random.default_rng(3).random((600, 1100)) > 0.0005
    cut = compute_capped_distance_transform(mask, 40)
    whole = compute_capped_distance_transform(mask, 2000)  # a cap beyond the blocks: each sees everything
    np.testing.assert_array_equal(cut, np.minimum(whole, 40))


@given(clear=arrays(np.bool_, SHAPE), fade=FADES)
@settings(deadline=None)
def test_edge_weight_is_zero_in_cells_with_cloud_and_one_at_the_width_of_the_feather(clear: Bool, fade: float) -> None:
    found = compute_edge_weights(clear, fade)
    distance = compute_capped_distance_transform(clear, 40)  # to the nearest pixel that is not clear
    rows, cols = (
        np.minimum(np.arange(side) // found.cell, limit - 1)
        for side, limit in zip(SHAPE, found.cells.shape, strict=True)
    )
    cells = found.cells[rows][:, cols]
    assert (cells[~clear] == 0).all()
    deep = distance >= max(fade, 1) + 2 * found.cell
    assert (cells[deep] == 255).all()
    near = (distance > 0) & (distance < max(fade, 1) - 2 * found.cell)
    assert (cells[near] < 255).all()
    whole = found.is_saturated(slice(0, SHAPE[0]), slice(0, SHAPE[1]))[rows][:, cols]
    values = found.sample(slice(0, SHAPE[0]), slice(0, SHAPE[1])).evaluate()
    assert (values[whole] == 1).all()
    assert values.min() >= 0
    assert values.max() <= 1


@given(clear=MASKS, fade=FADES, rows=st.integers(1, SHAPE[0]))
@settings(deadline=None)
def test_composite_in_slabs_equals_composite_of_whole_tile(clear: Bool, fade: float, rows: int) -> None:
    scenes = make_scenes(clear)
    whole = composite_scenes(scenes, fade)
    parts = [composite_scenes(scenes, fade, slice(top, min(top + rows, SHAPE[0]))) for top in range(0, SHAPE[0], rows)]
    for name in ("levels", "provenance", "weight"):
        found = np.concatenate([getattr(part, name) for part in parts], axis=-2)
        np.testing.assert_array_equal(found, getattr(whole, name))


@given(clear=MASKS, fade=FADES)
@settings(deadline=None)
def test_composite_fills_every_clear_pixel_and_no_other(clear: Bool, fade: float) -> None:
    fused = composite_scenes(make_scenes(clear), fade)
    assert fused.levels.dtype == fused.provenance.dtype == np.uint8
    seen = clear.any(axis=0)
    np.testing.assert_array_equal(fused.provenance != 0, seen)
    np.testing.assert_array_equal((fused.levels != 0).all(axis=0), seen)
    np.testing.assert_array_equal((fused.levels != 0).any(axis=0), seen)
    assert fused.holes == np.count_nonzero(~seen)


@given(clear=MASKS, fade=FADES)
@settings(deadline=None)
def test_provenance_is_a_scene_that_is_clear_there(clear: Bool, fade: float) -> None:
    provenance = composite_scenes(make_scenes(clear), fade).provenance
    for number in range(1, 4):
        assert clear[number - 1][provenance == number].all()


@given(clear=MASKS, fade=FADES)
@settings(deadline=None)
def test_composite_level_lies_between_those_of_the_clear_scenes(clear: Bool, fade: float) -> None:
    scenes = [scene._replace(gain=None) for scene in make_scenes(clear)]
    fused = composite_scenes(scenes, fade)
    stacked = np.stack([scene.levels for scene in scenes]).astype(np.int16)
    low = np.where(clear[:, None], stacked, 999).min(axis=0)
    high = np.where(clear[:, None], stacked, -1).max(axis=0)
    seen = np.broadcast_to(clear.any(axis=0), fused.levels.shape)
    assert (fused.levels[seen] >= low[seen]).all()
    assert (fused.levels[seen] <= high[seen]).all()


@given(clear=arrays(np.bool_, SHAPE), fade=FADES)
@settings(deadline=None)
def test_composite_of_one_scene_is_that_scene(clear: Bool, fade: float) -> None:
    levels = make_levels(1)
    fused = composite_scenes([MaskedScene(levels, clear, convert_gain_to_level_offset((1.0,) * 4))], fade)
    np.testing.assert_array_equal(fused.levels, np.where(clear, levels, 0))


@given(clear=MASKS)
@settings(deadline=None)
def test_composite_without_feather_is_the_first_clear_scene(clear: Bool) -> None:
    scenes = [scene._replace(gain=None) for scene in make_scenes(clear)]
    fused = composite_scenes(scenes, 0)
    first = np.where(clear.any(axis=0), clear.argmax(axis=0) + 1, 0)
    np.testing.assert_array_equal(fused.provenance, first)
    for number, scene in enumerate(scenes, start=1):
        chosen = first == number
        np.testing.assert_array_equal(fused.levels[:, chosen], scene.levels[:, chosen])


def test_composite_changes_gradually_to_the_second_scene_towards_a_cloud() -> None:
    clear = np.ones((1, 60), np.bool_)
    clear[0, 40:] = False
    first, second = (np.full((4, 1, 60), level, np.uint8) for level in (200, 100))
    row = (
        composite_scenes([MaskedScene(first, clear), MaskedScene(second, np.ones_like(clear))], 20)
        .levels[0, 0]
        .astype(int)
    )
    assert (row[:19] == 200).all()
    assert (row[19:21] >= 198).all()
    assert (row[40:] == 100).all()
    steps = np.diff(row[21:41])
    assert steps.min() >= -6
    assert steps.max() <= -4


def test_composite_never_uses_pixels_without_data_that_the_mask_calls_clear() -> None:
    levels = make_levels(2)
    levels[2, 4, 5] = 0
    fused = composite_scenes([MaskedScene(levels, np.ones(SHAPE, np.bool_))], 3)
    assert fused.provenance[4, 5] == 0
    assert fused.levels[:, 4, 5].tolist() == [0, 0, 0, 0]


@given(clear=MASKS, fade=FADES)
@settings(deadline=None)
def test_composite_with_early_stop_equals_composite_of_all_scenes(clear: Bool, fade: float) -> None:
    scenes, window = make_scenes(clear), (slice(0, SHAPE[0]), slice(0, SHAPE[1]))
    stack = SceneStack().reset(SHAPE)
    for scene in scenes:
        stack.append(scene.levels, scene.clear, compute_edge_weights(scene.clear, fade).sample(*window), scene.gain)
    whole, early = FeatheredFirst.composite(stack), composite_scenes(scenes, fade)
    for every, stopped in zip(whole, early, strict=True):
        np.testing.assert_array_equal(every, stopped)


def test_composite_scenes_does_not_request_scenes_that_can_change_nothing() -> None:
    requested = []

    def yield_scenes() -> Iterator[MaskedScene]:
        for number, columns in enumerate((5, 9, 9)):
            requested.append(number)
            yield MaskedScene(make_levels(number), np.arange(SHAPE[1]) < np.full((SHAPE[0], 1), columns))

    fused = composite_scenes(yield_scenes(), 3)
    assert requested == [0, 1]
    assert fused.holes == 0


def test_composite_scenes_without_input_raises() -> None:
    with pytest.raises(RasterError, match="Cannot composite: there is no scene"):
        composite_scenes([], 3)


def test_scene_stack_names_a_scene_of_another_shape() -> None:
    with pytest.raises(RasterError, match=r"Cannot stack scene 2: it has levels of \(4, 9, 23\)"):
        composite_scenes(
            [
                MaskedScene(make_levels(1), np.zeros(SHAPE, np.bool_)),
                MaskedScene(make_levels(1, (9, 23)), np.ones((9, 23), np.bool_)),
            ],
            3,
        )
    with pytest.raises(RasterError, match=r"Cannot stack scene 1: .* a mask of \(9, 23\)"):
        SceneStack().reset(SHAPE).append(
            make_levels(1),
            np.ones((9, 23), np.bool_),
            compute_edge_weights(np.ones((9, 23), np.bool_), 3).sample(slice(0, 9), slice(0, 23)),
        )


def test_scene_stack_refuses_more_scenes_than_provenance_can_name() -> None:
    stack = SceneStack().reset((1, 1))
    for _ in range(MAX_SCENES):
        stack.append_empty()
    with pytest.raises(RasterError, match="lower max_scenes"):
        stack.append_empty()


def test_scene_stack_reports_a_scene_that_lacks_a_band_in_a_clear_pixel() -> None:
    stack, clear = SceneStack().reset(SHAPE), np.ones(SHAPE, np.bool_)
    everywhere = compute_edge_weights(clear, 3).sample(slice(0, SHAPE[0]), slice(0, SHAPE[1]))
    levels = np.full((4, *SHAPE), 7, np.uint8)
    assert stack.append(levels, clear, everywhere)
    levels[2, 4, 5] = 0
    assert not stack.append(levels, clear, everywhere)
    clear[4, 5] = False
    assert stack.append(levels, clear, everywhere)


def test_scene_stack_that_is_reset_shows_nothing_of_the_last_block() -> None:
    stack = SceneStack()
    for shape in ((8, 8), (5, 3), (8, 8), (11, 9)):
        stack.reset(shape)
        clear = np.ones(shape, np.bool_)
        for number in range(3):
            weights = compute_edge_weights(clear, 4).sample(slice(0, shape[0]), slice(0, shape[1]))
            stack.append(make_levels(number, shape), clear, weights)
        np.testing.assert_array_equal(FeatheredFirst.composite(stack).levels, make_levels(0, shape))


@pytest.mark.parametrize("reserve", [(), (0,), (1,), (2,), (0, 1, 2)])
def test_scene_stack_holds_what_is_appended_with_or_without_reserved_slots(reserve: tuple[int, ...]) -> None:
    stack, clear = SceneStack().reset(SHAPE), np.ones(SHAPE, np.bool_)
    weights = compute_edge_weights(clear, 3).sample(slice(0, SHAPE[0]), slice(0, SHAPE[1]))
    for number in range(3):
        levels = make_levels(number)
        if number in reserve:
            slot = stack.reserve_slot()
            slot[:] = levels
            levels = slot
        stack.append(levels, clear, weights)
    arrays = stack.to_arrays()
    assert arrays is not None
    np.testing.assert_array_equal(arrays.levels, [make_levels(number) for number in range(3)])


def test_scene_stack_copies_a_slot_that_was_reserved_before_another_scene() -> None:
    stack, clear = SceneStack().reset(SHAPE), np.ones(SHAPE, np.bool_)
    weights = compute_edge_weights(clear, 3).sample(slice(0, SHAPE[0]), slice(0, SHAPE[1]))
    stack.reserve_slot()[:] = 9  # never appended
    stack.append(make_levels(1), clear, weights)
    stale = stack.reserve_slot()
    stale[:] = make_levels(2)
    stack.append(make_levels(3), clear, weights)  # takes the slot's memory
    stack.append(stale, clear, weights)
    arrays = stack.to_arrays()
    assert arrays is not None
    np.testing.assert_array_equal(arrays.levels, [make_levels(number) for number in (1, 3, 3)])

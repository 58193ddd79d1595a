"""Facts about the fusion of a tile's scenes, the shares that they claim, and bounded distances."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from s2ops.constants import Bool, UInt8
from s2ops.errors import RasterError
from s2ops.imaging.distance import bounded_distance
from s2ops.mosaic.composite.compositing import FadedFirst, fuse
from s2ops.mosaic.composite.edge_weights import Fade, cells_for
from s2ops.mosaic.composite.gain_matching import gain_shift
from s2ops.mosaic.composite.scene_stack import MAX_SCENES, ClearScene, SceneStack

SHAPE = (23, 9)
MASKS = arrays(np.bool_, (3, *SHAPE))
FADES = st.sampled_from([0.0, 1.0, 2.5, 4.0, 30.0])


def picture(seed: int, shape: tuple[int, int] = SHAPE) -> UInt8:
    return np.random.default_rng(seed).integers(1, 256, (4, *shape), dtype=np.uint8)


def stack(clear: Bool, seed: int = 5) -> list[ClearScene]:
    gains = [None, gain_shift((1.1, 0.9, 1.0, 1.05)), gain_shift((0.8, 1.0, 1.2, 1.0))]
    return [ClearScene(picture(seed + n), mask, gains[n % 3]) for n, mask in enumerate(clear)]


def share(clear: Bool, fade: float) -> Fade:
    return Fade.of(cells_for(clear.shape, fade).feed(clear), fade)


@given(mask=arrays(np.bool_, (17, 13)), cap=st.floats(1, 40))
@settings(deadline=None)
def test_bounded_distance_is_the_distance_to_the_nearest_false_pixel(mask: Bool, cap: float) -> None:
    y, x = np.nonzero(~mask)
    rows, cols = np.indices(mask.shape)
    nearest = np.full(mask.shape, np.inf)
    for row, col in zip(y, x, strict=True):
        nearest = np.minimum(nearest, np.hypot(rows - row, cols - col))
    result = bounded_distance(mask, cap)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, np.minimum(nearest, cap), rtol=1e-6)


def test_distances_do_not_show_the_blocks_they_were_computed_in() -> None:
    mask = np.random.default_rng(3).random((600, 1100)) > 0.0005
    cut = bounded_distance(mask, 40)
    whole = bounded_distance(mask, 2000)  # a cap beyond the blocks: each sees everything
    np.testing.assert_array_equal(cut, np.minimum(whole, 40))


@given(clear=arrays(np.bool_, SHAPE), fade=FADES)
@settings(deadline=None)
def test_a_share_is_zero_in_cells_with_cloud_and_whole_at_the_width_of_the_fade(clear: Bool, fade: float) -> None:
    found = share(clear, fade)
    distance = bounded_distance(clear, 40)  # to the nearest pixel that is not clear
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
    whole = found.whole(slice(0, SHAPE[0]), slice(0, SHAPE[1]))[rows][:, cols]
    values = found.at(slice(0, SHAPE[0]), slice(0, SHAPE[1])).values()
    assert (values[whole] == 1).all()
    assert values.min() >= 0
    assert values.max() <= 1


@given(clear=MASKS, fade=FADES, rows=st.integers(1, SHAPE[0]))
@settings(deadline=None)
def test_cutting_a_tile_into_slabs_changes_no_pixel(clear: Bool, fade: float, rows: int) -> None:
    scenes = stack(clear)
    whole = fuse(scenes, fade)
    parts = [fuse(scenes, fade, slice(top, min(top + rows, SHAPE[0]))) for top in range(0, SHAPE[0], rows)]
    for name in ("levels", "source", "weight"):
        found = np.concatenate([getattr(part, name) for part in parts], axis=-2)
        np.testing.assert_array_equal(found, getattr(whole, name))


@given(clear=MASKS, fade=FADES)
@settings(deadline=None)
def test_every_pixel_seen_clear_is_filled_and_no_other(clear: Bool, fade: float) -> None:
    fused = fuse(stack(clear), fade)
    assert fused.levels.dtype == fused.source.dtype == np.uint8
    seen = clear.any(axis=0)
    np.testing.assert_array_equal(fused.source != 0, seen)
    np.testing.assert_array_equal((fused.levels != 0).all(axis=0), seen)
    np.testing.assert_array_equal((fused.levels != 0).any(axis=0), seen)
    assert fused.holes == np.count_nonzero(~seen)


@given(clear=MASKS, fade=FADES)
@settings(deadline=None)
def test_provenance_names_a_scene_that_was_clear_there(clear: Bool, fade: float) -> None:
    source = fuse(stack(clear), fade).source
    for number in range(1, 4):
        assert clear[number - 1][source == number].all()


@given(clear=MASKS, fade=FADES)
@settings(deadline=None)
def test_a_fused_level_lies_between_those_of_the_clear_scenes(clear: Bool, fade: float) -> None:
    scenes = [scene._replace(gain=None) for scene in stack(clear)]
    fused = fuse(scenes, fade)
    stacked = np.stack([scene.levels for scene in scenes]).astype(np.int16)
    low = np.where(clear[:, None], stacked, 999).min(axis=0)
    high = np.where(clear[:, None], stacked, -1).max(axis=0)
    seen = np.broadcast_to(clear.any(axis=0), fused.levels.shape)
    assert (fused.levels[seen] >= low[seen]).all()
    assert (fused.levels[seen] <= high[seen]).all()


@given(clear=arrays(np.bool_, SHAPE), fade=FADES)
@settings(deadline=None)
def test_one_scene_comes_out_unchanged(clear: Bool, fade: float) -> None:
    levels = picture(1)
    fused = fuse([ClearScene(levels, clear, gain_shift((1.0,) * 4))], fade)
    np.testing.assert_array_equal(fused.levels, np.where(clear, levels, 0))


@given(clear=MASKS)
@settings(deadline=None)
def test_without_a_fade_each_pixel_is_that_of_the_first_clear_scene(clear: Bool) -> None:
    scenes = [scene._replace(gain=None) for scene in stack(clear)]
    fused = fuse(scenes, 0)
    first = np.where(clear.any(axis=0), clear.argmax(axis=0) + 1, 0)
    np.testing.assert_array_equal(fused.source, first)
    for number, scene in enumerate(scenes, start=1):
        chosen = first == number
        np.testing.assert_array_equal(fused.levels[:, chosen], scene.levels[:, chosen])


def test_the_second_scene_comes_in_gradually_towards_a_cloud() -> None:
    clear = np.ones((1, 60), np.bool_)
    clear[0, 40:] = False
    first, second = (np.full((4, 1, 60), level, np.uint8) for level in (200, 100))
    row = fuse([ClearScene(first, clear), ClearScene(second, np.ones_like(clear))], 20).levels[0, 0].astype(int)
    assert (row[:19] == 200).all()
    assert (row[19:21] >= 198).all()
    assert (row[40:] == 100).all()
    steps = np.diff(row[21:41])
    assert steps.min() >= -6
    assert steps.max() <= -4


def test_pixels_without_data_are_never_taken_though_the_mask_says_clear() -> None:
    levels = picture(2)
    levels[2, 4, 5] = 0
    fused = fuse([ClearScene(levels, np.ones(SHAPE, np.bool_))], 3)
    assert fused.source[4, 5] == 0
    assert fused.levels[:, 4, 5].tolist() == [0, 0, 0, 0]


@given(clear=MASKS, fade=FADES)
@settings(deadline=None)
def test_scenes_left_out_where_nothing_is_open_would_change_no_pixel(clear: Bool, fade: float) -> None:
    scenes, window = stack(clear), (slice(0, SHAPE[0]), slice(0, SHAPE[1]))
    looks = SceneStack().begin(SHAPE)
    for scene in scenes:
        looks.place()[:] = scene.levels
        looks.add(scene.clear, share(scene.clear, fade).at(*window), scene.gain)
    whole, lazy = FadedFirst.result(looks), fuse(scenes, fade)
    for eager, left in zip(whole, lazy, strict=True):
        np.testing.assert_array_equal(eager, left)


def test_scenes_that_can_change_nothing_are_not_even_asked_for() -> None:
    asked = []

    def scenes() -> Iterator[ClearScene]:
        for number, columns in enumerate((5, 9, 9)):
            asked.append(number)
            yield ClearScene(picture(number), np.arange(SHAPE[1]) < np.full((SHAPE[0], 1), columns))

    fused = fuse(scenes(), 3)
    assert asked == [0, 1]
    assert fused.holes == 0


def test_no_scene_at_all_is_said_so() -> None:
    with pytest.raises(RasterError, match="there is no scene to fuse"):
        fuse([], 3)


def test_a_scene_of_another_shape_is_named() -> None:
    with pytest.raises(RasterError, match=r"scene 2 is \(4, 9, 23\)"):
        fuse(
            [
                ClearScene(picture(1), np.zeros(SHAPE, np.bool_)),
                ClearScene(picture(1, (9, 23)), np.ones((9, 23), np.bool_)),
            ],
            3,
        )
    with pytest.raises(RasterError, match=r"scene 1 has a mask of \(9, 23\)"):
        SceneStack().begin(SHAPE).add(
            np.ones((9, 23), np.bool_), share(np.ones((9, 23), np.bool_), 3).at(slice(0, 9), slice(0, 23))
        )


def test_more_scenes_than_provenance_can_name_are_refused() -> None:
    looks = SceneStack().begin((1, 1))
    for _ in range(MAX_SCENES):
        looks.skip()
    with pytest.raises(RasterError, match="lower max_scenes"):
        looks.skip()


def test_a_scene_that_lacks_a_band_somewhere_is_said_to_be_incomplete() -> None:
    looks, clear = SceneStack().begin(SHAPE), np.ones(SHAPE, np.bool_)
    everywhere = share(clear, 3).at(slice(0, SHAPE[0]), slice(0, SHAPE[1]))
    looks.place()[:] = 7
    assert looks.add(clear, everywhere)
    looks.place()[:] = 7
    looks.place()[2, 4, 5] = 0
    assert not looks.add(clear, everywhere)
    looks.place()[:] = 7
    looks.place()[2, 4, 5] = 0
    clear[4, 5] = False
    assert looks.add(clear, everywhere)


def test_memory_used_again_for_another_block_shows_nothing_of_the_last() -> None:
    looks = SceneStack()
    for shape in ((8, 8), (5, 3), (8, 8), (11, 9)):
        looks.begin(shape)
        clear = np.ones(shape, np.bool_)
        for number in range(3):
            looks.place()[:] = picture(number, shape)
            looks.add(clear, share(clear, 4).at(slice(0, shape[0]), slice(0, shape[1])))
        np.testing.assert_array_equal(FadedFirst.result(looks).levels, picture(0, shape))

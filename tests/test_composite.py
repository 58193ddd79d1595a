"""Facts about the fusion of a tile's scenes, and about bounded distances."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from s2ops.codes import Bool, UInt8
from s2ops.composite import MAX_SCENES, ClearScene, FadedFirst, fade_ramp, fuse
from s2ops.distance import bounded_distance, halo
from s2ops.errors import RasterError
from s2ops.gains import gain_tables

SHAPE = (23, 9)
MASKS = arrays(np.bool_, (3, *SHAPE))
FADES = st.sampled_from([0.0, 1.0, 2.5, 4.0, 30.0])


def picture(seed: int, shape: tuple[int, int] = SHAPE) -> UInt8:
    return np.random.default_rng(seed).integers(1, 256, (4, *shape), dtype=np.uint8)


def stack(clear: Bool, seed: int = 5) -> list[ClearScene]:
    tables = [None, gain_tables((1.1, 0.9, 1.0, 1.05)), gain_tables((0.8, 1.0, 1.2, 1.0))]
    return [ClearScene(picture(seed + n), mask, tables[n % 3]) for n, mask in enumerate(clear)]


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


def test_a_block_that_nobody_wants_is_left_out() -> None:
    mask = np.ones((600, 600), np.bool_)
    wanted = np.zeros_like(mask)
    wanted[:10, :10] = True
    distance = bounded_distance(mask, 5, wanted)
    assert (distance[:512, :512] == 5).all()
    assert (distance[512:] == 0).all()


@given(clear=MASKS, fade=FADES, rows=st.integers(1, SHAPE[0]))
@settings(deadline=None)
def test_cutting_a_tile_into_slabs_changes_no_pixel(clear: Bool, fade: float, rows: int) -> None:
    scenes = stack(clear)
    whole = fuse(scenes, fade)
    reach = halo(fade)
    parts = []
    for top in range(0, SHAPE[0], rows):
        start, stop = max(top - reach, 0), min(top + rows + reach, SHAPE[0])
        slab = [ClearScene(s.levels[:, start:stop], s.clear[start:stop], s.tables) for s in scenes]
        parts.append(fuse(slab, fade, slice(top - start, min(top + rows, SHAPE[0]) - start)))
    np.testing.assert_array_equal(np.concatenate([part.levels for part in parts], axis=1), whole.levels)
    np.testing.assert_array_equal(np.concatenate([part.source for part in parts]), whole.source)


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
    scenes = [scene._replace(tables=None) for scene in stack(clear)]
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
    fused = fuse([ClearScene(levels, clear, gain_tables((1.0,) * 4))], fade)
    np.testing.assert_array_equal(fused.levels, np.where(clear, levels, 0))


@given(clear=MASKS)
@settings(deadline=None)
def test_without_a_fade_each_pixel_is_that_of_the_first_clear_scene(clear: Bool) -> None:
    scenes = [scene._replace(tables=None) for scene in stack(clear)]
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
    assert (row[:21] == 200).all()
    assert (row[40:] == 100).all()
    steps = np.diff(row[20:41])
    assert steps.min() >= -6
    assert steps.max() <= -4


def test_pixels_without_data_are_never_taken_though_the_mask_says_clear() -> None:
    levels = picture(2)
    levels[2, 4, 5] = 0
    fused = fuse([ClearScene(levels, np.ones(SHAPE, np.bool_))], 3)
    assert fused.source[4, 5] == 0
    assert fused.levels[:, 4, 5].tolist() == [0, 0, 0, 0]


def test_the_rule_is_done_when_a_scene_has_covered_all() -> None:
    rule = FadedFirst(SHAPE)
    assert not rule.is_done
    rule.feed(picture(1), fade_ramp(np.ones(SHAPE, np.bool_), 7))
    assert rule.is_done
    assert not rule.wanted.any()


@given(clear=MASKS, fade=FADES)
@settings(deadline=None)
def test_fading_ramps_skipped_where_nothing_is_open_change_no_pixel(clear: Bool, fade: float) -> None:
    scenes = stack(clear)
    rule = FadedFirst(SHAPE)
    for scene in scenes:
        rule.feed(scene.levels, fade_ramp(scene.clear, fade), scene.tables)
    lazy = fuse(scenes, fade)
    np.testing.assert_array_equal(rule.result().levels, lazy.levels)
    np.testing.assert_array_equal(rule.result().source, lazy.source)


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
    rule = FadedFirst(SHAPE)
    with pytest.raises(RasterError, match=r"scene 1 has levels of \(4, 9, 23\)"):
        rule.feed(picture(1, (9, 23)), np.ones(SHAPE, np.float32))


def test_more_scenes_than_provenance_can_name_are_refused() -> None:
    rule = FadedFirst((1, 1))
    for _ in range(MAX_SCENES):
        rule.feed(np.ones((4, 1, 1), np.uint8), np.zeros((1, 1), np.float32))
    with pytest.raises(RasterError, match="lower max_scenes"):
        rule.feed(np.ones((4, 1, 1), np.uint8), np.zeros((1, 1), np.float32))

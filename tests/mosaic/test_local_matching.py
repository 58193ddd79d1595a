"""Facts about the smooth shifts that continue the picture into a hole."""

import numpy as np
import pytest

from s2ops.constants import Float32, UInt8
from s2ops.mosaic.composite.compositing import fuse
from s2ops.mosaic.composite.gain_matching import corrected, gain_shift
from s2ops.mosaic.composite.local_matching import LIMIT, ShiftField, local_shifts
from s2ops.mosaic.composite.scene_stack import ClearScene

SHAPE = (150, 110)
CELL = 5
ROWS, COLS = np.indices(SHAPE)
EVERYWHERE = np.ones(SHAPE, np.bool_)


def ground() -> Float32:
    """Levels of an uneven landscape with texture."""
    rng = np.random.default_rng(8)
    return (90 + 20 * np.sin(ROWS / 30) + rng.normal(0, 5, (4, *SHAPE))).astype(np.float32)


def stored(levels: Float32) -> UInt8:
    return np.clip(np.rint(levels), 1, 255).astype(np.uint8)


def haze() -> Float32:
    """Levels that haze adds: none in the west, 16 in the east."""
    return (16 * COLS / SHAPE[1]).astype(np.float32)


def scenes() -> list[ClearScene]:
    """A clear scene with a hole, and a hazy one that fills it."""
    holed = EVERYWHERE.copy()
    holed[60:90, 55:85] = False
    return [ClearScene(stored(ground()), holed), ClearScene(stored(ground() + haze()), EVERYWHERE)]


def test_a_fill_from_a_hazy_scene_continues_the_picture_around_it() -> None:
    pair = scenes()
    fields = local_shifts(pair, CELL)
    shifted = [scene._replace(shift=field.rows(0, *SHAPE, CELL)) for scene, field in zip(pair, fields, strict=True)]
    hole = ~pair[0].clear
    plain = fuse(pair, 5).levels[:, hole].astype(float) - ground()[:, hole]
    matched = fuse(shifted, 5).levels[:, hole].astype(float) - ground()[:, hole]
    assert plain.mean() > 8
    assert abs(matched.mean()) < 0.7
    assert np.abs(matched).mean() < 1.5


def test_the_best_scene_is_not_shifted() -> None:
    field = local_shifts(scenes(), CELL)[0]
    assert field.cells.dtype == np.float32
    assert field.cells.shape == (4, 30, 22)
    assert not field.cells.any()


def test_scenes_of_one_radiometry_are_not_shifted() -> None:
    levels = stored(ground())
    half = COLS < 70
    fields = local_shifts([ClearScene(levels, half), ClearScene(levels, COLS > 20)], CELL)
    assert np.abs(fields[1].cells).max() < 1e-4


def test_scenes_that_share_no_clear_ground_are_not_shifted() -> None:
    west, east = COLS < 50, COLS >= 50
    fields = local_shifts([ClearScene(stored(ground()), west), ClearScene(stored(ground() + 30), east)], CELL)
    assert not fields[1].cells.any()


def test_a_shift_starts_from_what_the_gains_have_corrected() -> None:
    bright = corrected(stored(ground()), gain_shift((1.1,))[0])
    second = ClearScene(stored(bright), EVERYWHERE, gain_shift((1 / 1.1,) * 4))
    fields = local_shifts([ClearScene(stored(ground()), EVERYWHERE), second], CELL)
    assert np.abs(fields[1].cells).max() < 0.5


def test_one_changed_field_moves_its_surroundings_little() -> None:
    changed = ground()
    changed[:, 70:80, 50:60] += 120
    fields = local_shifts([ClearScene(stored(ground()), EVERYWHERE), ClearScene(stored(changed), EVERYWHERE)], CELL)
    assert -LIMIT / 4 < fields[1].cells.min() < -0.1
    assert fields[1].cells.max() < 0.1


@pytest.mark.parametrize("height", [1, 7, 64])
def test_cutting_a_shift_into_slabs_changes_no_value(height: int) -> None:
    field = ShiftField(np.random.default_rng(0).normal(0, 5, (4, 30, 22)).astype(np.float32))
    whole = field.rows(0, 150, 110, CELL).values()
    assert whole.dtype == np.float32
    parts = [field.rows(top, min(top + height, 150), 110, CELL).values() for top in range(0, 150, height)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_a_shift_means_the_same_place_at_every_resolution() -> None:
    field = ShiftField(np.random.default_rng(0).normal(0, 5, (4, 30, 22)).astype(np.float32))
    coarse, fine = field.rows(0, 150, 110, 5).values(), field.rows(0, 450, 330, 15).values()
    np.testing.assert_allclose(fine[:, 1::3, 1::3], coarse, atol=1e-4)


def test_a_shift_never_makes_no_data() -> None:
    field = ShiftField(np.full((4, 2, 2), -9, np.float32))
    dark = ClearScene(np.full((4, 6, 7), 3, np.uint8), np.ones((6, 7), np.bool_), shift=field.rows(0, 6, 7, CELL))
    fused = fuse([dark], 0)
    assert (fused.levels == 1).all()
    assert fused.holes == 0

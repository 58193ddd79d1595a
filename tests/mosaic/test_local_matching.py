"""Local matching: smooth offsets that continue the image into a hole."""

import numpy as np
import pytest

from s2ops.constants import Float32, UInt8
from s2ops.mosaic.composite.compositing import composite_scenes
from s2ops.mosaic.composite.gain_matching import convert_gain_to_level_offset
from s2ops.mosaic.composite.local_matching import MAX_DIFFERENCE, OffsetField, fit_local_offsets
from s2ops.mosaic.composite.scene_stack import MaskedScene

SHAPE = (150, 110)
CELL = 5
ROWS, COLS = np.indices(SHAPE)
EVERYWHERE = np.ones(SHAPE, np.bool_)


def make_ground() -> Float32:
    """Make levels of an uneven landscape with texture."""
    rng = np.random.default_rng(8)
    return (90 + 20 * np.sin(ROWS / 30) + rng.normal(0, 5, (4, *SHAPE))).astype(np.float32)


def round_levels(levels: Float32) -> UInt8:
    return np.clip(np.rint(levels), 1, 255).astype(np.uint8)


def make_haze() -> Float32:
    """Make the levels that haze adds: none in the west, 16 in the east."""
    return (16 * COLS / SHAPE[1]).astype(np.float32)


def make_scenes() -> list[MaskedScene]:
    """Make a clear scene with a hole, and a hazy scene that fills it."""
    holed = EVERYWHERE.copy()
    holed[60:90, 55:85] = False
    return [
        MaskedScene(round_levels(make_ground()), holed),
        MaskedScene(round_levels(make_ground() + make_haze()), EVERYWHERE),
    ]


def test_local_offsets_continue_the_image_into_a_hole_filled_from_a_hazy_scene() -> None:
    pair = make_scenes()
    fields = fit_local_offsets(pair, CELL)
    offset = [
        scene._replace(offset=field.interpolate(0, *SHAPE, CELL)) for scene, field in zip(pair, fields, strict=True)
    ]
    hole = ~pair[0].clear
    plain = composite_scenes(pair, 5).levels[:, hole].astype(float) - make_ground()[:, hole]
    matched = composite_scenes(offset, 5).levels[:, hole].astype(float) - make_ground()[:, hole]
    assert plain.mean() > 8
    assert abs(matched.mean()) < 0.7
    assert np.abs(matched).mean() < 1.5


def test_local_offset_of_the_best_scene_is_zero() -> None:
    field = fit_local_offsets(make_scenes(), CELL)[0]
    assert field.cells.dtype == np.float32
    assert field.cells.shape == (4, 30, 22)
    assert not field.cells.any()


def test_local_offset_of_scenes_of_equal_radiometry_is_zero() -> None:
    levels = round_levels(make_ground())
    half = COLS < 70
    fields = fit_local_offsets([MaskedScene(levels, half), MaskedScene(levels, COLS > 20)], CELL)
    assert np.abs(fields[1].cells).max() < 1e-4


def test_local_offset_of_scenes_without_common_clear_ground_is_zero() -> None:
    west, east = COLS < 50, COLS >= 50
    fields = fit_local_offsets(
        [MaskedScene(round_levels(make_ground()), west), MaskedScene(round_levels(make_ground() + 30), east)], CELL
    )
    assert not fields[1].cells.any()


def test_local_offset_is_fitted_after_the_gains() -> None:
    bright = round_levels(make_ground()) + convert_gain_to_level_offset((1.1,))[0]
    second = MaskedScene(round_levels(bright), EVERYWHERE, convert_gain_to_level_offset((1 / 1.1,) * 4))
    fields = fit_local_offsets([MaskedScene(round_levels(make_ground()), EVERYWHERE), second], CELL)
    assert np.abs(fields[1].cells).max() < 0.5


def test_local_offset_changes_little_around_a_changed_field() -> None:
    changed = make_ground()
    changed[:, 70:80, 50:60] += 120
    fields = fit_local_offsets(
        [MaskedScene(round_levels(make_ground()), EVERYWHERE), MaskedScene(round_levels(changed), EVERYWHERE)], CELL
    )
    assert -MAX_DIFFERENCE / 4 < fields[1].cells.min() < -0.1
    assert fields[1].cells.max() < 0.1


@pytest.mark.parametrize("height", [1, 7, 64])
def test_offset_field_in_slabs_equals_the_whole(height: int) -> None:
    field = OffsetField(np.random.default_rng(0).normal(0, 5, (4, 30, 22)).astype(np.float32))
    whole = field.interpolate(0, 150, 110, CELL).evaluate()
    assert whole.dtype == np.float32
    parts = [field.interpolate(top, min(top + height, 150), 110, CELL).evaluate() for top in range(0, 150, height)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_offset_field_has_the_same_position_at_every_resolution() -> None:
    field = OffsetField(np.random.default_rng(0).normal(0, 5, (4, 30, 22)).astype(np.float32))
    coarse, fine = field.interpolate(0, 150, 110, 5).evaluate(), field.interpolate(0, 450, 330, 15).evaluate()
    np.testing.assert_allclose(fine[:, 1::3, 1::3], coarse, atol=1e-4)


def test_local_offset_never_makes_no_data() -> None:
    field = OffsetField(np.full((4, 2, 2), -9, np.float32))
    dark = MaskedScene(
        np.full((4, 6, 7), 3, np.uint8), np.ones((6, 7), np.bool_), offset=field.interpolate(0, 6, 7, CELL)
    )
    fused = composite_scenes([dark], 0)
    assert (fused.levels == 1).all()
    assert fused.holes == 0

"""Facts about the rules by which scenes become one picture."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from s2ops.config import Composite
from s2ops.constants import Bool, UInt8
from s2ops.mosaic.composite.compositing import Fused, fuse
from s2ops.mosaic.composite.gain_matching import gain_shift
from s2ops.mosaic.composite.reducers import RULES
from s2ops.mosaic.composite.scene_stack import ClearScene

SHAPE = (19, 11)
MASKS = arrays(np.bool_, (4, *SHAPE))
FADES = st.sampled_from([0.0, 2.5, 30.0])
NAMES = st.sampled_from(sorted(RULES))
WHOLE = np.ones(SHAPE, np.bool_)


def scenes(clear: Bool, seed: int = 0) -> list[ClearScene]:
    rng = np.random.default_rng(seed)
    gains = [None, gain_shift((1.1, 0.9, 1.0, 1.05)), None, gain_shift((0.8, 1.0, 1.2, 1.0))]
    levels = rng.integers(1, 256, (len(clear), 4, *clear.shape[1:]), dtype=np.uint8)
    return [ClearScene(*one) for one in zip(levels, clear, gains, strict=False)]


def one_pixel(name: str, *looks: tuple[int, int, int, int]) -> Fused:
    """Scenes of one pixel each, all clear."""
    clear = np.ones((1, 1), np.bool_)
    return fuse([ClearScene(np.array(look, np.uint8).reshape(4, 1, 1), clear) for look in looks], 0, kind=RULES[name])


def levels_of(fused: Fused) -> list[int]:
    return fused.levels[:, 0, 0].tolist()


def test_the_configuration_offers_every_rule() -> None:
    assert set(Composite.model_json_schema()["properties"]["rule"]["enum"]) == set(RULES)


@given(clear=MASKS, fade=FADES, name=NAMES)
@settings(deadline=None)
def test_every_pixel_seen_clear_is_filled_and_its_provenance_was_clear_there(
    clear: Bool, fade: float, name: str
) -> None:
    fused = fuse(scenes(clear), fade, kind=RULES[name])
    seen = clear.any(axis=0)
    np.testing.assert_array_equal(fused.source != 0, seen)
    np.testing.assert_array_equal(fused.weight != 0, seen)
    np.testing.assert_array_equal((fused.levels != 0).all(axis=0), seen)
    np.testing.assert_array_equal((fused.levels != 0).any(axis=0), seen)
    for number, mask in enumerate(clear, start=1):
        assert mask[fused.source == number].all()


@given(clear=MASKS, fade=FADES, name=NAMES, rows=st.integers(1, SHAPE[0]))
@settings(deadline=None)
def test_cutting_a_tile_into_slabs_changes_no_pixel(clear: Bool, fade: float, name: str, rows: int) -> None:
    whole = fuse(scenes(clear), fade, kind=RULES[name])
    tops = range(0, SHAPE[0], rows)
    parts = [fuse(scenes(clear), fade, slice(top, min(top + rows, SHAPE[0])), RULES[name]) for top in tops]
    for field in ("levels", "source", "weight"):
        found = np.concatenate([getattr(part, field) for part in parts], axis=-2)
        np.testing.assert_array_equal(found, getattr(whole, field))


@given(clear=MASKS, fade=FADES, name=NAMES)
@settings(deadline=None)
def test_each_level_lies_between_those_of_the_clear_scenes(clear: Bool, fade: float, name: str) -> None:
    plain = [one._replace(gain=None) for one in scenes(clear)]
    fused = fuse(plain, fade, kind=RULES[name])
    stacked = np.stack([one.levels for one in plain]).astype(np.int16)
    seen = np.broadcast_to(clear.any(axis=0), fused.levels.shape)
    assert (fused.levels[seen] >= np.where(clear[:, None], stacked, 999).min(axis=0)[seen]).all()
    assert (fused.levels[seen] <= np.where(clear[:, None], stacked, -1).max(axis=0)[seen]).all()


@pytest.mark.parametrize("name", sorted(RULES))
def test_one_look_is_taken_as_it_is(name: str) -> None:
    fused = one_pixel(name, (10, 20, 30, 40))
    assert levels_of(fused) == [10, 20, 30, 40]
    assert (fused.source.item(), fused.weight.item()) == (1, 100)


@pytest.mark.parametrize("name", ["median", "medoid", "geomedian"])
def test_a_missed_cloud_among_five_looks_leaves_no_trace(name: str) -> None:
    land = [(50, 60, 40, 120), (51, 61, 41, 121), (49, 59, 39, 119), (50, 61, 40, 122)]
    fused = one_pixel(name, (240, 240, 240, 235), *land)
    assert np.abs(np.subtract(levels_of(fused), (50, 60, 40, 120))).max() <= 2
    assert fused.source.item() > 1
    assert levels_of(one_pixel("recent", (240, 240, 240, 235), *land)) == [240, 240, 240, 235]


@pytest.mark.parametrize("name", ["median", "medoid", "geomedian"])
def test_the_order_of_scenes_changes_no_level(name: str) -> None:
    looks = [(50, 60, 40, 120), (90, 61, 70, 101), (49, 99, 39, 119), (150, 20, 80, 60), (77, 77, 77, 77)]
    results = {tuple(levels_of(one_pixel(name, *order))) for order in permutations(looks)}
    assert len(results) == 1


def test_the_median_of_equal_looks_is_numpys() -> None:
    levels = np.random.default_rng(0).integers(1, 256, (5, 4, *SHAPE), dtype=np.uint8)
    for count in (2, 3, 5):
        fused = fuse([ClearScene(one, WHOLE) for one in levels[:count]], 0, kind=RULES["median"])
        np.testing.assert_array_equal(fused.levels, np.rint(np.median(levels[:count], axis=0)))


def test_the_geometric_median_is_nearer_to_all_looks_than_any_step_away() -> None:
    levels = np.random.default_rng(1).integers(1, 256, (5, 4, *SHAPE), dtype=np.uint8)
    fused = fuse([ClearScene(one, WHOLE) for one in levels], 0, kind=RULES["geomedian"]).levels.astype(float)

    def cost(point: np.ndarray) -> np.ndarray:
        return np.sqrt(((levels - point) ** 2).sum(axis=1)).sum(axis=0)

    for band in range(4):
        for step in (-3, 3):
            moved = fused.copy()
            moved[band] += step
            assert (cost(moved) >= cost(fused)).all()


def test_the_medoid_is_always_one_scenes_pixel() -> None:
    levels = np.random.default_rng(1).integers(1, 256, (5, 4, *SHAPE), dtype=np.uint8)
    fused = fuse([ClearScene(one, WHOLE) for one in levels], 0, kind=RULES["medoid"])
    chosen = np.take_along_axis(levels, fused.source[None, None].astype(int) - 1, axis=0)[0]
    np.testing.assert_array_equal(fused.levels, chosen)


def fading(name: str) -> UInt8:
    """A row over which one of three scenes ends at a cloud."""
    clear = np.ones((3, 1, 120), np.bool_)
    clear[0, 0, 80:] = False
    bright = [
        ClearScene(np.full((4, 1, 120), level, np.uint8), mask)
        for level, mask in zip((140, 100, 104), clear, strict=True)
    ]
    return fuse(bright, 40, kind=RULES[name]).levels[0, 0]


@pytest.mark.parametrize("name", ["recent", "median", "geomedian"])
def test_where_a_scene_ends_the_picture_changes_gradually(name: str) -> None:
    row = fading(name).astype(int)
    assert np.abs(np.diff(row)).max() <= 2
    assert (np.diff(row) <= 0).all()


def test_the_weight_says_how_much_the_scene_of_provenance_has() -> None:
    clear = np.ones((2, 1, 60), np.bool_)
    clear[0, 0, 40:] = False
    flat = np.full((4, 1, 60), 90, np.uint8)
    fused = fuse([ClearScene(flat, mask) for mask in clear], 20)
    weight = fused.weight[0].astype(int)
    assert (weight[:20] == 100).all()
    assert (weight[41:] == 100).all()
    assert weight[30] in {50, 55}
    assert (weight % 5 == 0).all()
    assert (np.diff(weight[20:30]) <= 0).all()

"""Composite methods: median, medoid and geometric median of a pixel's clear observations."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from s2ops.config import CompositeOptions
from s2ops.constants import Bool, UInt8
from s2ops.mosaic.composite.compositing import Composite, composite_scenes
from s2ops.mosaic.composite.gain_matching import convert_gain_to_level_offset
from s2ops.mosaic.composite.reducers import COMPOSITE_METHODS
from s2ops.mosaic.composite.scene_stack import MaskedScene

SHAPE = (19, 11)
MASKS = arrays(np.bool_, (4, *SHAPE))
FADES = st.sampled_from([0.0, 2.5, 30.0])
NAMES = st.sampled_from(sorted(COMPOSITE_METHODS))
WHOLE = np.ones(SHAPE, np.bool_)


def make_scenes(clear: Bool, seed: int = 0) -> list[MaskedScene]:
    rng = np.random.default_rng(seed)
    gains = [
        None,
        convert_gain_to_level_offset((1.1, 0.9, 1.0, 1.05)),
        None,
        convert_gain_to_level_offset((0.8, 1.0, 1.2, 1.0)),
    ]
    levels = rng.integers(1, 256, (len(clear), 4, *clear.shape[1:]), dtype=np.uint8)
    return [MaskedScene(*one) for one in zip(levels, clear, gains, strict=False)]


def composite_pixel(name: str, *observations: tuple[int, int, int, int]) -> Composite:
    """Composite scenes of one pixel each, all clear."""
    clear = np.ones((1, 1), np.bool_)
    return composite_scenes(
        [MaskedScene(np.array(one, np.uint8).reshape(4, 1, 1), clear) for one in observations],
        0,
        method=COMPOSITE_METHODS[name],
    )


def get_levels(fused: Composite) -> list[int]:
    return fused.levels[:, 0, 0].tolist()


def test_configuration_offers_every_method() -> None:
    assert set(CompositeOptions.model_json_schema()["properties"]["rule"]["enum"]) == set(COMPOSITE_METHODS)


@given(clear=MASKS, fade=FADES, name=NAMES)
@settings(deadline=None)
def test_method_fills_every_clear_pixel_from_a_scene_that_is_clear_there(clear: Bool, fade: float, name: str) -> None:
    fused = composite_scenes(make_scenes(clear), fade, method=COMPOSITE_METHODS[name])
    seen = clear.any(axis=0)
    np.testing.assert_array_equal(fused.provenance != 0, seen)
    np.testing.assert_array_equal(fused.weight != 0, seen)
    np.testing.assert_array_equal((fused.levels != 0).all(axis=0), seen)
    np.testing.assert_array_equal((fused.levels != 0).any(axis=0), seen)
    for number, mask in enumerate(clear, start=1):
        assert mask[fused.provenance == number].all()


@given(clear=MASKS, fade=FADES, name=NAMES, rows=st.integers(1, SHAPE[0]))
@settings(deadline=None)
def test_method_in_slabs_equals_method_on_whole_tile(clear: Bool, fade: float, name: str, rows: int) -> None:
    whole = composite_scenes(make_scenes(clear), fade, method=COMPOSITE_METHODS[name])
    tops = range(0, SHAPE[0], rows)
    parts = [
        composite_scenes(make_scenes(clear), fade, slice(top, min(top + rows, SHAPE[0])), COMPOSITE_METHODS[name])
        for top in tops
    ]
    for field in ("levels", "provenance", "weight"):
        found = np.concatenate([getattr(part, field) for part in parts], axis=-2)
        np.testing.assert_array_equal(found, getattr(whole, field))


@given(clear=MASKS, fade=FADES, name=NAMES)
@settings(deadline=None)
def test_method_level_lies_between_those_of_the_clear_scenes(clear: Bool, fade: float, name: str) -> None:
    plain = [one._replace(gain=None) for one in make_scenes(clear)]
    fused = composite_scenes(plain, fade, method=COMPOSITE_METHODS[name])
    stacked = np.stack([one.levels for one in plain]).astype(np.int16)
    seen = np.broadcast_to(clear.any(axis=0), fused.levels.shape)
    assert (fused.levels[seen] >= np.where(clear[:, None], stacked, 999).min(axis=0)[seen]).all()
    assert (fused.levels[seen] <= np.where(clear[:, None], stacked, -1).max(axis=0)[seen]).all()


@pytest.mark.parametrize("name", sorted(COMPOSITE_METHODS))
def test_method_keeps_a_single_observation(name: str) -> None:
    fused = composite_pixel(name, (10, 20, 30, 40))
    assert get_levels(fused) == [10, 20, 30, 40]
    assert (fused.provenance.item(), fused.weight.item()) == (1, 100)


@pytest.mark.parametrize("name", ["median", "medoid", "geomedian"])
def test_method_removes_a_missed_cloud_among_five_observations(name: str) -> None:
    land = [(50, 60, 40, 120), (51, 61, 41, 121), (49, 59, 39, 119), (50, 61, 40, 122)]
    fused = composite_pixel(name, (240, 240, 240, 235), *land)
    assert np.abs(np.subtract(get_levels(fused), (50, 60, 40, 120))).max() <= 2
    assert fused.provenance.item() > 1
    assert get_levels(composite_pixel("recent", (240, 240, 240, 235), *land)) == [240, 240, 240, 235]


@pytest.mark.parametrize("name", ["median", "medoid", "geomedian"])
def test_method_does_not_depend_on_the_order_of_scenes(name: str) -> None:
    observations = [(50, 60, 40, 120), (90, 61, 70, 101), (49, 99, 39, 119), (150, 20, 80, 60), (77, 77, 77, 77)]
    results = {tuple(get_levels(composite_pixel(name, *order))) for order in permutations(observations)}
    assert len(results) == 1


def test_median_of_equal_weights_equals_numpy_median() -> None:
    levels = np.random.default_rng(0).integers(1, 256, (5, 4, *SHAPE), dtype=np.uint8)
    for count in (2, 3, 5):
        fused = composite_scenes(
            [MaskedScene(one, WHOLE) for one in levels[:count]], 0, method=COMPOSITE_METHODS["median"]
        )
        np.testing.assert_array_equal(fused.levels, np.rint(np.median(levels[:count], axis=0)))


def test_geomedian_is_nearer_to_all_observations_than_any_step_away() -> None:
    levels = np.random.default_rng(1).integers(1, 256, (5, 4, *SHAPE), dtype=np.uint8)
    fused = composite_scenes(
        [MaskedScene(one, WHOLE) for one in levels], 0, method=COMPOSITE_METHODS["geomedian"]
    ).levels.astype(float)

    def sum_distances(point: np.ndarray) -> np.ndarray:
        return np.sqrt(((levels - point) ** 2).sum(axis=1)).sum(axis=0)

    for band in range(4):
        for step in (-3, 3):
            moved = fused.copy()
            moved[band] += step
            assert (sum_distances(moved) >= sum_distances(fused)).all()


def test_medoid_is_always_the_pixel_of_one_scene() -> None:
    levels = np.random.default_rng(1).integers(1, 256, (5, 4, *SHAPE), dtype=np.uint8)
    fused = composite_scenes([MaskedScene(one, WHOLE) for one in levels], 0, method=COMPOSITE_METHODS["medoid"])
    chosen = np.take_along_axis(levels, fused.provenance[None, None].astype(int) - 1, axis=0)[0]
    np.testing.assert_array_equal(fused.levels, chosen)


def composite_row(name: str) -> UInt8:
    """Composite a row over which one of three scenes ends at a cloud."""
    clear = np.ones((3, 1, 120), np.bool_)
    clear[0, 0, 80:] = False
    bright = [
        MaskedScene(np.full((4, 1, 120), level, np.uint8), mask)
        for level, mask in zip((140, 100, 104), clear, strict=True)
    ]
    return composite_scenes(bright, 40, method=COMPOSITE_METHODS[name]).levels[0, 0]


@pytest.mark.parametrize("name", ["recent", "median", "geomedian"])
def test_method_changes_gradually_where_a_scene_ends(name: str) -> None:
    row = composite_row(name).astype(int)
    assert np.abs(np.diff(row)).max() <= 2
    assert (np.diff(row) <= 0).all()


def test_weight_is_the_part_of_the_scene_in_the_provenance() -> None:
    clear = np.ones((2, 1, 60), np.bool_)
    clear[0, 0, 40:] = False
    flat = np.full((4, 1, 60), 90, np.uint8)
    fused = composite_scenes([MaskedScene(flat, mask) for mask in clear], 20)
    weight = fused.weight[0].astype(int)
    assert (weight[:20] == 100).all()
    assert (weight[41:] == 100).all()
    assert weight[30] in {50, 55}
    assert (weight % 5 == 0).all()
    assert (np.diff(weight[20:30]) <= 0).all()

"""One raster on another's grid: exact where grids align, and never dependent on slabs."""

import numpy as np
import pytest

from s2ops.grid import tile
from s2ops.overlap import Window, border_inside, onto, shift, window_of

DICE = np.random.default_rng(3)


def test_aligned_tiles_are_sliced_not_resampled() -> None:
    north, south = tile("33TWM").geobox(60), tile("33TWL").geobox(60)
    levels = DICE.integers(1, 256, (4, *north.shape)).astype(np.float32)
    seen = onto(lambda window: levels[:, window[0], window[1]], north, south, 4)
    top, left = shift(north, south)  # type: ignore[misc]
    assert left == 0
    np.testing.assert_array_equal(seen[:, : north.height - top], levels[:, top:])
    assert not seen[:, north.height - top :].any()


@pytest.mark.parametrize(("a", "b", "res"), [("32TQS", "33TUM", 120), ("33TWL", "33TWM", 120)])
def test_slabs_of_the_target_equal_the_whole(a: str, b: str, res: int) -> None:
    src, dst = tile(a).geobox(res), tile(b).geobox(res)
    levels = DICE.integers(1, 256, (2, *src.shape)).astype(np.float32)
    levels[:, 200:260, 500:800] = 0

    def read(window: Window) -> np.ndarray:
        return levels[:, window[0], window[1]]

    whole = onto(read, src, dst, 2)
    slabs = [onto(read, src, dst[top : min(top + 100, dst.height), :], 2) for top in range(0, dst.height, 100)]
    np.testing.assert_array_equal(np.concatenate(slabs, axis=1), whole)
    assert (whole > 0).any()


def test_a_field_of_map_coordinates_keeps_its_place_across_zones() -> None:
    src, dst = tile("32TQS").geobox(120), tile("33TUM").geobox(120)
    rows, cols = np.mgrid[0 : src.height, 0 : src.width].astype(np.float32)
    seen = onto(lambda window: np.stack([rows, cols])[:, window[0], window[1]] + 1, src, dst, 2)
    at = np.argwhere(seen[0] > 0)[::5000]
    for y, x in at:
        east, north = dst.transform * (x + 0.5, y + 0.5)
        from pyproj import Transformer  # noqa: PLC0415

        there = Transformer.from_crs(dst.crs.epsg, src.crs.epsg, always_xy=True).transform(east, north)
        col, row = ~src.transform * there
        assert seen[0, y, x] == pytest.approx(row - 0.5 + 1, abs=0.02)
        assert seen[1, y, x] == pytest.approx(col - 0.5 + 1, abs=0.02)


def test_rasters_that_do_not_meet_show_nothing() -> None:
    src, dst = tile("32TPS").geobox(120), tile("33TUN").geobox(120)
    assert window_of(src, dst[500:, 500:]) is None
    assert not onto(lambda _: np.ones((1, 1, 1), np.float32), src, dst[500:, 500:], 1).any()


def test_a_neighbours_border_crosses_the_tile_where_the_overlap_ends() -> None:
    line = border_inside(tile("33TWL").geobox(20), tile("33TWM").geobox(20))
    assert line is not None
    np.testing.assert_allclose(line[:, 0], 489.0)
    assert border_inside(tile("33TWL").geobox(20), tile("31TCJ").geobox(20)) is None

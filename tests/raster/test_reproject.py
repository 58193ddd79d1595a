"""One raster on another's grid: exact where grids align, and never dependent on slabs."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.raster.lanczos import sharp
from s2ops.raster.reproject import Window, border_inside, onto, shift, window_of

DICE = np.random.default_rng(3)


def test_aligned_tiles_are_sliced_not_resampled() -> None:
    north, south = parse_tile("33TWM").build_geobox(60), parse_tile("33TWL").build_geobox(60)
    levels = DICE.integers(1, 256, (4, *north.shape)).astype(np.float32)
    seen = onto(lambda window: levels[:, window[0], window[1]], north, south, 4)
    top, left = shift(north, south)  # type: ignore[misc]
    assert left == 0
    np.testing.assert_array_equal(seen[:, : north.height - top], levels[:, top:])
    assert not seen[:, north.height - top :].any()


@pytest.mark.parametrize(("a", "b", "res"), [("32TQS", "33TUM", 120), ("33TWL", "33TWM", 120)])
def test_slabs_of_the_target_equal_the_whole(a: str, b: str, res: int) -> None:
    src, dst = parse_tile(a).build_geobox(res), parse_tile(b).build_geobox(res)
    levels = DICE.integers(1, 256, (2, *src.shape)).astype(np.float32)
    levels[:, 200:260, 500:800] = 0

    def read(window: Window) -> np.ndarray:
        return levels[:, window[0], window[1]]

    whole = onto(read, src, dst, 2)
    slabs = [onto(read, src, dst[top : min(top + 100, dst.height), :], 2) for top in range(0, dst.height, 100)]
    np.testing.assert_array_equal(np.concatenate(slabs, axis=1), whole)
    assert (whole > 0).any()


@pytest.mark.parametrize(
    ("a", "b"),
    [
        pytest.param("32TQS", "33TUM", id="two zones"),
        pytest.param("33MWV", "33NWA", id="the equator and its false northing"),
        pytest.param("60KYG", "01KAB", id="the antimeridian"),
    ],
)
def test_a_field_of_map_coordinates_keeps_its_place(a: str, b: str) -> None:
    src, dst = parse_tile(a).build_geobox(120), parse_tile(b).build_geobox(120)
    rows, cols = np.mgrid[0 : src.height, 0 : src.width].astype(np.float32)
    seen = onto(lambda window: np.stack([rows, cols])[:, window[0], window[1]] + 1, src, dst, 2)
    at = np.argwhere(seen[0] > 0)[::5000]
    assert len(at) > 1
    for y, x in at:
        east, north = dst.transform * (x + 0.5, y + 0.5)
        from pyproj import Transformer  # noqa: PLC0415

        there = Transformer.from_crs(dst.crs.epsg, src.crs.epsg, always_xy=True).transform(east, north)
        col, row = ~src.transform * there
        assert seen[0, y, x] == pytest.approx(row - 0.5 + 1, abs=0.02)
        assert seen[1, y, x] == pytest.approx(col - 0.5 + 1, abs=0.02)


def test_rasters_that_do_not_meet_show_nothing() -> None:
    src, dst = parse_tile("32TPS").build_geobox(120), parse_tile("33TUN").build_geobox(120)
    assert window_of(src, dst[500:, 500:]) is None
    assert not onto(lambda _: np.ones((1, 1, 1), np.float32), src, dst[500:, 500:], 1).any()


def test_a_neighbours_border_crosses_the_tile_where_the_overlap_ends() -> None:
    line = border_inside(parse_tile("33TWL").build_geobox(20), parse_tile("33TWM").build_geobox(20))
    assert line is not None
    np.testing.assert_allclose(line[:, 0], 489.0)
    assert border_inside(parse_tile("33TWL").build_geobox(20), parse_tile("31TCJ").build_geobox(20)) is None


def between(image: np.ndarray, y: float, x: float) -> np.ndarray:
    """`image` (rows, columns) at every pixel moved by `y` and `x`, sharp."""
    rows, cols = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float64)
    return sharp(image[None].astype(np.float32), rows + y, cols + x)[0]


def test_sharp_gives_pixels_back_exactly_at_their_centres() -> None:
    image = DICE.integers(1, 256, (30, 20))
    np.testing.assert_array_equal(between(image, 0, 0)[3:-3, 3:-3], image[3:-3, 3:-3])


@pytest.mark.parametrize(("y", "x"), [(0.5, 0.0), (0.0, 0.5), (0.3, 0.7)])
def test_sharp_keeps_fine_texture_that_bilinear_blurs(y: float, x: float) -> None:
    rows, cols = np.mgrid[:60, :50].astype(np.float64)

    def waves(y: float, x: float) -> np.ndarray:
        return 100 + 40 * np.sin((rows + y) * 1.3) * np.sin((cols + x) * 1.1)  # five pixels a wave

    inner = (slice(5, -5), slice(5, -5))
    linear = map_coordinates(waves(0, 0), [rows + y, cols + x], order=1)
    errors = [np.abs(made - waves(y, x))[inner].mean() for made in (between(waves(0, 0), y, x), linear)]
    assert errors[0] < 0.2 * errors[1]


def test_sharp_fills_what_bilinear_would_and_takes_nothing_from_no_data() -> None:
    image = np.full((20, 20), 80.0)
    image[8:12, 9:14] = 0
    found = between(image, 0.25, 0.25)
    assert set(np.unique(found)) <= {0.0, 80.0}
    assert (found[9:11, 10:13] == 0).all()
    assert (found[3:7, 3:7] == 80).all()


def test_sharp_does_not_show_the_window_that_it_was_given() -> None:
    image = DICE.integers(1, 256, (40, 40)).astype(np.float32)
    rows, cols = np.mgrid[10:20, 10:20] + 0.37
    cut = sharp(image[None, 4:30, 5:31], rows - 4, cols - 5)
    np.testing.assert_array_equal(cut, sharp(image[None], rows, cols))

"""Reprojection: exact if grids align, and independent of slabs; Lanczos resampling."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.raster.lanczos import resample_lanczos3
from s2ops.raster.reproject import Window, find_aligned_offset, find_shared_border, find_source_window, resample_to_grid

DICE = np.random.default_rng(3)


def test_resample_to_grid_slices_aligned_grids() -> None:
    north, south = parse_tile("33TWM").build_geobox(60), parse_tile("33TWL").build_geobox(60)
    levels = DICE.integers(1, 256, (4, *north.shape)).astype(np.float32)
    seen = resample_to_grid(lambda window: levels[:, window[0], window[1]], north, south, 4)
    top, left = find_aligned_offset(north, south)  # type: ignore[misc]
    assert left == 0
    np.testing.assert_array_equal(seen[:, : north.height - top], levels[:, top:])
    assert not seen[:, north.height - top :].any()


@pytest.mark.parametrize(("a", "b", "res"), [("32TQS", "33TUM", 120), ("33TWL", "33TWM", 120)])
def test_resample_to_grid_does_not_depend_on_slabs(a: str, b: str, res: int) -> None:
    src, dst = parse_tile(a).build_geobox(res), parse_tile(b).build_geobox(res)
    levels = DICE.integers(1, 256, (2, *src.shape)).astype(np.float32)
    levels[:, 200:260, 500:800] = 0

    def read(window: Window) -> np.ndarray:
        return levels[:, window[0], window[1]]

    whole = resample_to_grid(read, src, dst, 2)
    slabs = [
        resample_to_grid(read, src, dst[top : min(top + 100, dst.height), :], 2) for top in range(0, dst.height, 100)
    ]
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
def test_resample_to_grid_keeps_map_coordinates(a: str, b: str) -> None:
    src, dst = parse_tile(a).build_geobox(120), parse_tile(b).build_geobox(120)
    rows, cols = np.mgrid[0 : src.height, 0 : src.width].astype(np.float32)
    seen = resample_to_grid(lambda window: np.stack([rows, cols])[:, window[0], window[1]] + 1, src, dst, 2)
    at = np.argwhere(seen[0] > 0)[::5000]
    assert len(at) > 1
    for y, x in at:
        east, north = dst.transform * (x + 0.5, y + 0.5)
        from pyproj import Transformer  # noqa: PLC0415

        there = Transformer.from_crs(dst.crs.epsg, src.crs.epsg, always_xy=True).transform(east, north)
        col, row = ~src.transform * there
        assert seen[0, y, x] == pytest.approx(row - 0.5 + 1, abs=0.02)
        assert seen[1, y, x] == pytest.approx(col - 0.5 + 1, abs=0.02)


def test_resample_to_grid_without_intersection_is_nodata() -> None:
    src, dst = parse_tile("32TPS").build_geobox(120), parse_tile("33TUN").build_geobox(120)
    assert find_source_window(src, dst[500:, 500:]) is None
    assert not resample_to_grid(lambda _: np.ones((1, 1, 1), np.float32), src, dst[500:, 500:], 1).any()


def test_find_shared_border_is_where_the_overlap_ends() -> None:
    line = find_shared_border(parse_tile("33TWL").build_geobox(20), parse_tile("33TWM").build_geobox(20))
    assert line is not None
    np.testing.assert_allclose(line[:, 0], 489.0)
    assert find_shared_border(parse_tile("33TWL").build_geobox(20), parse_tile("31TCJ").build_geobox(20)) is None


def shift_image(image: np.ndarray, y: float, x: float) -> np.ndarray:
    """Resample `image` (rows, columns) at all pixels shifted by `y` and `x`."""
    rows, cols = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float64)
    return resample_lanczos3(image[None].astype(np.float32), rows + y, cols + x)[0]


def test_resample_lanczos3_is_exact_at_pixel_centres() -> None:
    image = DICE.integers(1, 256, (30, 20))
    np.testing.assert_array_equal(shift_image(image, 0, 0)[3:-3, 3:-3], image[3:-3, 3:-3])


@pytest.mark.parametrize(("y", "x"), [(0.5, 0.0), (0.0, 0.5), (0.3, 0.7)])
def test_resample_lanczos3_keeps_fine_texture_that_bilinear_blurs(y: float, x: float) -> None:
    rows, cols = np.mgrid[:60, :50].astype(np.float64)

    def compute_waves(y: float, x: float) -> np.ndarray:
        return 100 + 40 * np.sin((rows + y) * 1.3) * np.sin((cols + x) * 1.1)  # wavelength of five pixels

    inner = (slice(5, -5), slice(5, -5))
    linear = map_coordinates(compute_waves(0, 0), [rows + y, cols + x], order=1)
    errors = [
        np.abs(made - compute_waves(y, x))[inner].mean() for made in (shift_image(compute_waves(0, 0), y, x), linear)
    ]
    assert errors[0] < 0.2 * errors[1]


def test_resample_lanczos3_is_bilinear_beside_nodata_and_uses_no_nodata() -> None:
    image = np.full((20, 20), 80.0)
    image[8:12, 9:14] = 0
    found = shift_image(image, 0.25, 0.25)
    assert set(np.unique(found)) <= {0.0, 80.0}
    assert (found[9:11, 10:13] == 0).all()
    assert (found[3:7, 3:7] == 80).all()


def test_resample_lanczos3_does_not_depend_on_the_window() -> None:
    image = DICE.integers(1, 256, (40, 40)).astype(np.float32)
    rows, cols = np.mgrid[10:20, 10:20] + 0.37
    cut = resample_lanczos3(image[None, 4:30, 5:31], rows - 4, cols - 5)
    np.testing.assert_array_equal(cut, resample_lanczos3(image[None], rows, cols))

"""Overviews made while a raster passes by: the same however it is cut, and no data never mixes in."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from s2ops.constants import BANDS, UInt8
from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.raster.cog import IMAGERY, SlabFile
from s2ops.raster.overviews import Halving, Method, halved, sizes

RASTERS = arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, max_side=9), elements=st.integers(0, 4))
METHODS = st.sampled_from(["AVERAGE", "MODE", "NEAREST"])


def quads(levels: UInt8) -> list[list[UInt8]]:
    """The pixels under each pixel of the first band's overview, row by row."""
    height, width = levels.shape[1:]
    return [
        [levels[0, y : y + 2, x : x + 2].ravel() for x in range(0, width, 2)] for y in range(0, height, 2)
    ]  # fmt: skip


def test_a_full_tile_has_five_overviews() -> None:
    assert list(sizes(10_980, 10_980)) == [(5490, 5490), (2745, 2745), (1373, 1373), (687, 687), (344, 344)]
    assert list(sizes(512, 300)) == []


@given(RASTERS)
@settings(deadline=None)
def test_an_average_is_that_of_the_pixels_with_data(levels: UInt8) -> None:
    out = halved(levels, "AVERAGE", 0)
    assert out.dtype == np.uint8
    for y, line in enumerate(quads(levels)):
        for x, quad in enumerate(line):
            valid = quad[quad > 0]
            assert out[0, y, x] == (np.floor(valid.mean() + 0.5) if len(valid) else 0)


@given(RASTERS)
@settings(deadline=None)
def test_a_mode_is_the_most_frequent_of_the_pixels_with_data(levels: UInt8) -> None:
    out = halved(levels, "MODE", 0)
    for y, line in enumerate(quads(levels)):
        for x, quad in enumerate(line):
            valid = quad[quad > 0]
            if quad.size == 4 and len(valid):
                counts = np.bincount(valid)
                assert counts[out[0, y, x]] == counts.max()
            assert (out[0, y, x] == 0) == (len(valid) == 0)


@given(RASTERS, METHODS, st.integers(1, 9))
@settings(deadline=None)
def test_parts_of_any_height_give_the_same_overview(levels: UInt8, method: Method, rows: int) -> None:
    parts: list[UInt8] = []
    halving = Halving(method, 0, parts.append)
    for top in range(0, levels.shape[1], rows):
        halving.feed(levels[:, top : top + rows])
    halving.finish()
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), halved(levels, method, 0))


@pytest.mark.parametrize("res", [120, 60])
def test_a_cog_carries_the_overviews_that_were_made(tmp_path: Path, res: int) -> None:
    grid = parse_tile("33TWL").build_geobox(res)
    levels = np.random.default_rng(1).integers(0, 256, (4, *grid.shape), dtype=np.uint8)
    file = SlabFile(tmp_path / "a.tif", grid, BANDS, IMAGERY)
    file.write(levels)
    path = file.finish()
    assert [child.name for child in tmp_path.iterdir()] == ["a.tif"]
    for number, shape in enumerate(sizes(*grid.shape)):
        levels = halved(levels, "AVERAGE", 0)
        with rasterio.open(path, OVERVIEW_LEVEL=number) as src:
            assert src.shape == shape
            np.testing.assert_array_equal(src.read(), levels)

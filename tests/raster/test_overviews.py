"""Overviews built while a raster is written: independent of slabs, and nodata never mixes in."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from s2ops.constants import BANDS, UInt8
from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.raster.cog import IMAGERY, CogWriter
from s2ops.raster.overviews import OverviewBuilder, OverviewMethod, downsample_2x, list_overview_shapes

RASTERS = arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, max_side=9), elements=st.integers(0, 4))
METHODS = st.sampled_from(["AVERAGE", "MODE", "NEAREST"])


def split_blocks(levels: UInt8) -> list[list[UInt8]]:
    """Split the first band into the block below each overview pixel, row by row."""
    height, width = levels.shape[1:]
    return [
        [levels[0, y : y + 2, x : x + 2].ravel() for x in range(0, width, 2)] for y in range(0, height, 2)
    ]  # fmt: skip


def test_list_overview_shapes_halves_until_one_block() -> None:
    assert list(list_overview_shapes(10_980, 10_980)) == [
        (5490, 5490),
        (2745, 2745),
        (1373, 1373),
        (687, 687),
        (344, 344),
    ]
    assert list(list_overview_shapes(512, 300)) == []


@given(RASTERS)
@settings(deadline=None)
def test_downsample_2x_averages_valid_pixels(levels: UInt8) -> None:
    out = downsample_2x(levels, "AVERAGE", 0)
    assert out.dtype == np.uint8
    for y, line in enumerate(split_blocks(levels)):
        for x, block in enumerate(line):
            valid = block[block > 0]
            assert out[0, y, x] == (np.floor(valid.mean() + 0.5) if len(valid) else 0)


@given(RASTERS)
@settings(deadline=None)
def test_downsample_2x_mode_is_the_most_frequent_valid_value(levels: UInt8) -> None:
    out = downsample_2x(levels, "MODE", 0)
    for y, line in enumerate(split_blocks(levels)):
        for x, block in enumerate(line):
            valid = block[block > 0]
            if block.size == 4 and len(valid):
                counts = np.bincount(valid)
                assert counts[out[0, y, x]] == counts.max()
            assert (out[0, y, x] == 0) == (len(valid) == 0)


@given(RASTERS, METHODS, st.integers(1, 9))
@settings(deadline=None)
def test_overview_builder_does_not_depend_on_slabs(levels: UInt8, method: OverviewMethod, rows: int) -> None:
    parts: list[UInt8] = []
    builder = OverviewBuilder(method, 0, parts.append)
    for top in range(0, levels.shape[1], rows):
        builder.add_rows(levels[:, top : top + rows])
    builder.finish()
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), downsample_2x(levels, method, 0))


@pytest.mark.parametrize("res", [120, 60])
def test_cog_writer_stores_the_built_overviews(tmp_path: Path, res: int) -> None:
    grid = parse_tile("33TWL").build_geobox(res)
    levels = np.random.default_rng(1).integers(0, 256, (4, *grid.shape), dtype=np.uint8)
    file = CogWriter(tmp_path / "a.tif", grid, BANDS, IMAGERY)
    file.write(levels)
    path = file.finish()
    assert [child.name for child in tmp_path.iterdir()] == ["a.tif"]
    for number, shape in enumerate(list_overview_shapes(*grid.shape)):
        levels = downsample_2x(levels, "AVERAGE", 0)
        with rasterio.open(path, OVERVIEW_LEVEL=number) as src:
            assert src.shape == shape
            np.testing.assert_array_equal(src.read(), levels)

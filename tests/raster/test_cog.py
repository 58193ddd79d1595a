"""COG writer: files from slabs are valid, have descriptions, and are never declared RGB and alpha."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp
from rio_cogeo.cogeo import cog_validate

from s2ops.constants import BANDS, CLASS_COLOURS, LandCover
from s2ops.errors import OutputError
from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.raster.cog import CLASSES, IMAGERY, CogWriter

GRID = parse_tile("33TWL").build_geobox(120)
DICE = np.random.default_rng(11)


def test_cog_writer_writes_slabs_as_one_valid_cog(tmp_path: Path) -> None:
    levels = DICE.integers(0, 256, (4, *GRID.shape), dtype=np.uint8)
    file = CogWriter(tmp_path / "a.tif", GRID, BANDS, IMAGERY, {"S2OPS_SCENE": "x"})
    for top in range(0, 915, 400):
        file.write(levels[:, top : top + 400])
    path = file.finish()
    assert cog_validate(str(path), strict=True, quiet=True)[0]
    assert [child.name for child in tmp_path.iterdir()] == ["a.tif"]
    with rasterio.open(path) as src:
        np.testing.assert_array_equal(src.read(), levels)
        assert src.descriptions == BANDS
        assert src.nodata == 0
        assert src.tags()["S2OPS_SCENE"] == "x"
        assert ColorInterp.alpha not in src.colorinterp
        assert src.crs.to_epsg() == 32633


def test_cog_writer_bytes_do_not_depend_on_slabs(tmp_path: Path) -> None:
    levels = DICE.integers(0, 256, (4, *GRID.shape), dtype=np.uint8)
    for name, rows in (("a", 512), ("b", 300)):
        file = CogWriter(tmp_path / f"{name}.tif", GRID, BANDS, IMAGERY)
        for top in range(0, 915, rows):
            file.write(levels[:, top : top + rows])
        file.finish()
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_cog_writer_stores_the_colours_of_the_classes(tmp_path: Path) -> None:
    file = CogWriter(tmp_path / "c.tif", GRID, ["class"], CLASSES)
    file.write(DICE.integers(0, 7, (1, *GRID.shape), dtype=np.uint8))
    with rasterio.open(file.finish()) as src:
        assert src.colormap(1)[LandCover.TREE][:3] == CLASS_COLOURS[LandCover.TREE]


def test_cog_writer_error_names_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"Cannot write .*gone/a\.tif"):
        CogWriter(tmp_path / "gone" / "a.tif", GeoBox((8, 8), GRID.transform, "EPSG:32633"), BANDS, IMAGERY)

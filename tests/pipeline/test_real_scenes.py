"""Whole chain on real Sentinel-2 scenes (examples/zagreb.yaml), and the commands for single files."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.warp import reproject
from scipy.ndimage import gaussian_filter, laplace, uniform_filter

from s2ops.evaluation.polygon_references import CLEAR_DATE, MISREGISTERED_DATE
from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.raster.reproject import Window, resample_to_grid
from s2ops.run.context import RunContext
from s2ops.run.load_config import load_config
from tests.helpers.chain import run_s2ops
from tests.helpers.seam_requirements import assert_meets_seam_requirements, balance_and_blend, brighten

REAL = os.environ.get("S2OPS_REAL_DATA")
pytestmark = pytest.mark.skipif(REAL is None, reason="S2OPS_REAL_DATA is not set")

DATA = Path(REAL or ".")
EXAMPLE = Path(__file__).parents[2] / "examples/zagreb.yaml"
TILES = ("33TWL", "33TWM")
SCL_CLOUD = (8, 9, 10)
"""Codes of cloud of medium and high probability, and of thin cirrus."""


@pytest.fixture(scope="module")
def zagreb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("zagreb") / "out"
    done = run_s2ops("run", EXAMPLE, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


def read_scl(scene: str, shape: tuple[int, int]) -> NDArray[np.uint8]:
    path = DATA / f"zagreb-two-tiles/sentinel-2-l2a/{scene}/SCL.tif"
    with rasterio.open(path) as src:
        return src.read(1, out_shape=shape, resampling=Resampling.nearest)


def read_image(path: Path) -> NDArray[np.uint8]:
    with rasterio.open(path) as src:
        return src.read()


def test_run_verifies(zagreb: Path) -> None:
    done = run_s2ops("verify", zagreb)
    assert done.returncode == 0, done.stdout


def test_composite_fills_every_pixel_that_is_clear_in_a_scene(zagreb: Path) -> None:
    for name in TILES:
        filled = read_image(zagreb / f"composite/{name}/provenance.tif")[0] > 0
        masks = [read_image(path)[0] for path in sorted((zagreb / f"scenes/{name}").glob("*.mask.tif"))]
        assert len(masks) == 5
        np.testing.assert_array_equal(filled, (np.stack(masks) == 0).any(axis=0))
        assert (~filled).mean() < 0.02


def test_composite_has_under_two_percent_residual_cloud_by_scl(zagreb: Path) -> None:
    cloudy = chosen = 0
    for name in TILES:
        item = json.loads((zagreb / f"composite/{name}/item.json").read_text())
        source = read_image(zagreb / f"composite/{name}/provenance.tif")[0]
        for number, scene in enumerate(item["properties"]["s2ops:scenes"], 1):
            taken = source == number
            chosen += int(taken.sum())
            cloudy += int((taken & np.isin(read_scl(scene["id"], source.shape), SCL_CLOUD)).sum())
    assert chosen > 1_500_000
    assert cloudy / chosen < 0.02


def test_mosaics_agree_over_their_overlap(zagreb: Path) -> None:
    north, south = parse_tile("33TWM").build_geobox(120), parse_tile("33TWL").build_geobox(120)
    above = read_image(zagreb / "mosaic/33TWM/mosaic.tif").astype(np.float32)
    below = read_image(zagreb / "mosaic/33TWL/mosaic.tif").astype(np.float32)

    def read_window(part: Window) -> NDArray[np.float32]:
        return below[:, part[0], part[1]]

    seen = resample_to_grid(read_window, south, north, 4)
    both = ((above > 0).all(axis=0) & (seen > 0).all(axis=0)).astype(np.float32)
    assert both.mean() > 0.08
    count = np.maximum(uniform_filter(both, 9), 1e-3)
    for band in range(4):
        means = [uniform_filter(image[band] * both, 9) / count for image in (above, seen)]
        assert np.abs(means[0] - means[1])[both > 0].mean() <= 1


def test_mosaic_has_no_visible_seam_between_tiles(zagreb: Path) -> None:
    for name in TILES:
        item = json.loads((zagreb / f"mosaic/{name}/item.json").read_text())
        for seam in item["properties"]["s2ops:seams"]:
            assert seam["after"]["excess"] <= 1.05
            assert seam["after"]["coherent"] < 1.3


def test_classify_finds_the_water_of_a_reservoir(tmp_path: Path) -> None:
    dates = [DATA / f"boadella-series/Boadella_{day}.tif" for day in ("2020-06-21", "2021-07-16", "2022-06-01")]
    done = run_s2ops("classify", *dates, tmp_path / "landcover.tif", "--bands", "4,3,2,8")
    assert done.returncode == 0, done.stderr
    classes = read_image(tmp_path / "landcover.tif")[0]
    with rasterio.open(dates[1]) as src:
        green, nir = src.read([3, 8]).astype(np.float32)
    ndwi_water = (green - nir) / np.maximum(green + nir, 1) > 0.3
    assert (classes[ndwi_water] == 1).mean() > 0.8
    assert (classes[~ndwi_water] == 1).mean() < 0.05


def test_classify_fuses_hazy_and_clear_dates_in_different_projections(tmp_path: Path) -> None:
    dates = [
        DATA / f"exeter-series/exe_{name}.tif"
        for name in ("2024-06-17_12-21-21_UTM", "2024-06-02_12-21-19_EPSG27700", "2024-08-01_12-21-19")
    ]
    done = run_s2ops("classify", *dates, tmp_path / "landcover.tif", "--offset", "-1000")
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "landcover.tif") as src, rasterio.open(dates[0]) as first:
        assert (src.crs, src.transform) == (first.crs, first.transform)
        assert len(set(src.read(1).ravel()) - {0}) >= 4


@pytest.mark.parametrize("gain", [1.0, 1.15])
def test_blend_meets_its_goals_also_if_one_tile_is_brighter(zagreb: Path, tmp_path: Path, gain: float) -> None:
    shutil.copytree(zagreb / "composite", tmp_path / "composite")
    ctx = RunContext(load_config(EXAMPLE, out=str(tmp_path)), tuple(parse_tile(name) for name in TILES))
    if gain != 1:
        brighten(ctx, TILES[0], gain)
    balance_and_blend(ctx)
    assert_meets_seam_requirements(ctx)


def test_exeter_has_one_misregistered_date() -> None:
    """The scorecard leaves it out: its clear ground matches that of the clear date best after a shift of some 80 m."""
    series = DATA / "exeter-series"
    with rasterio.open(next(series.glob(f"*{CLEAR_DATE}*"))) as src:
        here, to, crs = src.read(3).astype(np.float32), src.transform, src.crs
    for date, beside in (("2024-08-01", False), ("2024-08-16", False), (MISREGISTERED_DATE, True)):
        with rasterio.open(next(series.glob(f"*{date}*"))) as src:
            other = np.zeros_like(here)
            reproject(src.read(3).astype(np.float32), other, src_transform=src.transform, src_crs=src.crs,
                      dst_transform=to, dst_crs=crs, resampling=Resampling.bilinear)  # fmt: skip
        first, second = (laplace(gaussian_filter(np.clip(one, 0, 4000), 1.0)) for one in (here, other))
        alike = {
            (y, x): np.corrcoef(first[40:-40, 40:-40].ravel(), np.roll(second, (y, x), (0, 1))[40:-40, 40:-40].ravel())
            for y in range(-6, 7) for x in range(-6, 7)
        }  # fmt: skip
        y, x = max(alike, key=lambda shift: alike[shift][0, 1])
        assert (np.hypot(y, x) > 3) == beside, (date, y, x)  # pixels of 20 m


def test_mask_and_enhance_keep_the_grid_of_a_file(tmp_path: Path) -> None:
    source = DATA / "exeter-series/exe_2024-08-01_12-21-19.tif"
    for word in ("mask", "enhance"):
        done = run_s2ops(word, source, tmp_path / f"{word}.tif", "--offset", "-1000")
        assert done.returncode == 0, done.stderr
        with rasterio.open(tmp_path / f"{word}.tif") as made, rasterio.open(source) as given:
            assert (made.crs, made.transform, made.shape) == (given.crs, given.transform, given.shape)
    assert set(np.unique(read_image(tmp_path / "mask.tif"))) <= {0, 1, 2, 255}


def test_mask_requires_the_band_order_if_it_is_unknown(tmp_path: Path) -> None:
    done = run_s2ops("mask", DATA / "boadella-series/Boadella_2021-07-16.tif", tmp_path / "mask.tif")
    assert done.returncode == 2
    assert "--bands RED,GREEN,BLUE,NIR" in done.stderr

"""Tests of the wheel: it contains weights and templates, and runs outside the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio

from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.models.registry import TRAINABLE

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT]
    subprocess.run(pip, check=True, timeout=900)
    return next(folder.glob("s2ops-*.whl"))


def test_wheel_is_small_and_contains_weights_and_templates_but_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert sum(name.endswith(".onnx") for name in names) == len(TRAINABLE)
    assert any(name.endswith("page.html.j2") for name in names)
    page = {name.removeprefix("s2ops/view/page/") for name in names if name.startswith("s2ops/view/page/")}
    assert {"index.html", "app.js", "vendor/maplibre-gl.mjs", "vendor/maplibre-gl.LICENSE.txt"} <= page
    assert "s2ops/py.typed" in names
    assert not any(name.startswith("tests/") for name in names)
    assert wheel.stat().st_size < 60_000_000


def test_wheel_runs_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    grid = parse_tile("33TWL").build_geobox(120)
    profile = {"driver": "GTiff", "dtype": "uint16", "count": 4, "width": 64, "height": 64, "nodata": 0}
    with rasterio.open(tmp_path / "in.tif", "w", crs=str(grid.crs), transform=grid.transform, **profile) as dst:
        dst.write(np.random.default_rng(1).integers(300, 3000, (4, 64, 64), dtype=np.uint16))
    code = f"import s2ops, sys; assert s2ops.__path__ == [{str(site / 's2ops')!r}]; from s2ops.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "mask", "in.tif", "out.tif"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "out.tif") as src:
        assert src.shape == (64, 64)

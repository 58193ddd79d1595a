"""Commands for single files on a simulated image: the networks of the land-cover map as the user chooses."""

import shutil
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from typer.testing import CliRunner, Result

from s2ops.cli.app import app
from s2ops.config import DEFAULT_NETWORKS
from s2ops.constants import BANDS, Mask, UInt8
from s2ops.models.registry import LANDCOVER_NETWORKS, PACKAGE_WEIGHTS
from s2ops.simulate.training_patches import simulate_patch

SIDE_PX = 192


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Image of 8-bit levels of the first simulated place at 10 m with a clear sky and several kinds of ground."""
    path = tmp_path_factory.mktemp("image") / "image.tif"
    places = (simulate_patch(seed, SIDE_PX, 10) for seed in count(70_000_000))
    levels = next(one.image for one in places if (one.mask == Mask.CLEAR).all() and len(np.unique(one.classes)) >= 4)
    place = from_origin(500_000, 5_000_000, 10, 10)
    with rasterio.open(
        path, "w", driver="GTiff", width=SIDE_PX, height=SIDE_PX, count=4, dtype="uint8", crs="EPSG:32633",
        transform=place, nodata=0,
    ) as out:  # fmt: skip
        out.write(levels)
        out.descriptions = BANDS
    return path


def classify(image: Path, out: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["classify", str(image), str(out), *options])


def read_classes(path: Path) -> UInt8:
    with rasterio.open(path) as src:
        found: UInt8 = src.read(1)
    return found


@pytest.fixture(scope="module")
def maps(image: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, UInt8]:
    """Map of each choice, made from a folder that contains only the networks which the choice needs."""
    made = {}
    for choice, names in LANDCOVER_NETWORKS.items():
        folder = tmp_path_factory.mktemp(choice)
        copy_weights(folder, names)
        out = folder / "map.tif"
        done = classify(image, out, "--networks", choice, "--models", str(folder))
        assert done.exit_code == 0, done.output
        made[choice] = read_classes(out)
    return made


def copy_weights(folder: Path, names: tuple[str, ...]) -> None:
    for name in ("scene-cloud", *names):
        shutil.copy(PACKAGE_WEIGHTS / f"{name}.onnx", folder)


def test_classify_makes_a_map_with_each_choice_of_networks(maps: dict[str, UInt8]) -> None:
    for first, second in (("separate", "shared"), ("separate", "both"), ("shared", "both")):
        seen = (maps[first] > 0) & (maps[second] > 0)
        assert seen.mean() > 0.5
        assert 0.7 < (maps[first] == maps[second])[seen].mean() < 1


def test_classify_uses_the_default_choice_and_the_weights_of_the_package(
    image: Path, maps: dict[str, UInt8], tmp_path: Path
) -> None:
    assert classify(image, tmp_path / "map.tif").exit_code == 0
    np.testing.assert_array_equal(read_classes(tmp_path / "map.tif"), maps[DEFAULT_NETWORKS])


@pytest.mark.parametrize(("choice", "missing"), [("separate", "building"), ("shared", "landcover"), ("both", "water")])
def test_classify_names_a_network_of_the_choice_that_is_missing(
    image: Path, tmp_path: Path, choice: str, missing: str
) -> None:
    copy_weights(tmp_path, tuple(name for names in LANDCOVER_NETWORKS.values() for name in names if name != missing))
    done = classify(image, tmp_path / "map.tif", "--networks", choice, "--models", str(tmp_path))
    assert done.exit_code != 0
    assert f"a folder that contains {missing}.onnx" in str(done.exception)
    assert not (tmp_path / "map.tif").exists()

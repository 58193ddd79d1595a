"""Invalid input of `s2ops run`: it ends early with an error message, or only one scene is rejected."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio

from s2ops.records import AcquireRecord, SelectRecord
from tests.helpers.chain import DATES, copy_world, make_world, run_s2ops, write_config

TILE = "32TQS"
SCENES = "sentinel-2-l2a"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_world(folder, [TILE], DATES[:3])
    return folder


def run_chain(catalog: Path | str, folder: Path, tiles: tuple[str, ...] = (TILE,)) -> tuple[int, str, Path]:
    """Run the chain; return exit code, stderr and output folder."""
    out = folder / "out"
    done = run_s2ops("run", write_config(folder / "run.yaml", catalog, out, tiles, max_dates=1), "--workers", 1)
    return done.returncode, done.stderr, out


def list_item_paths(catalog: Path) -> list[Path]:
    """List the item files of a simulated world, by date."""
    return sorted(catalog.parent.glob(f"{SCENES}/*/*_L2A.json"))


def read_reasons(out: Path) -> dict[str, str]:
    """Read why select or acquire rejected each scene, by scene id."""
    select = SelectRecord.read((out / f"select/{TILE}.json").read_bytes(), "select")
    acquire = AcquireRecord.read((out / f"scenes/{TILE}/acquired.json").read_bytes(), "acquire")
    return {one.id: one.reason for one in (*select.left_out, *acquire.left_out)}


def test_run_with_an_unknown_tile_names_it(world: Path, tmp_path: Path) -> None:
    code, stderr, _ = run_chain(world / "catalog.json", tmp_path, ("99XYZ",))
    assert code == 2
    assert "99XYZ" in stderr


def test_run_with_an_empty_date_range_reports_it(world: Path, tmp_path: Path) -> None:
    path = write_config(tmp_path / "run.yaml", world / "catalog.json", tmp_path / "out", [TILE])
    path.write_text(path.read_text().replace("end: 2023-07-31", "end: 2023-05-01"))
    done = run_s2ops("run", path)
    assert done.returncode == 2
    assert "the date range is empty: end 2023-05-01 is before start 2023-06-01; swap them" in done.stderr


def test_run_with_a_misspelt_field_names_it(world: Path, tmp_path: Path) -> None:
    path = write_config(tmp_path / "run.yaml", world / "catalog.json", tmp_path / "out", [TILE], "max_clouds: 3\n")
    done = run_s2ops("run", path)
    assert done.returncode == 2
    assert "max_clouds" in done.stderr


def test_run_without_any_scene_suggests_what_to_widen(world: Path, tmp_path: Path) -> None:
    path = write_config(tmp_path / "run.yaml", world / "catalog.json", tmp_path / "out", [TILE])
    path.write_text(path.read_text().replace("2023-06-01", "2020-06-01").replace("2023-07-31", "2020-07-31"))
    done = run_s2ops("run", path)
    assert done.returncode == 2
    assert "no scene found" in done.stderr
    assert "widen dates, raise max_cloud" in done.stderr


def test_run_with_a_missing_catalog_names_it(tmp_path: Path) -> None:
    code, stderr, _ = run_chain(tmp_path / "nowhere/catalog.json", tmp_path)
    assert code == 2
    assert "nowhere/catalog.json" in stderr


def test_run_with_an_unreachable_catalog_is_a_transient_error(tmp_path: Path) -> None:
    code, stderr, _ = run_chain("http://127.0.0.1:9/stac", tmp_path)
    assert code == 75
    assert "http://127.0.0.1:9/stac" in stderr


def add_overcast(folder: Path) -> None:
    """Cover everything in a scene with thick cloud."""
    dice = np.random.default_rng(1)
    for path in folder.glob("B0*.tif"):
        with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dst:
            shape = (dst.height, dst.width)
            dst.write(dice.normal(8000, 150, shape).astype(np.uint16), 1)
            dst.build_overviews([2], rasterio.enums.Resampling.average)
    for path in folder.glob("thumbnail*"):
        path.unlink()


def test_run_publishes_a_tile_under_constant_cloud_as_empty(world: Path, tmp_path: Path) -> None:
    catalog = copy_world(world, tmp_path / "world")
    for item in list_item_paths(catalog):
        add_overcast(item.parent)
    code, stderr, out = run_chain(catalog, tmp_path)
    assert code == 0, stderr
    item = json.loads((out / f"mosaic/{TILE}/item.json").read_text())
    assert item["properties"]["s2ops:holes"] == 1
    assert run_s2ops("verify", out).returncode == 0


def test_run_rejects_and_records_a_scene_without_a_band(world: Path, tmp_path: Path) -> None:
    catalog = copy_world(world, tmp_path / "world")
    item = json.loads(list_item_paths(catalog)[0].read_text())
    del item["assets"]["nir"]
    list_item_paths(catalog)[0].write_text(json.dumps(item))
    code, stderr, out = run_chain(catalog, tmp_path)
    assert code == 0, stderr
    assert "nir" in read_reasons(out)[item["id"]]


def test_run_records_a_scene_above_max_cloud(world: Path, tmp_path: Path) -> None:
    catalog = copy_world(world, tmp_path / "world")
    item = json.loads(list_item_paths(catalog)[0].read_text())
    item["properties"]["eo:cloud_cover"] = 97
    list_item_paths(catalog)[0].write_text(json.dumps(item))
    code, stderr, out = run_chain(catalog, tmp_path)
    assert code == 0, stderr
    assert read_reasons(out)[item["id"]] == "Its cloud cover of 97 % is above max_cloud (95 %)."


@pytest.mark.parametrize("kept", [0.3, 0.0])
def test_run_rejects_only_the_scene_of_a_truncated_asset(world: Path, tmp_path: Path, kept: float) -> None:
    catalog = copy_world(world, tmp_path / "world")
    broken = [item for item in list_item_paths(catalog) if (item.parent / "B08.tif").stat().st_size][-1]
    asset = broken.parent / "B08.tif"
    asset.write_bytes(asset.read_bytes()[: int(asset.stat().st_size * kept)])
    code, stderr, out = run_chain(catalog, tmp_path)
    assert code == 0, stderr
    assert "broken, truncated or missing" in read_reasons(out)[broken.stem]
    assert not (out / f"scenes/{TILE}/{broken.stem}.tif").exists()


@pytest.mark.parametrize(("names", "step"), [("*.tif", "acquire"), ("*", "select")])
def test_run_with_only_broken_scenes_is_an_error_not_an_empty_tile(
    world: Path, tmp_path: Path, names: str, step: str
) -> None:
    catalog = copy_world(world, tmp_path / "world")
    for item in list_item_paths(catalog):
        for asset in item.parent.glob(names):
            if asset.suffix != ".json":
                asset.write_bytes(b"no raster")
    code, stderr, out = run_chain(catalog, tmp_path)
    assert code == 2
    assert f"{TILE}: 3 of its scenes cannot be read and none can be used" in stderr
    assert (out / f"run/{step}/{TILE}.failed.json").exists()
    assert not (out / f"composite/{TILE}/item.json").exists()


def test_run_rejects_only_the_scene_of_a_corrupt_asset(world: Path, tmp_path: Path) -> None:
    catalog = copy_world(world, tmp_path / "world")
    broken = list_item_paths(catalog)[-1]
    asset = broken.parent / "B04.tif"
    data = bytearray(asset.read_bytes())
    data[len(data) // 4 :] = os.urandom(len(data) - len(data) // 4)
    asset.write_bytes(data)
    code, stderr, out = run_chain(catalog, tmp_path)
    assert code == 0, stderr
    assert "B04.tif" in read_reasons(out)[broken.stem] or "red" in read_reasons(out)[broken.stem]


def test_run_rejects_only_the_scene_of_an_asset_in_another_projection(world: Path, tmp_path: Path) -> None:
    catalog = copy_world(world, tmp_path / "world")
    broken = list_item_paths(catalog)[-1]
    with rasterio.open(broken.parent / "B03.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dst:
        dst.crs = "EPSG:32633"
    code, stderr, out = run_chain(catalog, tmp_path)
    assert code == 0, stderr
    assert "EPSG:32633, but its tile is in EPSG:32632" in read_reasons(out)[broken.stem]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """File system of 3 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_run_on_a_full_disk_names_it(world: Path, tmp_path: Path, tiny_disk: Path) -> None:
    done = run_s2ops("run", write_config(tmp_path / "run.yaml", world / "catalog.json", tiny_disk / "out", [TILE]))
    assert done.returncode == 2
    assert "free space" in done.stderr
    assert str(tiny_disk) in done.stderr


def test_run_with_a_full_temporary_disk_names_it(world: Path, tmp_path: Path, tiny_disk: Path) -> None:
    path = write_config(tmp_path / "run.yaml", world / "catalog.json", tmp_path / "out", [TILE])
    done = run_s2ops("run", path, TMPDIR=str(tiny_disk))
    assert done.returncode == 2
    assert "TMPDIR" in done.stderr


def test_run_with_a_read_only_output_names_it(world: Path, tmp_path: Path, tiny_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", tiny_disk], check=True)
    done = run_s2ops("run", write_config(tmp_path / "run.yaml", world / "catalog.json", tiny_disk / "out", [TILE]))
    assert done.returncode == 2
    assert str(tiny_disk) in done.stderr


def test_run_with_an_unset_environment_variable_names_it(world: Path, tmp_path: Path) -> None:
    path = write_config(tmp_path / "run.yaml", "${NO_SUCH_FOLDER}/catalog.json", tmp_path / "out", [TILE])
    done = run_s2ops("run", path)
    assert done.returncode == 2
    assert "NO_SUCH_FOLDER" in done.stderr

"""Local engine: the whole chain on a small simulated region, resumable, with equal bytes after any disturbance."""

import json
import os
import random
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from s2ops.config import DEFAULT_NETWORKS, NetworkChoice
from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.models.registry import LANDCOVER_NETWORKS, find_weights
from s2ops.pipeline import local_engine
from s2ops.results import StepResult
from s2ops.run.load_config import load_config
from s2ops.storage.object_store import Store
from tests.helpers.chain import NEIGHBOUR_TILES, build_command, compute_checksums, make_world, run_s2ops, write_config


class SilentProgress:
    """Progress that prints nothing and keeps the number of pending tiles."""

    def __init__(self) -> None:
        self.pending: dict[str, int] = {}

    def start_stage(self, step: str, total: int, pending: int) -> None:
        self.pending[step] = pending

    def report_result(self, result: StepResult) -> None:
        pass

    def report_failure(self, step: str, tile: str, error: Exception) -> None:
        raise AssertionError(f"{step} {tile}: {error}")


@pytest.fixture(scope="module")
def catalog(two_tiles: Path) -> Path:
    return two_tiles


@pytest.fixture(scope="module")
def undisturbed(catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    done = run_s2ops("run", write_config(out.parent / "run.yaml", catalog, out), "--workers", 1)
    assert done.returncode == 0, done.stderr
    return out


def compute_unseen_fraction(catalog: Path, name: str) -> float:
    """Compute the part of a tile that is clear in no scene of the world, from the truth."""
    masks = []
    for path in sorted(catalog.parent.glob(f"truth/{name}/*.mask.tif")):
        with rasterio.open(path) as src:
            masks.append(src.read(1))
    return float((np.stack(masks) != 0).all(axis=0).mean())


def test_run_covers_both_tiles_and_verifies(catalog: Path, undisturbed: Path) -> None:
    done = run_s2ops("verify", undisturbed)
    assert done.returncode == 0, done.stdout
    for name in NEIGHBOUR_TILES:
        item = json.loads((undisturbed / f"composite/{name}/item.json").read_text())
        # dilation of the mask may hide clear pixels at its border
        assert item["properties"]["s2ops:holes"] < compute_unseen_fraction(catalog, name) + 0.02
        with rasterio.open(undisturbed / f"landcover/{name}/landcover.tif") as src:
            assert len(set(src.read(1).ravel()) - {0}) >= 4


def test_second_run_starts_no_step(catalog: Path, undisturbed: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()}
    settings = load_config(write_config(tmp_path / "run.yaml", catalog, undisturbed))
    progress = SilentProgress()
    assert local_engine.run_chain(settings, [parse_tile(name) for name in NEIGHBOUR_TILES], 1, 1, progress) == []
    assert set(progress.pending.values()) == {0}
    assert {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()} == before


def test_publish_reads_each_item_once_for_the_catalog_and_weights_once(
    catalog: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(undisturbed, tmp_path / "out")
    (out / "catalog.json").unlink()
    settings = load_config(write_config(tmp_path / "run.yaml", catalog, out))
    reads: Counter[str] = Counter()
    get, read_bytes = Store.get, Path.read_bytes

    def count_get(store: Store, key: str) -> bytes | None:
        reads[key] += 1
        return get(store, key)

    def count_bytes(path: Path) -> bytes:
        reads[path.name] += 1
        return read_bytes(path)

    monkeypatch.setattr(Store, "get", count_get)
    monkeypatch.setattr(Path, "read_bytes", count_bytes)
    ran = local_engine.run_chain(settings, [parse_tile(name) for name in NEIGHBOUR_TILES], 1, 1, SilentProgress())
    assert [result.step for result in ran] == ["publish"]
    # is land cover done, publish, report
    assert {reads[f"landcover/{name}/item.json"] for name in NEIGHBOUR_TILES} == {3}
    assert reads["landcover.onnx"] == 1


def test_run_with_two_workers_and_another_tile_order_writes_the_same_bytes(
    catalog: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    path = write_config(tmp_path / "run.yaml", catalog, out, tiles=NEIGHBOUR_TILES[::-1])
    done = run_s2ops("run", path, "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert compute_checksums(out) == compute_checksums(undisturbed)


def test_run_killed_ten_times_ends_with_the_same_bytes(catalog: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    path = write_config(tmp_path / "run.yaml", catalog, out)
    dice = random.Random(20231)
    for _ in range(10):
        process = subprocess.Popen(
            build_command("run", path, "--workers", 1),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            process.wait(timeout=dice.uniform(1.5, 6.0))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    done = run_s2ops("run", path, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert compute_checksums(out) == compute_checksums(undisturbed)
    assert run_s2ops("verify", out).returncode == 0


def count_pending(catalog: Path, undisturbed: Path, folder: Path, extra: str) -> dict[str, int]:
    """Continue a copy of the run with other options, and return the number of pending tiles by step."""
    out = folder / "out"
    shutil.copytree(undisturbed, out)
    settings = load_config(write_config(folder / "run.yaml", catalog, out, extra=extra))
    progress = SilentProgress()
    local_engine.run_chain(settings, [parse_tile(name) for name in NEIGHBOUR_TILES], 1, 1, progress)
    return progress.pending


def test_run_with_another_fade_repeats_only_dependent_steps(catalog: Path, undisturbed: Path, tmp_path: Path) -> None:
    pending = count_pending(catalog, undisturbed, tmp_path, "composite: {fade_m: 600}\n")
    assert pending["select"] == pending["acquire"] == 0
    assert pending["composite"] == pending["blend"] == 2


def test_landcover_can_classify_the_mosaic_alone(catalog: Path, undisturbed: Path, tmp_path: Path) -> None:
    pending = count_pending(catalog, undisturbed, tmp_path, "landcover: {source: mosaic}\n")
    assert pending["blend"] == 0
    assert pending["landcover"] == 2
    for name in NEIGHBOUR_TILES:
        with rasterio.open(tmp_path / f"out/landcover/{name}/landcover.tif") as src:
            found = src.read(1)
        with rasterio.open(tmp_path / f"out/mosaic/{name}/mosaic.tif") as src:
            np.testing.assert_array_equal(found > 0, src.read(1) > 0)
        assert len(set(found.ravel()) - {0}) >= 4
        lineage = read_landcover_properties(tmp_path / "out", name)["processing:lineage"]
        assert lineage.endswith(" on the mosaic, combined to six classes.")


LINEAGES: dict[NetworkChoice, str] = {
    "separate": "Three networks (water, vegetation, buildings) per date",
    "shared": "One network with three heads (water, vegetation, buildings) per date",
    "both": "Mean of three networks (water, vegetation, buildings) and of one network with three heads",
}


@pytest.mark.parametrize("choice", [choice for choice in LINEAGES if choice != DEFAULT_NETWORKS])
def test_run_with_other_networks_classifies_again_and_names_them(
    catalog: Path, undisturbed: Path, tmp_path: Path, choice: NetworkChoice
) -> None:
    cover = f"landcover: {{max_dates: 2, networks: {choice}}}\n"
    pending = count_pending(catalog, undisturbed, tmp_path, cover)
    assert pending["acquire"] == pending["blend"] == 0
    assert pending["landcover"] == 2
    for name in NEIGHBOUR_TILES:
        before, after = (read_landcover_properties(out, name) for out in (undisturbed, tmp_path / "out"))
        made: list[tuple[NetworkChoice, dict[str, Any]]] = [(DEFAULT_NETWORKS, before), (choice, after)]
        for networks, properties in made:
            assert properties["processing:lineage"].startswith(LINEAGES[networks])
            weights = {network: find_weights(network).sha256 for network in LANDCOVER_NETWORKS[networks]}
            assert properties["s2ops:weights"] == weights
        assert before["s2ops:areas_km2"] != after["s2ops:areas_km2"]


def read_landcover_properties(out: Path, tile: str) -> dict[str, Any]:
    properties: dict[str, Any] = json.loads((out / f"landcover/{tile}/item.json").read_text())["properties"]
    return properties


def test_step_command_runs_one_step_of_one_tile(catalog: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    path = write_config(tmp_path / "run.yaml", catalog, out, extra="composite: {fade_m: 600}\n")
    done = run_s2ops("step", "composite", path, "--tile", NEIGHBOUR_TILES[0], "--log-format", "json")
    assert done.returncode == 0, done.stderr
    event = json.loads(done.stderr.splitlines()[-1])
    assert (event["step"], event["tile"], event["status"]) == ("composite", NEIGHBOUR_TILES[0], "done")
    assert (
        compute_checksums(out)[f"composite/{NEIGHBOUR_TILES[1]}/item.json"]
        == compute_checksums(undisturbed)[f"composite/{NEIGHBOUR_TILES[1]}/item.json"]
    )


def test_explain_prints_reasons_and_draws_a_picture(undisturbed: Path, tmp_path: Path) -> None:
    picture = tmp_path / "why.png"
    done = run_s2ops("explain", undisturbed, NEIGHBOUR_TILES[0], "--picture", picture)
    assert done.returncode == 0, done.stderr
    assert "selected 1" in done.stdout
    assert picture.stat().st_size > 10_000


def test_run_across_the_antimeridian_makes_one_mosaic(tmp_path: Path) -> None:
    tiles = ("01KAB", "60KYG")
    catalog = make_world(tmp_path / "world", tiles)
    out = tmp_path / "out"
    extra = "landcover: {enabled: false}\n"
    done = run_s2ops("run", write_config(tmp_path / "run.yaml", catalog, out, tiles, extra), "--workers", 2)
    assert done.returncode == 0, done.stderr
    done = run_s2ops("verify", out)
    assert done.returncode == 0, done.stdout
    for name, other in (tiles, tiles[::-1]):
        properties = json.loads((out / f"mosaic/{name}/item.json").read_text())["properties"]
        assert set(properties["s2ops:composites"]) == set(tiles)
        assert {scene["tile"] for scene in properties["s2ops:scenes"]} == set(tiles)
        assert [seam["neighbour"] for seam in properties["s2ops:seams"]] == [other]

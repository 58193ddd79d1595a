"""Cluster tests of the chain: same bytes as on one machine, and no work done twice."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from s2ops.storage.object_store import Store

from .cluster import OwnCluster
from .cluster_layout import TOKEN
from .conftest import TILES, Region
from .deployment import ROOT
from .kubectl import Kubectl
from .regions import ObjectStore, compute_hashes, list_keys, render_config, simulate_world
from .runs import submit_with_argo, submit_with_s2ops
from .services import create_public_bucket, start_argo_server
from .small_region import run_locally

pytestmark = pytest.mark.cluster


def test_chain_outputs_equal_a_run_on_one_machine(region: Region) -> None:
    on_cluster = compute_hashes(region.out)
    assert on_cluster == region.local_hashes
    assert {f"mosaic/{tile}/mosaic.tif" for tile in TILES} <= set(on_cluster)


def test_chain_starts_one_pod_per_tile_and_stage(region: Region) -> None:
    pods = region.run.count_pods()
    assert {stage: pods[stage] for stage in ("scenes", "blend", "landcover")} == dict.fromkeys(
        ("scenes", "blend", "landcover"), len(TILES)
    )


def test_pods_compile_no_code_that_their_image_contains(region: Region, stoppable_cluster: OwnCluster) -> None:
    """Runs on the tests' own cluster only: compiled code of other images may be for another processor."""
    store = Store(region.out)
    records = {key: json.loads(store.get(key) or b"") for key in list_keys(region.out) if key.startswith("run/")}
    compile_s = {key: one["compile_cpu_s"] for key, one in records.items() if "compile_cpu_s" in one}
    assert len(compile_s) > len(TILES)
    assert not {key: seconds for key, seconds in compile_s.items() if seconds}


def test_submission_after_a_new_scene_runs_its_tile_and_changed_neighbours(
    stoppable_cluster: OwnCluster,
    release: Kubectl,
    region: Region,
    withheld_scene: Callable[[], None],
    object_store: ObjectStore,
    tmp_path: Path,
) -> None:
    """Submitted by `s2ops submit` through an Argo server."""
    server = start_argo_server(stoppable_cluster.layout, stoppable_cluster.processes)
    here = object_store.get_run_uri("region-here")
    before = {step: _read_results(here, step) for step in ("select", "blend", "landcover")}
    withheld_scene()
    endpoints = {"ARGO_SERVER": server, "ARGO_SECURE": "false", "ARGO_TOKEN": TOKEN, "KUBECONFIG": ""}
    run = submit_with_s2ops(release, region.config, tmp_path, **endpoints)
    expected = run_locally(release, region.config, here, tmp_path)
    after = {step: _read_results(here, step) for step in before}
    changed = {step: sum(before[step][tile] != after[step][tile] for tile in TILES) for step in before}

    run.wait_until_succeeded()

    assert changed["select"] == 1
    assert [run.count_pods()[stage] for stage in ("scenes", "blend", "landcover")] == list(changed.values())
    assert compute_hashes(region.out) == expected


def _read_results(out: str, step: str) -> dict[str, str]:
    """Read each tile's record of a step, which contains its fingerprint."""
    folder = {"select": "select/{}.json", "blend": "mosaic/{}/item.json", "landcover": "landcover/{}/item.json"}[step]
    store = Store(out)
    return {tile: str(store.get(folder.format(tile))) for tile in TILES}


@pytest.mark.slow
def test_chain_outputs_of_real_zagreb_scenes_equal_a_run_on_one_machine(
    release: Kubectl, own_cluster: OwnCluster | None, object_store: ObjectStore, real_data: Path, tmp_path: Path
) -> None:
    """Uses `examples/zagreb.yaml` with another catalog and output; both tiles in one pod, which reports progress."""
    if own_cluster is None:
        pytest.skip("real scenes are served by the tests' own S3 server")
    catalog = create_public_bucket(own_cluster.layout, "zagreb", real_data / "zagreb-two-tiles") + "/catalog.json"
    example = yaml.safe_load((ROOT / "examples/zagreb.yaml").read_text())
    config = yaml.safe_dump(example | {"catalog": catalog, "out": object_store.get_run_uri("zagreb")})
    run = submit_with_argo(release, config, size="2").wait_until_succeeded()
    assert compute_hashes(object_store.get_run_uri("zagreb")) == run_locally(
        release, config, object_store.get_run_uri("zagreb-here"), tmp_path
    )
    assert [node["progress"] for node in run.list_pod_nodes() if node["stage"] == "scenes"] == ["2/2"]


@pytest.mark.slow
def test_chain_outputs_of_the_demo_region_equal_a_run_on_one_machine(
    release: Kubectl, own_cluster: OwnCluster | None, object_store: ObjectStore, tmp_path: Path
) -> None:
    """Six tiles in two UTM zones and six dates, as in `make demo`."""
    if own_cluster is None:
        pytest.skip("the demo's world is served by the tests' own S3 server")
    demo = runpy.run_path(str(ROOT / "scripts/run_demo.py"))
    world = simulate_world(tmp_path / "world", demo["TILES"], dates=6, seed=7)
    catalog = create_public_bucket(own_cluster.layout, "demo", world) + "/catalog.json"
    config = render_config(demo["TILES"], catalog, object_store.get_run_uri("demo"))
    submit_with_argo(release, config, size="3").wait_until_succeeded(limit_s=1200)
    assert compute_hashes(object_store.get_run_uri("demo")) == run_locally(
        release, config, object_store.get_run_uri("demo-here"), tmp_path
    )

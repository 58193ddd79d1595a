"""The chain on the cluster: the same bytes as on one machine, and no work done twice."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from s2ops.storage.object_store import Store

from .cluster import Own
from .conftest import TILES, Region
from .deployment import ROOT
from .few import run_here
from .kubectl import Kubectl
from .places import TOKEN
from .regions import ObjectStore, configuration, hashes, keys, simulate
from .runs import submit, submit_by_s2ops
from .services import public_bucket, start_argo_server

pytestmark = pytest.mark.cluster


def test_every_output_has_the_bytes_of_a_run_on_one_machine(region: Region) -> None:
    there = hashes(region.out)
    assert there == region.here
    assert {f"mosaic/{tile}/mosaic.tif" for tile in TILES} <= set(there)


def test_each_stage_started_one_pod_a_tile(region: Region) -> None:
    pods = region.run.pods()
    assert {stage: pods[stage] for stage in ("scenes", "blend", "landcover")} == dict.fromkeys(
        ("scenes", "blend", "landcover"), len(TILES)
    )


def test_no_pod_made_machine_code_that_its_image_has(region: Region, mine: Own) -> None:
    """Images and nodes of others may be of a processor that the image's code is not for."""
    store = Store(region.out)
    records = {key: json.loads(store.get(key) or b"") for key in keys(region.out) if key.startswith("run/")}
    made = {key: one["compile_cpu_s"] for key, one in records.items() if "compile_cpu_s" in one}
    assert len(made) > len(TILES)
    assert not {key: seconds for key, seconds in made.items() if seconds}


def test_one_more_scene_runs_its_tile_and_the_neighbours_that_it_changes(
    mine: Own,
    release: Kubectl,
    region: Region,
    one_less: Callable[[], None],
    object_store: ObjectStore,
    tmp_path: Path,
) -> None:
    """By `s2ops submit`, through an Argo server."""
    server = start_argo_server(mine.places, mine.processes)
    here = object_store.out("region-here")
    before = {step: _made(here, step) for step in ("select", "blend", "landcover")}
    one_less()
    doors = {"ARGO_SERVER": server, "ARGO_SECURE": "false", "ARGO_TOKEN": TOKEN, "KUBECONFIG": ""}
    run = submit_by_s2ops(release, region.config, tmp_path, **doors)
    expected = run_here(release, region.config, here, tmp_path)
    after = {step: _made(here, step) for step in before}
    changed = {step: sum(before[step][tile] != after[step][tile] for tile in TILES) for step in before}

    run.succeeded()

    assert changed["select"] == 1
    assert [run.pods()[stage] for stage in ("scenes", "blend", "landcover")] == list(changed.values())
    assert hashes(region.out) == expected


def _made(out: str, step: str) -> dict[str, str]:
    """The fingerprint of each tile's result of a step."""
    folder = {"select": "select/{}.json", "blend": "mosaic/{}/item.json", "landcover": "landcover/{}/item.json"}[step]
    store = Store(out)
    return {tile: str(store.get(folder.format(tile))) for tile in TILES}


@pytest.mark.slow
def test_real_scenes_of_zagreb_have_the_bytes_of_one_machine(
    release: Kubectl, own: Own | None, object_store: ObjectStore, real_data: Path, tmp_path: Path
) -> None:
    """`examples/zagreb.yaml` with only its places changed; both tiles in one pod, which tells how far it is."""
    if own is None:
        pytest.skip("real scenes are served by the tests' own S3 server")
    catalog = public_bucket(own.places, "zagreb", real_data / "zagreb-two-tiles") + "/catalog.json"
    example = yaml.safe_load((ROOT / "examples/zagreb.yaml").read_text())
    config = yaml.safe_dump(example | {"catalog": catalog, "out": object_store.out("zagreb")})
    run = submit(release, config, size="2").succeeded()
    assert hashes(object_store.out("zagreb")) == run_here(release, config, object_store.out("zagreb-here"), tmp_path)
    assert [node["progress"] for node in run.nodes() if node["stage"] == "scenes"] == ["2/2"]


@pytest.mark.slow
def test_the_region_of_the_demo_has_the_bytes_of_one_machine(
    release: Kubectl, own: Own | None, object_store: ObjectStore, tmp_path: Path
) -> None:
    """Six tiles in two UTM zones and six dates, as `make demo` makes them."""
    if own is None:
        pytest.skip("the demo's world is served by the tests' own S3 server")
    demo = runpy.run_path(str(ROOT / "scripts/run_demo.py"))
    world = simulate(tmp_path / "world", demo["TILES"], dates=6, seed=7)
    catalog = public_bucket(own.places, "demo", world) + "/catalog.json"
    config = configuration(demo["TILES"], catalog, object_store.out("demo"))
    submit(release, config, size="3").succeeded(limit_s=1200)
    assert hashes(object_store.out("demo")) == run_here(release, config, object_store.out("demo-here"), tmp_path)

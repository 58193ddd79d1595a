"""Cluster tests of faults during a run: outputs have the right bytes, and nothing is computed twice without need.

A run takes a minute or two, so faults share runs: each fault has its own moment and its own test. Three runs whose
faults do not affect each other are concurrent (concurrent_runs.py); they start while earlier tests are running.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pytest

from s2ops.config import DEFAULT_NETWORKS
from s2ops.models.registry import LANDCOVER_NETWORKS

from . import node, services
from .cluster import OwnCluster
from .concurrent_runs import EndedRun
from .conftest import TILES
from .deployment import forward_port, list_triton_pods, wait_for_triton
from .kills import STAGES
from .kubectl import wait_until
from .regions import compute_hashes, list_keys
from .runs import Run
from .scraping import fetch_metrics, parse_value
from .small_region import SmallRegion

pytestmark = pytest.mark.cluster

PAIR = TILES[:2]
ONE = TILES[0]


def test_step_killed_during_its_work_costs_one_retry(
    concurrent_runs: dict[str, EndedRun], single_tile: SmallRegion
) -> None:
    run, killer = concurrent_runs["killed"].run, concurrent_runs["killed"].killer
    assert killer
    assert concurrent_runs["killed"].phase == "Succeeded", concurrent_runs["killed"].story
    assert not killer.pending, f"ended before it could be killed: {', '.join(killer.pending)}"
    assert compute_hashes(concurrent_runs["killed"].out) == single_tile.expected
    undisturbed = {"plan": 1, "group": len(STAGES), "balance": 1, "publish": 1, **dict.fromkeys(STAGES, 1)}
    pods = run.count_pods()
    assert {stage: pods[stage] for stage in undisturbed} == {
        stage: count + killer.killed[stage] for stage, count in undisturbed.items()
    }


def test_run_that_ends_early_is_published_in_part_and_resumes_from_there(
    concurrent_runs: dict[str, EndedRun], tile_pair: SmallRegion
) -> None:
    early = concurrent_runs["early"]
    assert early.phase == "Failed"
    assert early.run.count_pods()["landcover"] == len(PAIR), "a pod was started again"
    assert len(early.missing) == 1, "other tiles than that of the killed pod are missing"
    published = [one["name"] for one in early.run.list_pod_nodes() if one["stage"] == "publish"]
    assert [".onExit." in name for name in published] == [True], "publish ran outside the exit handler"

    again = concurrent_runs["again"]
    assert again.phase == "Succeeded", again.story
    assert compute_hashes(early.out) == tile_pair.expected
    assert [again.run.count_pods()[stage] for stage in STAGES] == [0, 0, 1]


def test_submission_with_nothing_to_do_starts_no_tile_pod(
    concurrent_runs: dict[str, EndedRun], tile_pair: SmallRegion
) -> None:
    """Submitted by `s2ops submit` through the Kubernetes API, after another run has finished the run above."""
    idle = concurrent_runs["idle"]
    assert idle.phase == "Succeeded", idle.story
    assert idle.run.list_children() == []
    assert set(idle.run.count_pods()) <= {"plan", "group", "balance", "publish"}
    assert compute_hashes(idle.out) == tile_pair.expected


def test_plan_fails_on_an_invalid_configuration_with_a_message_and_no_retry(
    concurrent_runs: dict[str, EndedRun],
) -> None:
    wrong = concurrent_runs["wrong"]
    assert wrong.phase in {"Failed", "Error"}
    assert wrong.run.count_pods()["plan"] == 1
    assert "colour" in wrong.story


def test_tile_with_corrupt_scenes_is_reported_and_the_others_are_published(
    stoppable_cluster: OwnCluster, concurrent_runs: dict[str, EndedRun], single_tile: SmallRegion
) -> None:
    run, out = concurrent_runs["spoilt"].run, concurrent_runs["spoilt"].out
    assert concurrent_runs["spoilt"].phase == "Failed"
    assert PAIR[1] in concurrent_runs["spoilt"].story
    assert concurrent_runs["spoilt"].missing.keys() == {PAIR[1]}
    assert f"mosaic/{PAIR[1]}/mosaic.tif" not in list_keys(out)
    rest = {key: digest for key, digest in compute_hashes(out).items() if f"/{ONE}/" in key}
    assert rest == {key: digest for key, digest in single_tile.expected.items() if f"/{ONE}/" in key}
    assert [run.count_pods()[stage] for stage in STAGES] == [len(PAIR), 1, 1]


@dataclass(slots=True)
class DisturbedRun:
    """Run of two tiles and its faults, in this order."""

    run: Run
    out: str
    expected: dict[str, str]
    without_store_s: float = 0
    """Duration of the outage of the object store, while scenes were selected and read."""
    drained: tuple[str, ...] = ()
    """Pods of the run that were running when the node was drained, during inference of cloud masks."""
    without_controller_s: float = 0
    """Time without a workflow controller, while tiles were blended."""
    completed_requests: int = 0
    """Number of land-cover requests that Triton had completed when its pod was deleted."""

    def list_pods(self, stage: str) -> list[dict[str, Any]]:
        """List the pods of a stage, as Argo recorded them."""
        return [one for one in self.run.list_pod_nodes() if one["stage"] == stage]


@pytest.fixture(scope="module")
def disturbed_run(own_cluster: OwnCluster | None, tile_pair: SmallRegion) -> DisturbedRun:
    """Run with all faults; on a cluster of others only the Triton pod is deleted."""
    expected = tile_pair.expected  # waits for the run on this machine, so that no fault disturbs it
    run, out = tile_pair.submit("disturbed")
    faults = DisturbedRun(run, out, expected)
    if own_cluster is not None:
        run.wait_for("a pod of the first stage runs", lambda: list_running_pods(run, "scenes"))
        faults.without_store_s = stop_store(own_cluster, 20)
        run.wait_for("the scenes are selected", lambda: is_selected(out) and list_running_pods(run, "scenes"))
        faults.drained = drain_node(own_cluster, run)
        run.wait_for("a pod blends", lambda: list_running_pods(run, "blend"))
        faults.without_controller_s = stop_controller(own_cluster, 5)
    run.wait_for("a pod classifies", lambda: list_running_pods(run, "landcover"))
    faults.completed_requests = delete_triton(tile_pair)
    run.wait_until_succeeded()
    return faults


def list_running_pods(run: Run, stage: str) -> list[str]:
    """List the names of the run's pods of a stage whose container is running."""
    labels = f"s2ops/step={stage},app.kubernetes.io/component=step,workflows.argoproj.io/completed=false"
    return [
        pod["metadata"]["name"]
        for pod in run.kubectl.get("pods", selector=labels)
        if pod["metadata"]["labels"]["workflows.argoproj.io/workflow"].startswith(run.name)
        for one in pod["status"].get("containerStatuses", [])
        if one["name"] == "main" and "running" in one["state"]
    ]


def is_selected(out: str) -> bool:
    """Return true if the scenes of both tiles are selected."""
    return {f"select/{tile}.json" for tile in PAIR} <= set(list_keys(out))


def stop_store(own_cluster: OwnCluster, for_s: float) -> float:
    """Stop the object store for some time; return the duration in seconds."""
    own_cluster.processes.stop("s3")
    began = time.monotonic()
    time.sleep(for_s)
    services.start_s3(own_cluster.layout, own_cluster.processes)
    return time.monotonic() - began


def drain_node(own_cluster: OwnCluster, run: Run) -> tuple[str, ...]:
    """Drain the only node, uncordon it, and wait for Triton; return the names of the tile pods that were running."""
    running = tuple(list_running_pods(run, "scenes"))
    words = [node.NODE_NAME, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s"]
    try:
        own_cluster.kubectl.run("drain", *words, limit_s=150)
    finally:
        own_cluster.kubectl.run("uncordon", node.NODE_NAME)
    wait_for_triton(own_cluster.kubectl)
    return running


def stop_controller(own_cluster: OwnCluster, for_s: float) -> float:
    """Kill the workflow controller and restart it later; return the duration in seconds."""
    own_cluster.processes.stop("workflow-controller", patience_s=0)
    began = time.monotonic()
    time.sleep(for_s)
    services.start_argo(own_cluster.layout, own_cluster.processes)
    return time.monotonic() - began


def delete_triton(region: SmallRegion) -> int:
    """Delete Triton's pod after it has completed land-cover requests; return their number."""
    victim = list_triton_pods(region.kubectl)[0]["metadata"]["name"]
    network = LANDCOVER_NETWORKS[DEFAULT_NETWORKS][0]
    metric = f'nv_inference_request_success{{model="{network}",version='
    with forward_port(region.kubectl, f"pod/{victim}", 8002) as address:
        before = parse_value(fetch_metrics(address), metric)
        completed = wait_until(
            "land cover is requested", lambda: parse_value(fetch_metrics(address), metric) - before, limit_s=300
        )
    region.kubectl.run("delete", "pod", victim, "--grace-period=0", "--force", "--wait=false")
    return int(completed)


def test_object_store_outage_of_20_seconds_loses_nothing(
    stoppable_cluster: OwnCluster, disturbed_run: DisturbedRun
) -> None:
    """Scenes are in the same store: a pod that waited too long for them exits with 75.

    Other failed pods were ended by the drain that followed: terminated (143) or deleted.
    """
    assert disturbed_run.without_store_s >= 20
    assert compute_hashes(disturbed_run.out) == disturbed_run.expected
    assert disturbed_run.run.count_pods()["group"] == len(STAGES)
    assert all(
        any(reason in pod["message"] for reason in ("exit code 75", "exit code 143", "pod deleted"))
        for pod in disturbed_run.list_pods("scenes")
        if pod["phase"] != "Succeeded"
    )


def test_node_drain_during_inference_costs_only_the_pods_that_ran(
    stoppable_cluster: OwnCluster, disturbed_run: DisturbedRun
) -> None:
    pods = disturbed_run.list_pods("scenes")
    assert disturbed_run.drained
    lost = [pod for pod in pods if pod["phase"] != "Succeeded"]
    # a drained pod may still succeed before its eviction takes effect
    assert 1 <= len(lost) <= len(disturbed_run.drained) + len(PAIR), (
        "only pods that waited for the object store may be lost in addition"
    )
    assert len(pods) == len(PAIR) + len(lost)
    assert compute_hashes(disturbed_run.out) == disturbed_run.expected
    assert disturbed_run.run.count_pods()["wait for scenes"] == 2


def test_workflow_controller_resumes_the_run_after_a_restart(
    stoppable_cluster: OwnCluster, disturbed_run: DisturbedRun
) -> None:
    assert disturbed_run.without_controller_s >= 5
    assert [pod["phase"] for pod in disturbed_run.list_pods("blend")] == ["Succeeded"] * len(PAIR)
    assert compute_hashes(disturbed_run.out) == disturbed_run.expected


def test_triton_pod_deleted_under_load_loses_no_tile(disturbed_run: DisturbedRun) -> None:
    assert disturbed_run.completed_requests
    assert [pod["phase"] for pod in disturbed_run.list_pods("landcover")] == ["Succeeded"] * len(PAIR)
    assert compute_hashes(disturbed_run.out) == disturbed_run.expected

"""Faults in the middle of a run: each ends in the right bytes, and nothing is computed twice without need.

A run takes a minute or two, so that faults share runs: each comes at a moment of its own, and each has a test. Three
runs go on at once where no fault of one can touch the others (three.py), and begin while earlier tests go on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pytest

from . import node, services
from .cluster import Own
from .conftest import TILES
from .deployment import forwarded, triton_pods, wait_for_triton
from .few import Few
from .kills import STAGES
from .kubectl import wait_until
from .regions import hashes, keys
from .runs import Run
from .scraping import scrape, value
from .three import Ended

pytestmark = pytest.mark.cluster

PAIR = TILES[:2]
ONE = TILES[0]


def test_a_pod_killed_in_the_middle_of_each_step_costs_one_retry_each(
    three_runs: dict[str, Ended], single: Few
) -> None:
    run, killer = three_runs["killed"].run, three_runs["killed"].killer
    assert killer
    assert three_runs["killed"].phase == "Succeeded", three_runs["killed"].story
    assert not killer.wanted, f"ended before it could be killed: {', '.join(killer.wanted)}"
    assert hashes(three_runs["killed"].out) == single.expected
    undisturbed = {"plan": 1, "group": len(STAGES), "balance": 1, "publish": 1, **dict.fromkeys(STAGES, 1)}
    pods = run.pods()
    assert {stage: pods[stage] for stage in undisturbed} == {
        stage: count + killer.killed[stage] for stage, count in undisturbed.items()
    }


def test_a_run_that_ends_early_is_published_as_far_as_it_came_and_goes_on_from_there(
    three_runs: dict[str, Ended], pair: Few
) -> None:
    early = three_runs["early"]
    assert early.phase == "Failed"
    assert early.run.pods()["landcover"] == len(PAIR), "a pod was started again"
    assert len(early.missing) == 1, "not the tile alone whose pod was killed"
    published = [one["name"] for one in early.run.nodes() if one["stage"] == "publish"]
    assert [".onExit." in name for name in published] == [True], "publish ran beside the exit handler"

    again = three_runs["again"]
    assert again.phase == "Succeeded", again.story
    assert hashes(early.out) == pair.expected
    assert [again.run.pods()[stage] for stage in STAGES] == [0, 0, 1]


def test_a_submission_to_which_nothing_is_left_starts_no_tile_pod(three_runs: dict[str, Ended], pair: Few) -> None:
    """By `s2ops submit`, through the Kubernetes API, once the run above has been finished by another."""
    idle = three_runs["idle"]
    assert idle.phase == "Succeeded", idle.story
    assert idle.run.children() == []
    assert set(idle.run.pods()) <= {"plan", "group", "balance", "publish"}
    assert hashes(idle.out) == pair.expected


def test_a_bad_configuration_fails_in_plan_with_a_message_and_without_a_retry(three_runs: dict[str, Ended]) -> None:
    wrong = three_runs["wrong"]
    assert wrong.phase in {"Failed", "Error"}
    assert wrong.run.pods()["plan"] == 1
    assert "colour" in wrong.story


def test_a_tile_of_corrupt_scenes_is_reported_and_the_rest_published(
    mine: Own, three_runs: dict[str, Ended], single: Few
) -> None:
    run, out = three_runs["spoilt"].run, three_runs["spoilt"].out
    assert three_runs["spoilt"].phase == "Failed"
    assert PAIR[1] in three_runs["spoilt"].story
    assert three_runs["spoilt"].missing.keys() == {PAIR[1]}
    assert f"mosaic/{PAIR[1]}/mosaic.tif" not in keys(out)
    rest = {key: digest for key, digest in hashes(out).items() if f"/{ONE}/" in key}
    assert rest == {key: digest for key, digest in single.expected.items() if f"/{ONE}/" in key}
    assert [run.pods()[stage] for stage in STAGES] == [len(PAIR), 1, 1]


@dataclass(slots=True)
class Disturbed:
    """One run of two tiles, and what was done to it, in this order."""

    run: Run
    out: str
    expected: dict[str, str]
    without_store_s: float = 0
    """How long the object store was away, while scenes were chosen and read."""
    drained: tuple[str, ...] = ()
    """The run's pods that ran when the node was drained, in the middle of the networks' work on clouds."""
    without_controller_s: float = 0
    """How long nobody looked after the workflow, while tiles were blended."""
    asked_again: int = 0
    """Requests for land cover that Triton had answered when its pod was deleted, with more on their way."""

    def pods_of(self, stage: str) -> list[dict[str, Any]]:
        """The pods of a stage, as Argo recorded them."""
        return [one for one in self.run.nodes() if one["stage"] == stage]


@pytest.fixture(scope="module")
def disturbed(own: Own | None, pair: Few) -> Disturbed:
    """The run; on another's cluster only the Triton pod is deleted."""
    expected = pair.expected  # that run is over before anything is disturbed
    run, out = pair.submit("disturbed")
    told = Disturbed(run, out, expected)
    if own is not None:
        run.until("a pod of the first stage runs", lambda: running(run, "scenes"))
        told.without_store_s = stop_store(own, 20)
        run.until("the scenes are chosen", lambda: selected(out) and running(run, "scenes"))
        told.drained = drain(own, run)
        run.until("a pod blends", lambda: running(run, "blend"))
        told.without_controller_s = stop_controller(own, 5)
    run.until("a pod classifies", lambda: running(run, "landcover"))
    told.asked_again = delete_triton(pair)
    run.succeeded()
    return told


def running(run: Run, stage: str) -> list[str]:
    """Names of the run's pods of a stage whose container runs."""
    labels = f"s2ops/step={stage},app.kubernetes.io/component=step,workflows.argoproj.io/completed=false"
    return [
        pod["metadata"]["name"]
        for pod in run.kubectl.get("pods", selector=labels)
        if pod["metadata"]["labels"]["workflows.argoproj.io/workflow"].startswith(run.name)
        for one in pod["status"].get("containerStatuses", [])
        if one["name"] == "main" and "running" in one["state"]
    ]


def selected(out: str) -> bool:
    return {f"select/{tile}.json" for tile in PAIR} <= set(keys(out))


def stop_store(own: Own, for_s: float) -> float:
    own.processes.stop("s3")
    began = time.monotonic()
    time.sleep(for_s)
    services.start_s3(own.places, own.processes)
    return time.monotonic() - began


def drain(own: Own, run: Run) -> tuple[str, ...]:
    """Drain the only node, let it take pods again, and wait for Triton; gives the names of the tiles' pods it hit."""
    hit = tuple(running(run, "scenes"))
    words = [node.NAME, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s"]
    try:
        own.kubectl.run("drain", *words, limit_s=150)
    finally:
        own.kubectl.run("uncordon", node.NAME)
    wait_for_triton(own.kubectl)
    return hit


def stop_controller(own: Own, for_s: float) -> float:
    own.processes.stop("workflow-controller", patience_s=0)
    began = time.monotonic()
    time.sleep(for_s)
    services.start_argo(own.places, own.processes)
    return time.monotonic() - began


def delete_triton(of: Few) -> int:
    """Delete Triton's pod once it has answered for land cover; gives how often it had."""
    victim = triton_pods(of.kubectl)[0]["metadata"]["name"]
    metric = 'nv_inference_request_success{model="landcover",version='
    with forwarded(of.kubectl, f"pod/{victim}", 8002) as address:
        before = value(scrape(address), metric)
        wait = wait_until("land cover is asked for", lambda: value(scrape(address), metric) - before, limit_s=300)
    of.kubectl.run("delete", "pod", victim, "--grace-period=0", "--force", "--wait=false")
    return int(wait)


def test_the_object_store_away_for_20_seconds_loses_nothing(mine: Own, disturbed: Disturbed) -> None:
    """Scenes lie in the same store. A pod that could not wait for them any longer says so by exit 75.

    The others were ended by the drain that came after: told to stop (143), or deleted.
    """
    assert disturbed.without_store_s >= 20
    assert hashes(disturbed.out) == disturbed.expected
    assert disturbed.run.pods()["group"] == len(STAGES)
    assert all(
        any(told in pod["message"] for told in ("exit code 75", "exit code 143", "pod deleted"))
        for pod in disturbed.pods_of("scenes")
        if pod["phase"] != "Succeeded"
    )


def test_a_node_drained_during_inference_costs_the_pods_that_it_hit(mine: Own, disturbed: Disturbed) -> None:
    pods = disturbed.pods_of("scenes")
    assert disturbed.drained
    lost = [pod for pod in pods if pod["phase"] != "Succeeded"]
    assert len(disturbed.drained) <= len(lost) <= len(disturbed.drained) + len(PAIR), "the latter for the object store"
    assert len(pods) == len(PAIR) + len(lost)
    assert hashes(disturbed.out) == disturbed.expected
    assert disturbed.run.pods()["wait for scenes"] == 2


def test_the_controller_restarted_takes_the_run_up_again(mine: Own, disturbed: Disturbed) -> None:
    assert disturbed.without_controller_s >= 5
    assert [pod["phase"] for pod in disturbed.pods_of("blend")] == ["Succeeded"] * len(PAIR)
    assert hashes(disturbed.out) == disturbed.expected


def test_the_triton_pod_deleted_under_load_loses_no_tile(disturbed: Disturbed) -> None:
    assert disturbed.asked_again
    assert [pod["phase"] for pod in disturbed.pods_of("landcover")] == ["Succeeded"] * len(PAIR)
    assert hashes(disturbed.out) == disturbed.expected

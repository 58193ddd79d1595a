"""Run of the scale test over simulated pods: submit the chain, restart the controller half way, measure the load."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from typing import Any

from s2ops.pipeline.tile_groups import split_into_children
from workflows.object_size_estimate import CONFIG

from .kubectl import wait_until
from .runs import CHAIN
from .scale_api import WORKFLOWS
from .scale_executor import SimulatedExecutor
from .scale_gauges import ControlPlaneMonitor, Peaks
from .scale_plane import CONTROLLER, ControlPlane

Json = dict[str, Any]
WHOLE_RUN_PODS = 3  # plan, balance, publish


@dataclass(frozen=True, slots=True)
class RunShape:
    """Shape of a run: numbers of tiles, groups and stages."""

    tiles: int
    size: int
    """Tiles per pod."""
    child: int
    """Tiles per child workflow."""
    stages: tuple[str, ...]
    """Stages that have work."""
    seconds: float
    """Working time of a container."""
    lost: float
    """Fraction of the pods that must be started twice."""
    limit_s: float

    @property
    def groups(self) -> int:
        """Number of pods of a stage if none is lost."""
        return math.ceil(self.tiles / self.size)

    @property
    def children(self) -> list[dict[str, str]]:
        """Child workflows of a stage, as `s2ops group` returns them."""
        return [one.to_json() for one in split_into_children(self.groups, self.size, self.child)]

    @property
    def pods(self) -> int:
        """Number of pods if none is lost: of the stages, of the waits for children, and of steps over the whole run."""
        return len(self.stages) * (self.groups + len(self.children)) + WHOLE_RUN_PODS + 3

    def compute_outputs(self, about: Json) -> dict[str, str]:
        """Compute the output parameters of a pod from its metadata."""
        step, node = about["labels"]["s2ops/step"], str(about["annotations"]["workflows.argoproj.io/node-name"])
        if step == "group":
            stage = node.split(".group-", 1)[1].split("(", maxsplit=1)[0]
            return {"children": json.dumps(self.children if stage in self.stages else [])}
        has_tiles = about["labels"]["app.kubernetes.io/component"] == "step" and step in self.stages
        return {"made": str(self.size), "failed": "0"} if has_tiles else {}


@dataclass(frozen=True, slots=True)
class RunCost:
    """Measured cost of a run."""

    shape: RunShape
    wall_s: float
    pods: int
    lost: int
    """Number of pods that were started again."""
    best_minute: int
    """Maximum number of pods that ended within a minute."""
    resumed_s: float
    """Time from the restart of the killed controller to the first pod that it created."""
    cpu_s: dict[str, float]
    """CPU time by program."""
    peaks: Peaks


def measure_run(plane: ControlPlane, shape: RunShape) -> RunCost:
    """Measure a run; the controller is killed and restarted when half of the pods have ended.

    Raises:
        RuntimeError: If the run failed, or started a wrong number of pods.
        TimeoutError: If it took longer than the shape's limit.
    """
    executor = SimulatedExecutor(plane.api, shape.compute_outputs, shape.seconds, shape.lost)
    monitor = ControlPlaneMonitor(plane)
    try:
        start = time.monotonic()
        name = _submit(plane, shape)
        _wait(plane, executor, name, start + shape.limit_s, until=shape.pods // 2)
        resumed = _restart(plane, executor)
        _wait(plane, executor, name, start + shape.limit_s)
        wall = time.monotonic() - start
        peaks = monitor.stop()
        if len(executor.log.ended) != shape.pods + executor.log.lost:
            raise RuntimeError(
                f"{len(executor.log.ended)} pods ran instead of {shape.pods} and {executor.log.lost} a second time"
            )
        return RunCost(
            shape,
            wall,
            len(executor.log.ended),
            executor.log.lost,
            count_best_minute(executor.log.ended),
            resumed,
            {name: monitor.sum_cpu_s(name) for name in (CONTROLLER, "apiserver")},
            peaks,
        )
    finally:
        executor.stop()
        monitor.stop()


def _submit(plane: ControlPlane, shape: RunShape) -> str:
    """Submit the chart's own template with `argo submit`; return the name of the run."""
    given = {"config": CONFIG, "backoff": "2s", "size": str(shape.size), "child": str(shape.child)}
    words = [word for key, value in given.items() for word in ("--parameter", f"{key}={value}")]
    done = plane.kubectl.run_argo("submit", "--from", CHAIN, "--output", "name", *words)
    return done.stdout.strip().splitlines()[-1]


def _wait(plane: ControlPlane, executor: SimulatedExecutor, name: str, end: float, until: int | None = None) -> None:
    """Wait until the run has succeeded, or `until` of its pods have ended; print the progress every 30 s."""
    reported = time.monotonic()
    while until is None or len(executor.log.ended) < until:
        executor.check()
        [run] = plane.api.list_metadata(WORKFLOWS, fieldSelector=f"metadata.name={name}")
        phase = run["metadata"]["labels"].get("workflows.argoproj.io/phase", "")
        if phase == "Succeeded":
            return
        if phase in {"Failed", "Error"}:
            raise RuntimeError(
                f"{name} ended as {phase}:\n{plane.kubectl.run_argo('get', name, check=False).stdout[-3000:]}"
            )
        now = time.monotonic()
        if now > end:
            raise TimeoutError(f"{name} has not ended in time; {len(executor.log.ended)} of its pods have")
        if now - reported > 30:
            reported = now
            print(f"{len(executor.log.ended)} pods have ended", flush=True)
        time.sleep(1)


def _restart(plane: ControlPlane, executor: SimulatedExecutor) -> float:
    plane.kill_controller()
    time.sleep(2)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    start = time.monotonic()
    plane.start_controller()

    def has_new_pod() -> bool:
        executor.check()
        return executor.log.newest > stamp

    wait_until("the new controller creates a pod", has_new_pod, limit_s=300, every_s=0.1)
    return time.monotonic() - start


def count_best_minute(moments: list[float]) -> int:
    """Count the moments (in seconds) within the busiest 60 seconds."""
    ordered, first, most = sorted(moments), 0, 0
    for number, moment in enumerate(ordered):
        while ordered[first] < moment - 60:
            first += 1
        most = max(most, number - first + 1)
    return most


def render_table(cost: RunCost) -> str:
    """Return the Markdown table of docs/operations/scale.md."""
    shape, peaks = cost.shape, cost.peaks
    rows = {
        "tiles, tiles a pod, stages": f"{shape.tiles:,}, {shape.size}, {len(shape.stages)}",
        "child workflows": f"{len(shape.stages) * len(shape.children)}",
        "pods, of them started again": f"{cost.pods:,}, {cost.lost}",
        "wall time": f"{cost.wall_s / 60:.1f} min",
        "pods a minute: mean, best": f"{60 * cost.pods / cost.wall_s:.0f}, {cost.best_minute}",
        "largest workflow object": f"{peaks.workflow * 1024:.0f} KiB ({peaks.workflow_name})",
        "workflows with compressed nodes at once": f"{peaks.compressed}",
        "objects of Argo at once": f"{peaks.objects:,}",
        "etcd: file, of it in use": f"{peaks.etcd:.0f} MiB, {peaks.etcd_in_use:.0f} MiB",
        "workflow controller": f"{peaks.memory[CONTROLLER]:.0f} MiB, {cost.cpu_s[CONTROLLER]:.0f} s CPU",
        "API server": f"{peaks.memory['apiserver']:.0f} MiB, {cost.cpu_s['apiserver']:.0f} s CPU",
        "resumed after the controller was killed": f"{cost.resumed_s:.1f} s",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])

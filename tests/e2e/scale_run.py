"""One run over simulated pods: submit the chain, stop the controller half way, wait for the end, count."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from typing import Any

from s2ops.pipeline.tile_groups import children
from workflows.object_size_estimate import CONFIG

from .kubectl import wait_until
from .runs import CHAIN
from .scale_api import WORKFLOWS
from .scale_executor import Executor
from .scale_gauges import Gauges, Peaks
from .scale_plane import CONTROLLER, Plane

Json = dict[str, Any]
WHOLE = 3  # plan, balance, publish


@dataclass(frozen=True, slots=True)
class Shape:
    """What is run."""

    tiles: int
    size: int
    """Tiles a pod."""
    child: int
    """Tiles a child workflow."""
    stages: tuple[str, ...]
    """Those that have work."""
    seconds: float
    """How long a container works."""
    lost: float
    """Part of the pods that have to be started twice."""
    limit_s: float

    @property
    def groups(self) -> int:
        """Pods of a stage, if none is lost."""
        return math.ceil(self.tiles / self.size)

    @property
    def children(self) -> list[dict[str, str]]:
        """The child workflows of a stage, as `s2ops group` gives them."""
        return [one.to_json() for one in children(self.groups, self.size, self.child)]

    @property
    def pods(self) -> int:
        """Pods of the run, if none is lost: the steps', those that wait for children, those of one step for all."""
        return len(self.stages) * (self.groups + len(self.children)) + WHOLE + 3

    def answers(self, about: Json) -> dict[str, str]:
        """Output parameters of a pod."""
        step, node = about["labels"]["s2ops/step"], str(about["annotations"]["workflows.argoproj.io/node-name"])
        if step == "group":
            stage = node.split(".group-", 1)[1].split("(", maxsplit=1)[0]
            return {"children": json.dumps(self.children if stage in self.stages else [])}
        of_stage = about["labels"]["app.kubernetes.io/component"] == "step" and step in self.stages
        return {"made": str(self.size), "failed": "0"} if of_stage else {}


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run took."""

    shape: Shape
    wall_s: float
    pods: int
    lost: int
    """Pods that had to be started again."""
    best_minute: int
    """Most pods that ended within a minute."""
    resumed_s: float
    """From the new start of a killed controller to the first pod that it made."""
    cpu_s: dict[str, float]
    """Program -> processor time."""
    peaks: Peaks


def measure(plane: Plane, shape: Shape) -> Cost:
    """Run, with the controller killed and started again when half the pods have ended.

    Raises:
        RuntimeError: the run failed, or started other pods than it should.
        TimeoutError: it took longer than the shape's limit.
    """
    executor = Executor(plane.api, shape.answers, shape.seconds, shape.lost)
    gauges = Gauges(plane)
    try:
        start = time.monotonic()
        name = _submit(plane, shape)
        _wait(plane, executor, name, start + shape.limit_s, until=shape.pods // 2)
        resumed = _restart(plane, executor)
        _wait(plane, executor, name, start + shape.limit_s)
        wall = time.monotonic() - start
        peaks = gauges.stop()
        if len(executor.log.ended) != shape.pods + executor.log.lost:
            raise RuntimeError(
                f"{len(executor.log.ended)} pods ran, not {shape.pods} and {executor.log.lost} a second time"
            )
        return Cost(
            shape,
            wall,
            len(executor.log.ended),
            executor.log.lost,
            best_minute(executor.log.ended),
            resumed,
            {name: gauges.cpu_s(name) for name in (CONTROLLER, "apiserver")},
            peaks,
        )
    finally:
        executor.stop()
        gauges.stop()


def _submit(plane: Plane, shape: Shape) -> str:
    """`argo submit` of the chart's own template."""
    given = {"config": CONFIG, "backoff": "2s", "size": str(shape.size), "child": str(shape.child)}
    words = [word for key, value in given.items() for word in ("--parameter", f"{key}={value}")]
    done = plane.kubectl.argo("submit", "--from", CHAIN, "--output", "name", *words)
    return done.stdout.strip().splitlines()[-1]


def _wait(plane: Plane, executor: Executor, name: str, end: float, until: int | None = None) -> None:
    """Until the run has ended well, or so many of its pods have; says every half minute how far it is."""
    told = time.monotonic()
    while until is None or len(executor.log.ended) < until:
        executor.check()
        [run] = plane.api.metadata(WORKFLOWS, fieldSelector=f"metadata.name={name}")
        phase = run["metadata"]["labels"].get("workflows.argoproj.io/phase", "")
        if phase == "Succeeded":
            return
        if phase in {"Failed", "Error"}:
            raise RuntimeError(
                f"{name} ended as {phase}:\n{plane.kubectl.argo('get', name, check=False).stdout[-3000:]}"
            )
        now = time.monotonic()
        if now > end:
            raise TimeoutError(f"{name} has not ended in time; {len(executor.log.ended)} pods have")
        if now - told > 30:
            told = now
            print(f"{len(executor.log.ended)} pods have ended", flush=True)
        time.sleep(1)


def _restart(plane: Plane, executor: Executor) -> float:
    plane.kill_controller()
    time.sleep(2)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    start = time.monotonic()
    plane.start_controller()

    def resumed() -> bool:
        executor.check()
        return executor.log.newest > stamp

    wait_until("the new controller makes a pod", resumed, limit_s=300, every_s=0.1)
    return time.monotonic() - start


def best_minute(moments: list[float]) -> int:
    """Most moments within 60 seconds."""
    ordered, first, most = sorted(moments), 0, 0
    for number, moment in enumerate(ordered):
        while ordered[first] < moment - 60:
            first += 1
        most = max(most, number - first + 1)
    return most


def table(cost: Cost) -> str:
    """As docs/operations/scale.md shows it."""
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

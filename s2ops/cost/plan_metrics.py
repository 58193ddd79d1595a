"""A run's stored plan as metrics, so that a dashboard can say when the run will end, and what it was to cost."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from s2ops.cost import plan_file
from s2ops.cost.estimate import WHOLE
from s2ops.cost.plan_file import Stored
from s2ops.cost.work_units import WORK
from s2ops.errors import S2opsError
from s2ops.run.context import Job
from s2ops.storage import layout
from s2ops.telemetry import metrics


@dataclass(frozen=True)
class Ahead:
    """What the plan says at the begin of a stage."""

    tile_s: float
    """Seconds that pass for each tile of the stage, all processes or pods at work."""
    later_s: float
    """Seconds that all later stages take."""

    @classmethod
    def of(cls, plan: Stored, steps: Sequence[str]) -> Self:
        """A stage of these steps."""
        by_step = {one.step: one for one in plan.steps}
        own = [by_step[step] for step in steps if step in by_step]
        order = list(WORK)
        last = max(map(order.index, steps))
        later = sum(one.wall_s for one in plan.steps if order.index(one.step) > last)
        tiles = 1 if set(steps) <= set(WHOLE) else max((one.tiles for one in own), default=0)
        return cls(sum(one.wall_s for one in own) / max(tiles, 1), later)


def hourly(plan: Stored) -> Mapping[str, float]:
    """Price of an hour of processor time, which the idle part of paid time makes dearer, and of a GPU."""
    lines = {name: one.value for name, one in plan.assumptions.items()}
    if not {"cpu_core_hour", "gpu_hour"} <= set(lines) or not lines.get("cpu_use"):
        return {}
    return {"cpu_hour": lines["cpu_core_hour"] / lines["cpu_use"], "gpu_hour": lines["gpu_hour"]}


def show(job: Job, stage: str, steps: Sequence[str]) -> None:
    """Set the plan's metrics at the begin of a stage. Without a plan that can be read nothing is shown."""
    with suppress(S2opsError):
        data = job.store.get(layout.FORECAST)
        if data is not None:
            plan = plan_file.read(data, layout.FORECAST)
            ahead = Ahead.of(plan, steps)
            metrics.planned(stage, ahead.tile_s, ahead.later_s)
            metrics.priced({"plan": plan.total.compute, **hourly(plan)})

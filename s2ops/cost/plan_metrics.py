"""Plan metrics: export a run's stored plan, so that a dashboard can show remaining time (ETA) and expected cost."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from s2ops.cost import plan_file
from s2ops.cost.estimate import WHOLE_RUN_STEPS
from s2ops.cost.plan_file import StoredPlan
from s2ops.cost.work_units import STEP_EFFORT
from s2ops.errors import S2opsError
from s2ops.run.context import RunContext
from s2ops.storage import layout
from s2ops.telemetry import metrics


@dataclass(frozen=True)
class RemainingTime:
    """Remaining time of a run according to its plan, at the start of a stage."""

    tile_s: float
    """Wall time per tile of the stage in seconds, with all processes or pods working."""
    later_s: float
    """Wall time of all later stages in seconds."""

    @classmethod
    def from_plan(cls, plan: StoredPlan, steps: Sequence[str]) -> Self:
        """Create it for a stage that consists of the given steps."""
        by_step = {one.step: one for one in plan.steps}
        own = [by_step[step] for step in steps if step in by_step]
        order = list(STEP_EFFORT)
        last = max(map(order.index, steps))
        later = sum(one.wall_s for one in plan.steps if order.index(one.step) > last)
        tiles = 1 if set(steps) <= set(WHOLE_RUN_STEPS) else max((one.tiles for one in own), default=0)
        return cls(sum(one.wall_s for one in own) / max(tiles, 1), later)


def compute_hourly_prices(plan: StoredPlan) -> Mapping[str, float]:
    """Compute the hourly prices of a processor core (divided by its utilization) and of a GPU."""
    lines = {name: one.value for name, one in plan.assumptions.items()}
    if not {"cpu_core_hour", "gpu_hour"} <= set(lines) or not lines.get("cpu_use"):
        return {}
    return {"cpu_hour": lines["cpu_core_hour"] / lines["cpu_use"], "gpu_hour": lines["gpu_hour"]}


def export_plan_metrics(ctx: RunContext, stage: str, steps: Sequence[str]) -> None:
    """Set the plan's metrics at the start of a stage; without a readable plan no metrics are set."""
    with suppress(S2opsError):
        data = ctx.store.get(layout.FORECAST)
        if data is not None:
            plan = plan_file.parse_plan(data, layout.FORECAST)
            remaining = RemainingTime.from_plan(plan, steps)
            metrics.set_plan_times(stage, remaining.tile_s, remaining.later_s)
            metrics.set_prices({"plan": plan.total.compute, **compute_hourly_prices(plan)})

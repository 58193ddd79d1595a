"""Steps of the chain in their order; the local engine and the containers of a cluster run these same functions."""

from typing import Any

from s2ops.errors import ConfigError
from s2ops.pipeline.steps import acquire, balance, blend, composite, landcover, plan, publish, select
from s2ops.pipeline.steps.base import TileStep, WholeStep

STEPS: tuple[TileStep[Any] | WholeStep[Any], ...] = (
    plan.STEP,
    select.STEP,
    acquire.STEP,
    composite.STEP,
    balance.STEP,
    blend.STEP,
    landcover.STEP,
    publish.STEP,
)


def get_step(name: str) -> TileStep[Any] | WholeStep[Any]:
    """Return the step called `name`; raise ConfigError with the existing names if there is none."""
    for step in STEPS:
        if step.name == name:
            return step
    raise ConfigError(f"There is no step {name!r}; use one of {', '.join(step.name for step in STEPS)}.")


__all__ = ["STEPS", "TileStep", "WholeStep", "get_step"]

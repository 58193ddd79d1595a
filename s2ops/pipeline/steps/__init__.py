"""The chain's steps, in order. The local engine and the containers run these same functions."""

from s2ops.errors import ConfigError
from s2ops.pipeline.steps import acquire, balance, blend, composite, landcover, plan, publish, select
from s2ops.pipeline.steps.base import TileStep, WholeStep

STAGES: tuple[TileStep | WholeStep, ...] = (
    plan.STEP,
    select.STEP,
    acquire.STEP,
    composite.STEP,
    balance.STEP,
    blend.STEP,
    landcover.STEP,
    publish.STEP,
)


def by_name(name: str) -> TileStep | WholeStep:
    """The step called `name`; ConfigError names those that exist."""
    for stage in STAGES:
        if stage.name == name:
            return stage
    raise ConfigError(f"there is no step {name!r}; take one of {', '.join(stage.name for stage in STAGES)}")


__all__ = ["STAGES", "TileStep", "WholeStep", "by_name"]

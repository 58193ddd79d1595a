"""Plan step: tiles of the region and their neighbours, after a check of configuration and catalog."""

from s2ops.cost.plan import write_forecast
from s2ops.pipeline.steps.base import WholeStep
from s2ops.results import RUN_TARGET, StepName, StepResult
from s2ops.run.context import RunContext
from s2ops.storage import layout
from s2ops.storage.done_marker import compute_fingerprint, to_json

VERSION = 2

PlanInputs = dict[str, object]
"""Configuration and the neighbours of each tile, as they stand in plan/plan.json."""


def prepare(ctx: RunContext) -> PlanInputs:
    """Collect the configuration and the neighbours of each tile."""
    return {
        "config": ctx.config.model_dump(mode="json", exclude={"out", "region", "segmenter"}),
        "tiles": {tile.name: [other.name for other in ctx.find_neighbours(tile)] for tile in ctx.tiles},
    }


def fingerprint(inputs: PlanInputs) -> str:
    """Return the SHA-256 over configuration and tiles."""
    return compute_fingerprint("plan", VERSION, inputs)


def run(ctx: RunContext, inputs: PlanInputs) -> StepResult:
    """Write run/forecast.json, which is compared with what the run takes, then plan/plan.json."""
    write_forecast(ctx)
    ctx.store.put(layout.PLAN, to_json({**inputs, "fingerprint": fingerprint(inputs)}))
    return StepResult(StepName.PLAN, RUN_TARGET, "done", {"tiles": len(ctx.tiles)})


def _check_catalog(ctx: RunContext) -> None:
    """Search the scenes of one tile, so that an unusable catalog ends the run here and not in every pod."""
    ctx.find_scenes(ctx.tiles[0])


STEP = WholeStep(StepName.PLAN, layout.PLAN, prepare, fingerprint, run, check=_check_catalog)

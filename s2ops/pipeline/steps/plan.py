"""Plan step: tiles of the region and their neighbours, after a check of networks and catalog."""

import logging
from typing import Final

from s2ops.cost.plan import write_forecast
from s2ops.errors import TransientError
from s2ops.pipeline.steps.base import WholeStep
from s2ops.results import RUN_TARGET, StepName, StepResult
from s2ops.run.check_networks import check_networks
from s2ops.run.context import RunContext
from s2ops.storage import layout
from s2ops.storage.done_marker import compute_fingerprint, to_json

_LOG: Final = logging.getLogger(__name__)

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


def _check_networks_and_catalog(ctx: RunContext) -> None:
    """Read the weights and search the scenes of one tile, so that faults end the run here and not in every pod."""
    try:
        check_networks(ctx)
    except TransientError as error:  # the steps wait longer, for a server that starts with the run
        _LOG.warning("networks not checked", extra={"reason": str(error)})
    ctx.find_scenes(ctx.tiles[0])


STEP = WholeStep(StepName.PLAN, layout.PLAN, prepare, fingerprint, run, check=_check_networks_and_catalog)

"""The embedded engine: the chain on one machine, with processes instead of pods and no logic of its own.

Stages run one after the other; within a stage, tiles run in any order on any number of processes. What is done already
is found by its markers before any process starts.
"""

from collections.abc import Iterable, Sequence

from s2ops.config import RunConfig
from s2ops.cost import plan_metrics
from s2ops.errors import S2opsError
from s2ops.geo.mgrs_tiles import Tile
from s2ops.pipeline.process_pool import Workers
from s2ops.pipeline.step_runner import TileOutcome, Progress, run_steps, list_pending, raise_first_fatal
from s2ops.pipeline.steps import STAGES, TileStep, WholeStep
from s2ops.results import StepResult
from s2ops.run.context import RunContext
from s2ops.telemetry import metrics


def run(config: RunConfig, tiles: Sequence[Tile], workers: int, threads: int, progress: Progress) -> list[StepResult]:
    """Run the whole chain over `tiles` and give what ran; an empty list means that all was done before.

    A tile whose input cannot be used is recorded and left out, the others go on to publish (`gaps.refuse` names it).
    Any other error ends the run once its stage is through: the user's input (exit 2) before what may pass (exit 75).
    """
    ctx = RunContext(config, tuple(tiles), threads)
    ran: list[StepResult] = []
    failed: list[S2opsError] = []
    with Workers(ctx, workers) as pool:
        for stage in STAGES:
            if stage.wanted(ctx):
                made, errors = _stage(ctx, stage, pool, progress)
                ran, failed = ran + made, failed + errors
                if len(failed) == len(ctx.tiles):
                    raise failed[0]  # nothing is left to go on with
    return ran


def _stage(
    ctx: RunContext, stage: TileStep | WholeStep, pool: Workers, progress: Progress
) -> tuple[list[StepResult], list[S2opsError]]:
    """What ran, and the errors that cost one tile each."""
    stage.check(ctx)
    if isinstance(stage, WholeStep):
        names, total = [] if stage.done(ctx) else ["all"], 1
    else:
        names, total = list_pending([stage], ctx), len(ctx.tiles)
    progress.stage(stage.name, total, len(names))
    metrics.stage_begins(stage.name, total, len(names))
    plan_metrics.show(ctx, stage.name, [stage.name])
    results, errors = [], []
    if isinstance(stage, WholeStep):
        outcomes: Iterable[TileOutcome] = (run_steps(ctx, [stage.name], name, looked=True) for name in names)
    else:
        outcomes = pool.each([stage.name], names)
    for outcome in outcomes:
        outcome.tell(progress)
        metrics.tile_is_through(stage.name)
        results += [result for result in outcome.results if result.status != "skipped"]
        if outcome.error is not None:
            errors.append(outcome.error)
    if isinstance(stage, WholeStep) and errors:
        raise errors[0]  # nothing can go on without it
    raise_first_fatal(errors)
    return results, errors

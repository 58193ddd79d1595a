"""Local engine: runs the chain on one machine, with worker processes instead of pods.

Stages run in sequence; within a stage, tiles run in any order on any number of processes. Tiles that are done already
are found by their markers before any process starts.
"""

from collections.abc import Sequence
from typing import Any

from s2ops.config import RunConfig
from s2ops.cost import plan_metrics
from s2ops.errors import S2opsError
from s2ops.geo.mgrs_tiles import Tile
from s2ops.pipeline.process_pool import WorkerPool
from s2ops.pipeline.step_runner import Progress, TileOutcome, list_pending, raise_first_fatal, run_steps
from s2ops.pipeline.steps import STEPS, TileStep, WholeStep
from s2ops.results import RUN_TARGET, StepResult
from s2ops.run.context import RunContext
from s2ops.telemetry import metrics


def run_chain(
    config: RunConfig, tiles: Sequence[Tile], workers: int, threads: int, progress: Progress
) -> list[StepResult]:
    """Run the whole chain over some tiles, skipping what is done.

    A tile with unusable input is recorded and left out; the others go on to publish (`missing_tiles.py` names it).
    Any other error ends the run at the end of its stage: input errors (exit 2) before transient errors (exit 75).

    Args:
        config: Run configuration.
        tiles: Tiles of the run.
        workers: Number of processes.
        threads: Number of threads per process.
        progress: Receiver of the progress.

    Returns:
        Results of the steps that ran; empty if everything was done before.
    """
    ctx = RunContext(config, tuple(tiles), threads)
    results: list[StepResult] = []
    errors: list[S2opsError] = []
    with WorkerPool(ctx, workers) as pool:
        for step in STEPS:
            if not step.is_wanted(ctx):
                continue
            step.check(ctx)
            if isinstance(step, WholeStep):
                results += _run_whole_step(ctx, step, progress)
                continue
            step_results, step_errors = _run_tile_step(ctx, step, pool, progress)
            results, errors = results + step_results, errors + step_errors
            if len(errors) == len(ctx.tiles):
                raise errors[0]  # no tile is left to go on with
    return results


def _run_whole_step(ctx: RunContext, step: WholeStep[Any], progress: Progress) -> list[StepResult]:
    """Run a step over all tiles unless it is done; its failure ends the run."""
    prepared = step.bind(ctx)
    is_pending = not prepared.marker.is_current(ctx.store)
    _start_stage(ctx, step, 1, int(is_pending), progress)
    if not is_pending:
        return []
    outcome = run_steps(ctx, [step.name], RUN_TARGET, prepared)
    _finish_tile(step, outcome, progress)
    if outcome.error is not None:
        raise outcome.error
    return list(outcome.results)


def _run_tile_step(
    ctx: RunContext, step: TileStep[Any], pool: WorkerPool, progress: Progress
) -> tuple[list[StepResult], list[S2opsError]]:
    """Run a step for all tiles that have work; return the results, and the errors of single tiles."""
    names = list_pending([step], ctx)
    _start_stage(ctx, step, len(ctx.tiles), len(names), progress)
    results: list[StepResult] = []
    errors: list[S2opsError] = []
    for outcome in pool.run_tiles([step.name], names):
        _finish_tile(step, outcome, progress)
        results += [result for result in outcome.results if result.status != "skipped"]
        if outcome.error is not None:
            errors.append(outcome.error)
    raise_first_fatal(errors)
    return results, errors


def _start_stage(
    ctx: RunContext, step: TileStep[Any] | WholeStep[Any], total: int, pending: int, progress: Progress
) -> None:
    progress.start_stage(step.name, total, pending)
    metrics.start_stage(step.name, total, pending)
    plan_metrics.export_plan_metrics(ctx, step.name, [step.name])


def _finish_tile(step: TileStep[Any] | WholeStep[Any], outcome: TileOutcome, progress: Progress) -> None:
    outcome.report_to(progress)
    metrics.count_finished_tile(step.name)

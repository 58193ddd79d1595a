"""Step runner of the local engine and of cluster pods: finds tiles with work, runs steps, records failures."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, Protocol

from s2ops.cost.run_history import write_rates
from s2ops.errors import (
    CatalogError,
    ConfigError,
    GridError,
    InputError,
    MissingInput,
    ModelError,
    OutputError,
    S2opsError,
    TransientError,
)
from s2ops.geo.mgrs_tiles import TILE_SIZE_M, Tile
from s2ops.pipeline.steps import STEPS, TileStep, WholeStep, acquire, blend, composite, get_step, landcover, select
from s2ops.pipeline.steps.base import PreparedStep
from s2ops.results import RUN_TARGET, StepName, StepResult
from s2ops.run import run_record
from s2ops.run.context import RunContext
from s2ops.storage import layout
from s2ops.storage.done_marker import to_json
from s2ops.telemetry import metrics
from s2ops.telemetry.resource_usage import measure_usage

CLUSTER_STAGES: Final[Mapping[str, tuple[TileStep[Any], ...]]] = {
    "scenes": (select.STEP, acquire.STEP, composite.STEP),
    "blend": (blend.STEP,),
    "landcover": (landcover.STEP,),
}
"""Steps that a pod runs in sequence for each tile of its group: within a stage, no tile needs another tile."""

_CHECK_THREADS: Final = 16
"""Threads that check markers; they only wait for the store and the catalog."""

_RUN_ERRORS: Final = (CatalogError, ConfigError, GridError, ModelError, OutputError)
"""Errors that every tile would meet; any other InputError belongs to one tile."""


class Progress(Protocol):
    """Receiver of a run's progress: a bar on a terminal, lines elsewhere."""

    def start_stage(self, step: str, total: int, pending: int) -> None:
        """Report the start of a stage: `pending` of `total` tiles have work."""

    def report_result(self, result: StepResult) -> None:
        """Report the result of one step for one tile."""

    def report_failure(self, step: str, tile: str, error: S2opsError) -> None:
        """Report that one tile failed; the others go on."""


@dataclass(frozen=True)
class TileOutcome:
    """Outcome of the steps of a stage for one tile (or for the run: "all")."""

    tile: str
    results: tuple[StepResult, ...]
    step: str = ""
    """Step that failed."""
    error: S2opsError | None = None

    def report_to(self, progress: Progress) -> None:
        """Report the results and the failure."""
        for result in self.results:
            progress.report_result(result)
        if self.error is not None:
            progress.report_failure(self.step, self.tile, self.error)


def is_tile_error(error: S2opsError) -> bool:
    """Return true if only the input of one tile is unusable, so that the run can go on without the tile."""
    return isinstance(error, InputError) and not isinstance(error, _RUN_ERRORS)


def list_pending(steps: Sequence[TileStep[Any]], ctx: RunContext) -> list[str]:
    """List the names of the tiles that have work; a tile for which an earlier step failed has none.

    Raises:
        MissingInput: If every tile lacks the input of the first step: an earlier stage has not run.
    """
    with ThreadPoolExecutor(_CHECK_THREADS) as threads:
        states = list(threads.map(partial(_check_tile, ctx, steps), ctx.tiles))
    if all(isinstance(state, MissingInput) for state in states):
        raise next(state for state in states if isinstance(state, MissingInput))
    return [tile.name for tile, state in zip(ctx.tiles, states, strict=True) if state == "pending"]


def _check_tile(
    ctx: RunContext, steps: Sequence[TileStep[Any]], tile: Tile
) -> Literal["done", "pending"] | MissingInput:
    """Return the state of a tile, or the error if it lacks the input of the first step."""
    for number, step in enumerate(steps):
        try:
            if not step.is_done(ctx, tile):
                return "pending"
        except MissingInput as missing:
            return missing if number == 0 else "pending"
        except InputError as error:
            if is_tile_error(error):
                return "pending"  # the step itself will raise the error and record it
            raise
    return "done"


def run_steps(ctx: RunContext, steps: Sequence[str], name: str, prepared: PreparedStep | None = None) -> TileOutcome:
    """Run steps for one tile (or "all") until one fails; steps that are done already are skipped.

    A failure is recorded in run/STEP/TILE.failed.json.

    Args:
        ctx: Run context.
        steps: Names of the steps, in order.
        name: Name of the tile, or "all".
        prepared: The only step with its inputs, if the caller has found that it is not done.
    """
    results: list[StepResult] = []
    for step in steps:
        try:
            results.append(_run_if_pending(ctx, step, name) if prepared is None else _run(ctx, step, name, prepared))
        except S2opsError as error:
            metrics.count_failure(step, error)
            _record_failure(ctx, step, name, error)
            return TileOutcome(name, tuple(results), step, error)
    return TileOutcome(name, tuple(results))


def _run_if_pending(ctx: RunContext, step: str, name: str) -> StepResult:
    known = get_step(step)
    prepared = known.bind(ctx) if isinstance(known, WholeStep) else known.bind(ctx, ctx.tiles_by_name[name])
    if prepared.marker.is_current(ctx.store):
        metrics.count_skipped(step)
        return StepResult(step, name, "skipped")
    return _run(ctx, step, name, prepared)


def _run(ctx: RunContext, step: str, name: str, prepared: PreparedStep) -> StepResult:
    """Run one step in this process, measure it, and write its run record."""
    with measure_usage() as usage:
        result = prepared.run()
    metrics.record_step(result, usage, (TILE_SIZE_M / ctx.res) ** 2 / 1e6)
    ctx.store.put(layout.TileKeys(name).get_run_record(step), run_record.create_run_record(ctx, result, usage).write())
    ctx.store.delete(layout.TileKeys(name).get_failure(step))
    if step == StepName.PUBLISH:
        write_rates(ctx)
    return result


def _record_failure(ctx: RunContext, step: str, name: str, error: S2opsError) -> None:
    """Write the failure record; if the tile's input is unusable, delete markers of outputs from older input."""
    record = {"step": step, "tile": name, "error": str(error), "kind": error.kind, "exit_code": error.exit_code}
    with suppress(S2opsError):  # the store may be what failed; the error that is being recorded says so
        ctx.store.put(layout.TileKeys(name).get_failure(step), to_json(record))
        if name != RUN_TARGET and is_tile_error(error):
            names = [one.name for one in STEPS]
            for later in STEPS[names.index(StepName(step)) :]:
                if isinstance(later, TileStep):
                    ctx.store.delete(later.key(name))


def raise_first_fatal(errors: Sequence[S2opsError]) -> None:
    """Raise an error that ends a stage: errors that every tile would meet come before transient errors."""
    for error in errors:
        if not is_tile_error(error) and not isinstance(error, TransientError):
            raise error
    for error in errors:
        if isinstance(error, TransientError):
            raise error

"""What the local engine and the pods of a cluster do alike: find the tiles with work, run steps, record failures."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, Protocol

from s2ops.cost.run_history import leave_rates
from s2ops.errors import (
    CatalogError,
    ConfigError,
    GridError,
    InputError,
    ModelError,
    MissingInput,
    OutputError,
    S2opsError,
    TransientError,
)
from s2ops.geo.mgrs_tiles import TILE_SIZE_M, Tile
from s2ops.pipeline.steps import STAGES, TileStep, WholeStep, acquire, blend, by_name, composite, landcover, select
from s2ops.results import StepResult
from s2ops.run import run_record
from s2ops.run.context import RunContext
from s2ops.storage import layout
from s2ops.storage.done_marker import to_json
from s2ops.telemetry import metrics
from s2ops.telemetry.resource_usage import measured

CLUSTER_STAGES: Final[Mapping[str, tuple[TileStep, ...]]] = {
    "scenes": (select.STEP, acquire.STEP, composite.STEP),
    "blend": (blend.STEP,),
    "landcover": (landcover.STEP,),
}
"""Steps that a pod runs one after the other for each tile of its group: between them no tile needs another."""

_CHECKERS: Final = 16
"""Threads that look for markers: they only wait for the store and the catalog."""

_OF_THE_RUN: Final = (CatalogError, ConfigError, GridError, ModelError, OutputError)
"""Errors that every tile would meet; any other InputError is the tile's own."""


class Progress(Protocol):
    """Who is told how the run goes: a bar on a terminal, lines elsewhere."""

    def stage(self, step: str, total: int, pending: int) -> None:
        """A stage begins: `pending` of `total` tiles have work."""

    def tile(self, result: StepResult) -> None:
        """One step of one tile is through."""

    def failed(self, step: str, tile: str, error: S2opsError) -> None:
        """One tile of the stage failed; the others go on."""


@dataclass(frozen=True)
class TileOutcome:
    """What came of one tile (or 'all') in a stage."""

    tile: str
    results: tuple[StepResult, ...]
    step: str = ""
    """The step that failed."""
    error: S2opsError | None = None

    def tell(self, progress: Progress) -> None:
        """Say it."""
        for result in self.results:
            progress.tile(result)
        if self.error is not None:
            progress.failed(self.step, self.tile, self.error)


def is_tile_error(error: S2opsError) -> bool:
    """Whether the input of one tile cannot be used, so that the others may go on without it."""
    return isinstance(error, InputError) and not isinstance(error, _OF_THE_RUN)


def list_pending(steps: Sequence[TileStep], ctx: RunContext) -> list[str]:
    """Names of the tiles that have work; a tile that an earlier step failed for has none.

    Raises NotMade where that is so for every tile: then a stage before this one has not run.
    """
    with ThreadPoolExecutor(_CHECKERS) as threads:
        states = list(threads.map(partial(_state, ctx, steps), ctx.tiles))
    if all(isinstance(state, MissingInput) for state in states):
        raise next(state for state in states if isinstance(state, MissingInput))
    return [tile.name for tile, state in zip(ctx.tiles, states, strict=True) if state == "pending"]


def _state(ctx: RunContext, steps: Sequence[TileStep], tile: Tile) -> Literal["done", "list_pending"] | MissingInput:
    """Whether the tile is done, has work, or lacks what the first step reads."""
    for number, step in enumerate(steps):
        try:
            if not step.done(ctx, tile):
                return "pending"
        except MissingInput as missing:
            return missing if number == 0 else "pending"
        except InputError as error:
            if is_tile_error(error):
                return "pending"  # the step will say so itself, and leave its record
            raise
    return "done"


def run_steps(ctx: RunContext, steps: Sequence[str], name: str, *, looked: bool = False) -> TileOutcome:
    """Run those of the steps that are not done for one tile (or 'all'), up to the first that fails.

    `looked`: that none is done was found a moment ago. A failure is recorded in run/STEP/TILE.failed.json.
    """
    results: list[StepResult] = []
    for step in steps:
        try:
            if not looked and is_done(ctx, step, name):
                metrics.skipped(step)
                result = StepResult(step, name, "skipped")
            else:
                result = step_once(ctx, step, name)
        except S2opsError as error:
            metrics.failed(step, error)
            _record(ctx, step, name, error)
            return TileOutcome(name, tuple(results), step, error)
        results.append(result)
    return TileOutcome(name, tuple(results))


def is_done(ctx: RunContext, step: str, name: str) -> bool:
    """Whether the step has nothing to do for the tile (or 'all')."""
    stage = by_name(step)
    return stage.done(ctx) if isinstance(stage, WholeStep) else stage.done(ctx, ctx.tiles_by_name[name])


def step_once(ctx: RunContext, step: str, name: str) -> StepResult:
    """Run one step for one tile (or 'all') in this process, measure it, and leave its run record."""
    stage = by_name(step)
    with measured() as usage:
        result = stage.run(ctx) if isinstance(stage, WholeStep) else stage.run(ctx, ctx.tiles_by_name[name])
    metrics.made(result, usage, (TILE_SIZE_M / ctx.res) ** 2 / 1e6)
    ctx.store.put(layout.run_record(step, name), run_record.of_step(ctx, result, usage).write())
    ctx.store.delete(layout.failure(step, name))
    if step == "publish":
        leave_rates(ctx)
    return result


def _record(ctx: RunContext, step: str, name: str, error: S2opsError) -> None:
    """Leave the error's sentence; for a tile that lacks usable input, take back what was made from older input."""
    record = {
        "step": step, "tile": name, "error": str(error), "kind": type(error).__name__, "exit_code": error.exit_code,
    }  # fmt: skip
    with suppress(S2opsError):  # the store itself may be what failed; the error that is being recorded says so
        ctx.store.put(layout.failure(step, name), to_json(record))
        if name != "all" and is_tile_error(error):
            names = [one.name for one in STAGES]
            for later in STAGES[names.index(step) :]:
                if isinstance(later, TileStep):
                    ctx.store.delete(later.key(name))


def raise_first_fatal(errors: Sequence[S2opsError]) -> None:
    """Raise what ends a stage: an error that every tile would meet, before one that may pass by itself."""
    for error in errors:
        if not is_tile_error(error) and not isinstance(error, TransientError):
            raise error
    for error in errors:
        if isinstance(error, TransientError):
            raise error

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
    NotMade,
    OutputError,
    S2opsError,
    TransientError,
)
from s2ops.geo.mgrs_tiles import SIDE, Tile
from s2ops.pipeline.steps import STAGES, TileStep, WholeStep, acquire, blend, by_name, composite, landcover, select
from s2ops.results import StepResult
from s2ops.run import run_record
from s2ops.run.context import Job
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
class Outcome:
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


def is_of_one_tile(error: S2opsError) -> bool:
    """Whether the input of one tile cannot be used, so that the others may go on without it."""
    return isinstance(error, InputError) and not isinstance(error, _OF_THE_RUN)


def pending(steps: Sequence[TileStep], job: Job) -> list[str]:
    """Names of the tiles that have work; a tile that an earlier step failed for has none.

    Raises NotMade where that is so for every tile: then a stage before this one has not run.
    """
    with ThreadPoolExecutor(_CHECKERS) as threads:
        states = list(threads.map(partial(_state, job, steps), job.tiles))
    if all(isinstance(state, NotMade) for state in states):
        raise next(state for state in states if isinstance(state, NotMade))
    return [tile.name for tile, state in zip(job.tiles, states, strict=True) if state == "pending"]


def _state(job: Job, steps: Sequence[TileStep], tile: Tile) -> Literal["done", "pending"] | NotMade:
    """Whether the tile is done, has work, or lacks what the first step reads."""
    for number, step in enumerate(steps):
        try:
            if not step.done(job, tile):
                return "pending"
        except NotMade as missing:
            return missing if number == 0 else "pending"
        except InputError as error:
            if is_of_one_tile(error):
                return "pending"  # the step will say so itself, and leave its record
            raise
    return "done"


def attempt(job: Job, steps: Sequence[str], name: str, *, looked: bool = False) -> Outcome:
    """Run those of the steps that are not done for one tile (or 'all'), up to the first that fails.

    `looked`: that none is done was found a moment ago. A failure is recorded in run/STEP/TILE.failed.json.
    """
    results: list[StepResult] = []
    for step in steps:
        try:
            if not looked and is_done(job, step, name):
                metrics.skipped(step)
                result = StepResult(step, name, "skipped")
            else:
                result = step_once(job, step, name)
        except S2opsError as error:
            metrics.failed(step, error)
            _record(job, step, name, error)
            return Outcome(name, tuple(results), step, error)
        results.append(result)
    return Outcome(name, tuple(results))


def is_done(job: Job, step: str, name: str) -> bool:
    """Whether the step has nothing to do for the tile (or 'all')."""
    stage = by_name(step)
    return stage.done(job) if isinstance(stage, WholeStep) else stage.done(job, job.by_name[name])


def step_once(job: Job, step: str, name: str) -> StepResult:
    """Run one step for one tile (or 'all') in this process, measure it, and leave its run record."""
    stage = by_name(step)
    with measured() as usage:
        result = stage.run(job) if isinstance(stage, WholeStep) else stage.run(job, job.by_name[name])
    metrics.made(result, usage, (SIDE / job.res) ** 2 / 1e6)
    job.store.put(layout.run_record(step, name), run_record.of_step(job, result, usage).write())
    job.store.delete(layout.failure(step, name))
    if step == "publish":
        leave_rates(job)
    return result


def _record(job: Job, step: str, name: str, error: S2opsError) -> None:
    """Leave the error's sentence; for a tile that lacks usable input, take back what was made from older input."""
    record = {
        "step": step, "tile": name, "error": str(error), "kind": type(error).__name__, "exit_code": error.exit_code,
    }  # fmt: skip
    with suppress(S2opsError):  # the store itself may be what failed; the error that is being recorded says so
        job.store.put(layout.failure(step, name), to_json(record))
        if name != "all" and is_of_one_tile(error):
            names = [one.name for one in STAGES]
            for later in STAGES[names.index(step) :]:
                if isinstance(later, TileStep):
                    job.store.delete(later.key(name))


def verdict(errors: Sequence[S2opsError]) -> None:
    """Raise what ends a stage: an error that every tile would meet, before one that may pass by itself."""
    for error in errors:
        if not is_of_one_tile(error) and not isinstance(error, TransientError):
            raise error
    for error in errors:
        if isinstance(error, TransientError):
            raise error

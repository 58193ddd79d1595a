"""The embedded engine: the chain on one machine, with processes instead of pods and no logic of its own.

Stages run one after the other; within a stage, tiles run in any order on any number of processes. What is done already
is found by its markers before any process starts.
"""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Protocol

from s2ops.config import RunConfig
from s2ops.errors import InputError, S2opsError, TransientError
from s2ops.grid import Tile
from s2ops.job import Job, StepResult
from s2ops.marker import to_json
from s2ops.steps import STAGES, TileStep, WholeStep, by_name
from s2ops.telemetry import measured

_CHECKERS = 16
"""Threads that look for markers: they only wait for the store and the catalog."""


class Progress(Protocol):
    """Who is told how the run goes: a bar on a terminal, lines elsewhere."""

    def stage(self, step: str, total: int, pending: int) -> None:
        """A stage begins: `pending` of `total` tiles have work."""

    def tile(self, result: StepResult) -> None:
        """One tile of the stage is through."""

    def failed(self, step: str, tile: str, error: S2opsError) -> None:
        """One tile of the stage failed; the others go on."""


def run(config: RunConfig, tiles: Sequence[Tile], workers: int, threads: int, progress: Progress) -> list[StepResult]:
    """Run the whole chain over `tiles` and give what ran; an empty list means that all was done before.

    A tile that fails does not stop its stage: the other tiles finish (and stay done), then the error is raised, the
    user's input (exit 2) before what may pass by itself (exit 75).
    """
    job = Job(config, tuple(tiles), threads)
    ran: list[StepResult] = []
    with _Workers(job, workers) as pool:
        for stage in STAGES:
            if not stage.wanted(job):
                continue
            names = _pending(stage, job)
            progress.stage(stage.name, 1 if isinstance(stage, WholeStep) else len(job.tiles), len(names))
            errors = []
            for name, result in pool.each(stage.name, names):
                if isinstance(result, S2opsError):
                    errors.append(result)
                    progress.failed(stage.name, name, result)
                else:
                    ran.append(result)
                    progress.tile(result)
            _raise_first(errors)
            stage.check(job)
    return ran


def _pending(stage: TileStep | WholeStep, job: Job) -> list[str]:
    """Names of the tiles that have work; a whole-run step has the one name 'all'."""
    if isinstance(stage, WholeStep):
        return [] if stage.done(job) else ["all"]
    with ThreadPoolExecutor(_CHECKERS) as threads:
        done = list(threads.map(partial(stage.done, job), job.tiles))
    return [tile.name for tile, finished in zip(job.tiles, done, strict=True) if not finished]


def _raise_first(errors: Sequence[S2opsError]) -> None:
    for kind in (InputError, TransientError, S2opsError):
        for error in errors:
            if isinstance(error, kind):
                raise error


def step_once(job: Job, step: str, name: str) -> StepResult:
    """Run one step for one tile (or 'all') in this process, measure it, and leave its run record."""
    stage = by_name(step)
    with measured() as usage:
        if isinstance(stage, WholeStep):
            result = stage.run(job)
        else:
            result = stage.run(job, next(tile for tile in job.tiles if tile.name == name))
    record = {
        "step": step, "tile": name, "status": result.status, "facts": dict(result.facts),
        "wall_s": usage.wall_s, "peak_rss_mib": usage.peak_rss_mib,
    }  # fmt: skip
    job.store.put(f"run/{step}/{name}.json", to_json(record))
    return result


class _Workers:
    """Processes made by spawn when there is work for them; one worker works in this process."""

    def __init__(self, job: Job, count: int) -> None:
        self._job, self._count = job, count
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def each(self, step: str, names: Sequence[str]) -> Iterator[tuple[str, StepResult | S2opsError]]:
        """(name, result or error) as they come."""
        if self._count == 1 or names == ["all"] or not names:
            for name in names:
                yield name, _caught(self._job, step, name)
            return
        if self._pool is None:
            # spawn: GDAL and ONNX Runtime hold threads, which do not survive a fork
            self._pool = ProcessPoolExecutor(
                self._count,
                multiprocessing.get_context("spawn"),
                _start,
                (self._job.config, self._job.tiles, self._job.threads),
            )
        futures = {self._pool.submit(_in_worker, step, name): name for name in names}
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except BrokenProcessPool as error:
                raise TransientError(
                    f"a worker process died in step {step} (killed, or out of memory): run again, with fewer --workers"
                ) from error


def _caught(job: Job, step: str, name: str) -> StepResult | S2opsError:
    try:
        return step_once(job, step, name)
    except S2opsError as error:
        return error


_worker_job: Job | None = None


def _start(config: RunConfig, tiles: tuple[Tile, ...], threads: int) -> None:
    global _worker_job  # noqa: PLW0603 -- one job a process, so that models load once
    _worker_job = Job(config, tiles, threads)


def _in_worker(step: str, name: str) -> StepResult | S2opsError:
    if _worker_job is None:
        raise RuntimeError("the worker was not started by _start")
    return _caught(_worker_job, step, name)

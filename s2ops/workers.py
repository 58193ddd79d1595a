"""Tiles on several processes, or on this one."""

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from s2ops.config import RunConfig
from s2ops.errors import Stopped, TransientError
from s2ops.grid import Tile
from s2ops.heap import keep_small
from s2ops.job import Job
from s2ops.stages import Outcome, attempt


class Workers:
    """Processes made by spawn when there is work for them; one worker works in this process."""

    def __init__(self, job: Job, count: int) -> None:
        self._job, self._count = job, count
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def each(self, steps: Sequence[str], names: Sequence[str]) -> Iterator[Outcome]:
        """What came of each tile, as they come. TransientError where a process died."""
        if self._count == 1 or len(names) <= 1:
            for name in names:
                yield attempt(self._job, steps, name)
            return
        if self._pool is None:
            # spawn: GDAL and ONNX Runtime hold threads, which do not survive a fork
            self._pool = ProcessPoolExecutor(
                self._count,
                multiprocessing.get_context("spawn"),
                _start,
                (self._job.config, self._job.tiles, self._job.threads),
            )
        futures = [self._pool.submit(_in_worker, tuple(steps), name) for name in names]
        for future in as_completed(futures):
            try:
                yield future.result()
            except BrokenProcessPool as error:
                raise TransientError(
                    f"a worker process died in step {'/'.join(steps)} (killed, or out of memory): run again, "
                    "with fewer --workers"
                ) from error


_worker_job: Job | None = None


def _start(config: RunConfig, tiles: tuple[Tile, ...], threads: int) -> None:
    global _worker_job  # noqa: PLW0603 -- one job a process, so that models load once
    keep_small()
    threading.Thread(target=_end_with_the_run, name="run", daemon=True).start()
    _worker_job = Job(config, tiles, threads)


def _end_with_the_run() -> None:
    """A pool's process waits for work for ever where the run was killed, and holds its networks' memory."""
    run = multiprocessing.parent_process()
    if run is not None:
        run.join()
        os._exit(Stopped.exit_code)  # outputs are put whole, so nothing half done stands


def _in_worker(steps: Sequence[str], name: str) -> Outcome:
    if _worker_job is None:
        raise RuntimeError("the worker was not started by _start")
    return attempt(_worker_job, steps, name)

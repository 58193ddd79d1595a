"""Tiles on several processes, or on this one."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from types import FrameType
from typing import Final

from s2ops.config import RunConfig
from s2ops.errors import Terminated, TransientError
from s2ops.geo.mgrs_tiles import Tile
from s2ops.pipeline.step_runner import TileOutcome, run_steps
from s2ops.run.context import RunContext
from s2ops.runtime.malloc import limit_malloc_arenas
from s2ops.telemetry.log_config import LogFormat, configure_logging, get_log_format

_GRACE_S: Final = 10.0
"""How long a worker that is told to stop may tidy up."""


class WorkerPool:
    """Processes made by spawn when there is work for them; one worker works in this process."""

    def __init__(self, ctx: RunContext, count: int) -> None:
        self._ctx, self._count = ctx, count
        self._pool: ProcessPoolExecutor | None = None
        self._line: Connection | None = None

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._pool is None or self._line is None:
            return
        if kind is not None:
            self._line.close()  # who stops a run does not want to wait for the tiles that are being worked at
        self._pool.shutdown(cancel_futures=True)
        self._line.close()

    def run_tiles(self, steps: Sequence[str], names: Sequence[str]) -> Iterator[TileOutcome]:
        """What came of each tile, as they come. TransientError where a process died."""
        if self._count == 1 or len(names) <= 1:
            for name in names:
                yield run_steps(self._ctx, steps, name)
            return
        if self._pool is None:
            told, self._line = multiprocessing.Pipe(duplex=False)
            # spawn: GDAL and ONNX Runtime hold threads, which do not survive a fork
            self._pool = ProcessPoolExecutor(
                self._count,
                multiprocessing.get_context("spawn"),
                _start,
                (told, self._ctx.config, self._ctx.tiles, self._ctx.threads, get_log_format()),
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


_worker_context: RunContext | None = None
_at_work = False


def _start(
    told: Connection, config: RunConfig, tiles: tuple[Tile, ...], threads: int, log_format: LogFormat | None
) -> None:
    global _worker_context  # noqa: PLW0603 -- one job a process, so that models load once
    limit_malloc_arenas()
    if log_format is not None:
        configure_logging(log_format)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the run too, which then tells its workers
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with_the_run, args=(told,), name="run", daemon=True).start()
    _worker_context = RunContext(config, tiles, threads)


def _end_with_the_run(told: Connection) -> None:
    """Nothing comes down the line: it closes when the run is told to stop, or was killed.

    A worker would go on with its tile otherwise, and then wait for work for ever.
    """
    with contextlib.suppress(EOFError, OSError):
        told.recv_bytes()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    os._exit(Terminated.exit_code)  # outputs are put whole, so nothing half done stands


def _stop(_: int, __: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not disturb the clean-up
    if not _at_work:
        os._exit(Terminated.exit_code)  # there is nothing to tidy up
    raise Terminated


def _in_worker(steps: Sequence[str], name: str) -> TileOutcome:
    global _at_work  # noqa: PLW0603 -- of the process
    if _worker_context is None:
        raise RuntimeError("the worker was not started by _start")
    _at_work = True
    try:
        return run_steps(_worker_context, steps, name)
    except Terminated:
        os._exit(Terminated.exit_code)  # tidied up; else it would begin the tile that waits in its queue
    finally:
        _at_work = False

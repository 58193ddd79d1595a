"""Process pool (multiprocessing workers) that runs steps of many tiles; with one worker, everything runs in-process."""

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

_GRACE_PERIOD_S: Final = 10.0
"""Time that a worker has for its clean-up after SIGTERM."""


class WorkerPool:
    """Worker processes, which are spawned when there is work for them; one worker works in this process.

    Each worker holds the reading end of a pipe. If the run ends in any way, also by SIGKILL, the writing end closes,
    and the workers end.
    """

    def __init__(self, ctx: RunContext, workers: int) -> None:
        self._ctx, self._workers = ctx, workers
        self._pool: ProcessPoolExecutor | None = None
        self._lifeline: Connection | None = None

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._pool is None or self._lifeline is None:
            return
        if kind is not None:
            self._lifeline.close()  # after an error or Ctrl-C, do not wait for the tiles in progress
        self._pool.shutdown(cancel_futures=True)
        self._lifeline.close()

    def run_tiles(self, steps: Sequence[str], names: Sequence[str]) -> Iterator[TileOutcome]:
        """Run steps for some tiles, and yield the outcomes in the order in which they finish.

        Raises:
            TransientError: If a process died.
        """
        if self._workers == 1 or len(names) <= 1:
            for name in names:
                yield run_steps(self._ctx, steps, name)
            return
        if self._pool is None:
            lifeline, self._lifeline = multiprocessing.Pipe(duplex=False)
            # spawn: GDAL and ONNX Runtime hold threads, which do not survive a fork
            self._pool = ProcessPoolExecutor(
                self._workers,
                multiprocessing.get_context("spawn"),
                _start_worker,
                (lifeline, self._ctx.config, self._ctx.tiles, self._ctx.threads, get_log_format()),
            )
        futures = [self._pool.submit(_run_in_worker, tuple(steps), name) for name in names]
        for future in as_completed(futures):
            try:
                yield future.result()
            except BrokenProcessPool as error:
                raise TransientError(
                    f"A worker process died in step {'/'.join(steps)}: it was killed, or the memory is full; "
                    "run again, with fewer --workers."
                ) from error


_worker_context: RunContext | None = None
_is_working = False


def _start_worker(
    lifeline: Connection, config: RunConfig, tiles: tuple[Tile, ...], threads: int, log_format: LogFormat | None
) -> None:
    global _worker_context  # noqa: PLW0603 -- one context per process, so that models load once
    limit_malloc_arenas()
    if log_format is not None:
        configure_logging(log_format)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the run too, which then ends its workers
    signal.signal(signal.SIGTERM, _handle_sigterm)
    threading.Thread(target=_exit_with_parent, args=(lifeline,), name="run", daemon=True).start()
    _worker_context = RunContext(config, tiles, threads)


def _exit_with_parent(lifeline: Connection) -> None:
    """Wait until the parent closes its end of the pipe (it was stopped or killed), then exit.

    Otherwise the worker would finish its tile, and then wait for work forever.
    """
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_PERIOD_S)
    os._exit(Terminated.exit_code)  # outputs are put into the store whole, so no partial output is left


def _handle_sigterm(_: int, __: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second signal must not disturb the clean-up
    if not _is_working:
        os._exit(Terminated.exit_code)  # nothing to clean up
    raise Terminated


def _run_in_worker(steps: Sequence[str], name: str) -> TileOutcome:
    global _is_working  # noqa: PLW0603 -- state of the process, which its signal handler reads
    if _worker_context is None:
        raise RuntimeError("the worker was not started by _start_worker")
    _is_working = True
    try:
        return run_steps(_worker_context, steps, name)
    except Terminated:
        os._exit(Terminated.exit_code)  # cleaned up; otherwise it would start the next tile of its queue
    finally:
        _is_working = False

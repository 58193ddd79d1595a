"""Progress reporting: a bar on a terminal, plain lines in a file, log events (JSON lines) in containers."""

import logging
import sys
import time
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from s2ops.errors import S2opsError
from s2ops.results import StepResult
from s2ops.telemetry.log_config import LogFormat

_LOG: Final = logging.getLogger(__name__)


class LogProgress:
    """Progress as log events with fields."""

    def start_stage(self, step: str, total: int, pending: int) -> None:
        """Log the start of a stage."""
        _LOG.info("stage", extra={"step": step, "total": total, "pending": pending})

    def report_result(self, result: StepResult) -> None:
        """Log the result of a step for one tile."""
        fields = {"step": result.step, "tile": result.tile, "status": result.status, "facts": dict(result.facts)}
        _LOG.info("tile", extra=fields)

    def report_failure(self, step: str, tile: str, error: S2opsError) -> None:
        """Log the failure of one tile."""
        _LOG.info("failed", extra={"step": step, "tile": tile, "error": str(error), "exit_code": error.exit_code})

    def close(self) -> None:
        """End the report; log events need no clean-up."""


class LineProgress:
    """Progress as plain lines with the elapsed time, for people and log files."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def _print_line(self, text: str) -> None:
        print(f"[{time.monotonic() - self._start:6.1f} s] {text}", file=sys.stderr, flush=True)

    def start_stage(self, step: str, total: int, pending: int) -> None:
        """Print the number of tiles that have work left."""
        self._print_line(f"{step}: {pending} of {total} to do" if pending else f"{step}: all {total} done before")

    def report_result(self, result: StepResult) -> None:
        """Print the result of a step for one tile."""
        facts = ", ".join(f"{name} {value}" for name, value in result.facts.items())
        self._print_line(f"{result.step} {result.tile}: {result.status}" + (f" ({facts})" if facts else ""))

    def report_failure(self, step: str, tile: str, error: S2opsError) -> None:
        """Print the failure of one tile."""
        self._print_line(f"{step} {tile}: failed: {error}")

    def close(self) -> None:
        """End the report; lines need no clean-up."""


class BarProgress:
    """Progress as one bar per stage."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
        )
        self._task: TaskID | None = None
        self._progress.start()

    def start_stage(self, step: str, total: int, pending: int) -> None:
        """Add a bar; tiles that were done before count at once."""
        self._task = self._progress.add_task(step, total=total, completed=total - pending, note="")

    def report_result(self, result: StepResult) -> None:
        """Advance the bar by one tile."""
        if self._task is not None:
            note = "empty" if result.status == "empty" else ""
            self._progress.update(self._task, advance=1, note=f"{result.tile} {note}")

    def report_failure(self, step: str, tile: str, error: S2opsError) -> None:
        """Print the failure of one tile above the bars."""
        self._progress.console.print(f"{step} {tile}: failed: {error}")

    def close(self) -> None:
        """Stop the display and leave the finished bars on the screen."""
        self._progress.stop()


def build_progress(log_format: LogFormat) -> LogProgress | LineProgress | BarProgress:
    """Build the progress report for a log format and the type of stderr (terminal or file)."""
    if log_format == "json":
        return LogProgress()
    return BarProgress() if sys.stderr.isatty() else LineProgress()

"""How a run shows its progress: a bar on a terminal, plain lines elsewhere, JSON lines in containers."""

import json
import sys
import time
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from s2ops.errors import S2opsError
from s2ops.results import StepResult

LogFormat = Literal["text", "json"]


class JsonLines:
    """One event a line, on stderr."""

    def _say(self, event: str, **fields: object) -> None:
        line = {"time": round(time.time(), 3), "event": event, **fields}
        print(json.dumps(line, sort_keys=True), file=sys.stderr, flush=True)

    def stage(self, step: str, total: int, pending: int) -> None:
        """A stage begins."""
        self._say("stage", step=step, total=total, pending=pending)

    def tile(self, result: StepResult) -> None:
        """One tile is through."""
        self._say("tile", step=result.step, tile=result.tile, status=result.status, facts=dict(result.facts))

    def failed(self, step: str, tile: str, error: S2opsError) -> None:
        """One tile failed."""
        self._say("failed", step=step, tile=tile, error=str(error), exit_code=error.exit_code)

    def close(self) -> None:
        """Nothing to take down."""


class PlainLines:
    """Lines for people and log files."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def _say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._start:6.1f} s] {text}", file=sys.stderr, flush=True)

    def stage(self, step: str, total: int, pending: int) -> None:
        """A stage begins."""
        self._say(f"{step}: {pending} of {total} to do" if pending else f"{step}: all {total} done before")

    def tile(self, result: StepResult) -> None:
        """One tile is through."""
        facts = ", ".join(f"{name} {value}" for name, value in result.facts.items())
        self._say(f"{result.step} {result.tile}: {result.status}" + (f" ({facts})" if facts else ""))

    def failed(self, step: str, tile: str, error: S2opsError) -> None:
        """One tile failed."""
        self._say(f"{step} {tile}: failed: {error}")

    def close(self) -> None:
        """Nothing to take down."""


class Bars:
    """One bar a stage."""

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

    def stage(self, step: str, total: int, pending: int) -> None:
        """A stage begins; what is done before counts at once."""
        self._task = self._progress.add_task(step, total=total, completed=total - pending, note="")

    def tile(self, result: StepResult) -> None:
        """One tile is through."""
        if self._task is not None:
            note = "empty" if result.status == "empty" else ""
            self._progress.update(self._task, advance=1, note=f"{result.tile} {note}")

    def failed(self, step: str, tile: str, error: S2opsError) -> None:
        """One tile failed."""
        self._progress.console.print(f"{step} {tile}: failed: {error}")

    def close(self) -> None:
        """Leave the finished bars on the screen."""
        self._progress.stop()


def reporter(log_format: LogFormat) -> JsonLines | PlainLines | Bars:
    """The right one for where stderr goes."""
    if log_format == "json":
        return JsonLines()
    return Bars() if sys.stderr.isatty() else PlainLines()

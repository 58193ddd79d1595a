"""Long-running programs of the cluster: each in a process group of its own, its id and start time remembered on disk.

The record on disk is what makes `down` work from another shell, and a start after a crash: what an earlier cluster left
running is found again by id and start time, so no process of anyone else's is ever ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}
"""What this process started, whichever `Processes` ends it: theirs is an exit status to take, and Python warns of a
Popen that is thrown away before."""


_SPARING = {"GOGC": "400"}
"""All are programs in Go: a quarter of the processor time for their memory, for more of it."""


class NotReadyError(RuntimeError):
    """A part of the cluster did not come up in time, or ended; the message holds the end of its log."""


class Processes:
    """The programs started under one work folder; logs in `logs/NAME.log`, the record in `processes.json`."""

    def __init__(self, work: Path) -> None:
        self.logs = work / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self._record = work / "processes.json"
        self._ids: dict[str, tuple[int, int]] = {}
        if self._record.exists():
            self._ids = {name: (pid, began) for name, (pid, began) in json.loads(self._record.read_text()).items()}

    def start(self, name: str, words: list[str | Path], environment: Mapping[str, str] | None = None) -> None:
        """Start a program, in place of one that runs under that name; its log goes on from there."""
        self.stop(name)
        with (self.logs / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                [str(word) for word in words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **_SPARING, **(environment or {})},
                start_new_session=True,
            )
        _CHILDREN[child.pid] = child
        self._ids[name] = (child.pid, _start_time(child.pid) or 0)
        self._save()

    def running(self, name: str) -> bool:
        """Whether the program of that name still runs."""
        pid, began = self._ids.get(name, (0, 0))
        return pid > 0 and _start_time(pid) == began

    def stop(self, name: str, patience_s: float = 15) -> None:
        """End a program and its group: ask, wait, and kill what is left."""
        pid, _ = self._ids.get(name, (0, 0))
        for signal_, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 5.0)):
            if not self.running(name):
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal_)
            end = time.monotonic() + wait_s
            while self.running(name) and time.monotonic() < end:
                time.sleep(0.05)
        if pid in _CHILDREN:
            with contextlib.suppress(subprocess.TimeoutExpired):
                _CHILDREN.pop(pid).wait(timeout=10)
        self._ids.pop(name, None)
        self._save()

    def stop_all(self) -> None:
        """End every program, the last started first."""
        for name in reversed(list(self._ids)):
            self.stop(name)

    def wait(self, name: str, ready: Callable[[], bool], limit_s: float) -> None:
        """Return once `ready` holds.

        Raises:
            NotReadyError: the program ended, or the time is over.
        """
        end = time.monotonic() + limit_s
        while not ready():
            why = "" if self.running(name) else "has ended"
            why = why or ("" if time.monotonic() < end else f"was not ready after {limit_s:.0f} s")
            if why:
                raise NotReadyError(f"{name} {why}; the end of {self.logs / name}.log:\n{self.tail(name)}")
            time.sleep(0.2)

    def tail(self, name: str, lines: int = 20) -> str:
        """The last lines of a program's log."""
        path = self.logs / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"

    def _save(self) -> None:
        self._record.write_text(json.dumps(self._ids))


def _start_time(pid: int) -> int | None:
    """When a process began, in clock ticks since boot: with the id, its name for good. None: gone, or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])

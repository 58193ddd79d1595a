"""Process manager of the cluster's long-running programs: one process group each, ids and start times stored on disk.

The record on disk allows `down` from another shell and a start after a crash. Programs of an earlier cluster are
identified by id and start time, so processes of other users are never stopped.
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
"""Children of this process, shared by all `Processes`: their exit status must be collected, because Python warns about
a Popen object that is deleted before."""


_GO_ENVIRONMENT = {"GOGC": "400"}
"""Settings of the Go runtime: garbage collection takes a quarter of the CPU time and needs more memory."""


class NotReadyError(RuntimeError):
    """A part of the cluster was not ready in time, or ended; the message contains the end of its log."""


class Processes:
    """Programs started below one work folder; logs are in `logs/NAME.log`, the record in `processes.json`."""

    def __init__(self, work: Path) -> None:
        self.logs = work / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self._record = work / "processes.json"
        self._ids: dict[str, tuple[int, int]] = {}
        if self._record.exists():
            self._ids = {name: (pid, began) for name, (pid, began) in json.loads(self._record.read_text()).items()}

    def start(self, name: str, words: list[str | Path], environment: Mapping[str, str] | None = None) -> None:
        """Start a program, after stopping one of the same name; its log is continued."""
        self.stop(name)
        with (self.logs / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                [str(word) for word in words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **_GO_ENVIRONMENT, **(environment or {})},
                start_new_session=True,
            )
        _CHILDREN[child.pid] = child
        self._ids[name] = (child.pid, _get_start_time(child.pid) or 0)
        self._save()

    def is_running(self, name: str) -> bool:
        """Return true if the program of that name still runs."""
        pid, began = self._ids.get(name, (0, 0))
        return pid > 0 and _get_start_time(pid) == began

    def stop(self, name: str, patience_s: float = 15) -> None:
        """Stop a program and its process group: SIGTERM, wait, then SIGKILL."""
        pid, _ = self._ids.get(name, (0, 0))
        for signal_, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 5.0)):
            if not self.is_running(name):
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal_)
            end = time.monotonic() + wait_s
            while self.is_running(name) and time.monotonic() < end:
                time.sleep(0.05)
        if pid in _CHILDREN:
            with contextlib.suppress(subprocess.TimeoutExpired):
                _CHILDREN.pop(pid).wait(timeout=10)
        self._ids.pop(name, None)
        self._save()

    def stop_all(self) -> None:
        """Stop every program, the last started first."""
        for name in reversed(list(self._ids)):
            self.stop(name)

    def wait(self, name: str, ready: Callable[[], bool], limit_s: float) -> None:
        """Wait until `ready` returns true.

        Raises:
            NotReadyError: If the program ended, or was not ready in time.
        """
        end = time.monotonic() + limit_s
        while not ready():
            reason = "" if self.is_running(name) else "has ended"
            reason = reason or ("" if time.monotonic() < end else f"was not ready after {limit_s:.0f} s")
            if reason:
                raise NotReadyError(f"{name} {reason}; the end of {self.logs / name}.log:\n{self.read_log_tail(name)}")
            time.sleep(0.2)

    def read_log_tail(self, name: str, lines: int = 20) -> str:
        """Read the last lines of a program's log."""
        path = self.logs / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"

    def _save(self) -> None:
        self._record.write_text(json.dumps(self._ids))


def _get_start_time(pid: int) -> int | None:
    """Return the start of a process in clock ticks since boot (unique together with the id); None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])

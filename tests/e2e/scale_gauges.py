"""What a run costs the control plane, looked at from outside every few seconds."""

from __future__ import annotations

import base64
import json
import os
import re
import threading
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .scale_plane import Plane

_EVERY_S = 3.0
_OBJECTS = "/registry/argoproj.io/"


@dataclass
class Peaks:
    """The most that was seen; MiB."""

    memory: dict[str, float] = field(default_factory=dict)
    """Program -> resident memory."""
    cpu_s: dict[str, float] = field(default_factory=dict)
    """Program -> processor time that it took until now."""
    etcd: float = 0.0
    etcd_in_use: float = 0.0
    workflow: float = 0.0
    """The largest workflow as etcd holds it."""
    workflow_name: str = ""
    compressed: int = 0
    """Most workflows at once whose nodes Argo had compressed because they were larger than 1 MiB."""
    objects: int = 0
    """Most objects of Argo at once: workflows, templates, task results."""


class Gauges:
    """Looks until `stop`."""

    def __init__(self, plane: Plane) -> None:
        self.peaks = Peaks()
        self._plane, self._stopped = plane, threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def stop(self) -> Peaks:
        """Look no more; gives what was seen."""
        self._stopped.set()
        self._thread.join(30)
        return self.peaks

    def _work(self) -> None:
        while not self._stopped.wait(_EVERY_S):
            self._processes()
            self._etcd()
            self._workflows()

    def _processes(self) -> None:
        record: dict[str, tuple[int, int]] = json.loads((self._plane.places.work / "processes.json").read_text())
        for name, (pid, began) in record.items():
            try:
                status = Path(f"/proc/{pid}/status").read_text()
                times = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue  # being started anew
            found = re.search(r"VmHWM:\s+(\d+)", status)
            if found:
                self.peaks.memory[name] = max(self.peaks.memory.get(name, 0.0), int(found[1]) / 1024)
            taken = (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
            self.peaks.cpu_s[f"{name} {began}"] = taken

    def _etcd(self) -> None:
        with urllib.request.urlopen(f"{self._plane.places.addresses.etcd_url}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        for field_, name in (
            ("etcd", "etcd_mvcc_db_total_size_in_bytes"),
            ("etcd_in_use", "etcd_mvcc_db_total_size_in_use_in_bytes"),
        ):
            found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
            if found:
                setattr(self.peaks, field_, max(getattr(self.peaks, field_), float(found[1]) / 2**20))

    def _workflows(self) -> None:
        """Every workflow in etcd's own bytes; the objects of custom resources are JSON there."""
        compressed = 0
        for key, value in self._range(f"{_OBJECTS}workflows/"):
            size = len(value) / 2**20
            compressed += b'"compressedNodes"' in value
            if size > self.peaks.workflow:
                self.peaks.workflow, self.peaks.workflow_name = size, key.rsplit("/", 1)[1]
        self.peaks.compressed = max(self.peaks.compressed, compressed)
        self.peaks.objects = max(self.peaks.objects, self._count(_OBJECTS))

    def _range(self, prefix: str) -> list[tuple[str, bytes]]:
        found = self._ask({**_between(prefix), "limit": "500"})
        return [(base64.b64decode(one["key"]).decode(), base64.b64decode(one["value"])) for one in found.get("kvs", [])]

    def _count(self, prefix: str) -> int:
        return int(self._ask({**_between(prefix), "count_only": True}).get("count", 0))

    def _ask(self, query: dict[str, Any]) -> dict[str, Any]:
        url = f"{self._plane.places.addresses.etcd_url}/v3/kv/range"
        with urllib.request.urlopen(url, json.dumps(query).encode(), timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def cpu_s(self, program: str) -> float:
        """Processor time of a program, over its restarts."""
        return sum(taken for name, taken in self.peaks.cpu_s.items() if name.startswith(f"{program} "))


def _between(prefix: str) -> dict[str, str]:
    """All keys that begin so."""
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    return {"key": base64.b64encode(prefix.encode()).decode(), "range_end": base64.b64encode(end.encode()).decode()}

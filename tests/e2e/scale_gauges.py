"""Monitor of the control plane's load during a run: memory, CPU time, sizes of etcd and of workflows."""

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

from .scale_plane import ControlPlane

_INTERVAL_S = 3.0
_ARGO_PREFIX = "/registry/argoproj.io/"


@dataclass
class Peaks:
    """Maximum values, in MiB unless stated otherwise."""

    memory: dict[str, float] = field(default_factory=dict)
    """Resident memory by program."""
    cpu_s: dict[str, float] = field(default_factory=dict)
    """CPU time so far, by program and start."""
    etcd: float = 0.0
    etcd_in_use: float = 0.0
    workflow: float = 0.0
    """Size of the largest workflow as stored in etcd."""
    workflow_name: str = ""
    compressed: int = 0
    """Maximum number of workflows whose nodes Argo had compressed because they were larger than 1 MiB."""
    objects: int = 0
    """Maximum number of Argo objects: workflows, templates, task results."""


class ControlPlaneMonitor:
    """Takes samples in a thread until `stop`."""

    def __init__(self, plane: ControlPlane) -> None:
        self.peaks = Peaks()
        self._plane, self._stopped = plane, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> Peaks:
        """Stop the monitor; return the maximum values."""
        self._stopped.set()
        self._thread.join(30)
        return self.peaks

    def _run(self) -> None:
        while not self._stopped.wait(_INTERVAL_S):
            self._read_processes()
            self._read_etcd_size()
            self._read_workflows()

    def _read_processes(self) -> None:
        record: dict[str, tuple[int, int]] = json.loads((self._plane.layout.work / "processes.json").read_text())
        for name, (pid, began) in record.items():
            try:
                status = Path(f"/proc/{pid}/status").read_text()
                times = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue  # being restarted
            found = re.search(r"VmHWM:\s+(\d+)", status)
            if found:
                self.peaks.memory[name] = max(self.peaks.memory.get(name, 0.0), int(found[1]) / 1024)
            taken = (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
            self.peaks.cpu_s[f"{name} {began}"] = taken

    def _read_etcd_size(self) -> None:
        with urllib.request.urlopen(f"{self._plane.layout.addresses.etcd_url}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        for field_, name in (
            ("etcd", "etcd_mvcc_db_total_size_in_bytes"),
            ("etcd_in_use", "etcd_mvcc_db_total_size_in_use_in_bytes"),
        ):
            found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
            if found:
                setattr(self.peaks, field_, max(getattr(self.peaks, field_), float(found[1]) / 2**20))

    def _read_workflows(self) -> None:
        """Read every workflow as stored in etcd, where objects of custom resources are JSON."""
        compressed = 0
        for key, value in self._get_range(f"{_ARGO_PREFIX}workflows/"):
            size = len(value) / 2**20
            compressed += b'"compressedNodes"' in value
            if size > self.peaks.workflow:
                self.peaks.workflow, self.peaks.workflow_name = size, key.rsplit("/", 1)[1]
        self.peaks.compressed = max(self.peaks.compressed, compressed)
        self.peaks.objects = max(self.peaks.objects, self._count_keys(_ARGO_PREFIX))

    def _get_range(self, prefix: str) -> list[tuple[str, bytes]]:
        found = self._query({**_build_prefix_range(prefix), "limit": "500"})
        return [(base64.b64decode(one["key"]).decode(), base64.b64decode(one["value"])) for one in found.get("kvs", [])]

    def _count_keys(self, prefix: str) -> int:
        return int(self._query({**_build_prefix_range(prefix), "count_only": True}).get("count", 0))

    def _query(self, query: dict[str, Any]) -> dict[str, Any]:
        url = f"{self._plane.layout.addresses.etcd_url}/v3/kv/range"
        with urllib.request.urlopen(url, json.dumps(query).encode(), timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def sum_cpu_s(self, program: str) -> float:
        """Sum the CPU time of a program over its restarts."""
        return sum(taken for name, taken in self.peaks.cpu_s.items() if name.startswith(f"{program} "))


def _build_prefix_range(prefix: str) -> dict[str, str]:
    """Build the etcd range of all keys that begin with `prefix`."""
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    return {"key": base64.b64encode(prefix.encode()).decode(), "range_end": base64.b64encode(end.encode()).decode()}

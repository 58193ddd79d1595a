"""Simulated Argo executor: makes the API requests of the containers of all pods, and ends the pods.

The requests are those of Argo 3.7's executor, one by one:
- Every pod creates a WorkflowTaskResult when it starts, and completes it with its outputs when it ends.
- A pod that waits for a child workflow applies the manifest that the controller put into the pod; it ends with the
  child.
- `s2ops group` returns the children of a stage, `s2ops stage` numbers of tiles.
"""

from __future__ import annotations

import heapq
import itertools
import json
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import yaml

from .scale_api import PODS, RESULTS, WORKFLOWS, ApiClient
from .scale_simulated import EXIT_CODE_ANNOTATION

Json = dict[str, Any]
OutputParameters = Callable[[Json], dict[str, str]]
"""Returns the output parameters of a pod from its metadata."""

_THREADS = 12
_CHILD_POLL_S = 5.0
"""Interval at which argoexec polls a child workflow."""

RETRY_EXIT_CODE = "75"


@dataclass
class PodLog:
    """Start and end of each pod, in seconds of time.monotonic()."""

    began: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    lost: int = 0
    """Number of pods that must be started again."""
    newest: str = ""
    """Latest creation time of a running pod, in the API server's format."""


class SimulatedExecutor:
    """Simulates all containers until `stop`."""

    def __init__(self, api: ApiClient, compute_outputs: OutputParameters, seconds: float, lost: float = 0.0) -> None:
        """Start to simulate.

        Args:
            api: Client of the API server.
            compute_outputs: Returns the output parameters of a pod.
            seconds: Working time of a container.
            lost: Fraction of the pods whose first container ends with exit code 75.
        """
        self.log = PodLog()
        self._api, self._compute_outputs, self._seconds, self._lost = api, compute_outputs, seconds, lost
        self._pool = ThreadPoolExecutor(_THREADS, "executor")
        self._due: list[tuple[float, int, Json]] = []
        self._waiting: dict[str, Json] = {}
        self._seen: set[str] = set()
        self._order = itertools.count()
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._error: BaseException | None = None
        for target in (self._watch, self._end_due_pods, self._follow_children):
            threading.Thread(target=self._run_guarded, args=(target,), daemon=True).start()

    def check(self) -> None:
        """Raise the error of a thread, if there was one."""
        if self._error is not None:
            raise RuntimeError("the simulated executor failed") from self._error

    def stop(self) -> None:
        """Stop the simulation."""
        self._stopped.set()
        self._pool.shutdown(cancel_futures=True)

    def _run_guarded(self, work: Callable[..., None], *words: Json) -> None:
        try:
            work(*words)
        except BaseException as error:  # raised by check() in the main thread
            if not self._stopped.is_set():
                self._error = error

    def _submit(self, work: Callable[[Json], None], pod: Json) -> None:
        self._pool.submit(self._run_guarded, work, pod)

    def _watch(self) -> None:
        """Start the simulation of every pod once, when it is running."""
        selectors = {"labelSelector": "workflows.argoproj.io/workflow", "fieldSelector": "status.phase=Running"}
        for kind, pod in self._api.watch(PODS, **selectors):
            if self._stopped.is_set():
                return
            uid = pod["metadata"]["uid"]
            if kind != "DELETED" and uid not in self._seen:
                self._seen.add(uid)
                self.log.began.append(time.monotonic())
                self.log.newest = max(self.log.newest, str(pod["metadata"]["creationTimestamp"]))
                self._submit(self._start_pod, pod)

    def _start_pod(self, pod: Json) -> None:
        about = pod["metadata"]
        owner = next(one for one in about["ownerReferences"] if one["kind"] == "Workflow")
        self._api.post(RESULTS, _build_task_result(about, owner))
        if about["labels"]["app.kubernetes.io/component"] == "child":
            manifest = self._read_manifest(about["name"])
            name = str(manifest["metadata"]["name"])
            self._api.apply(f"{WORKFLOWS}/{name}", json.dumps(manifest))
            with self._lock:
                self._waiting[name] = pod
        else:
            with self._lock:
                heapq.heappush(self._due, (time.monotonic() + self._seconds, next(self._order), pod))

    def _read_manifest(self, pod: str) -> Json:
        """Read the child workflow that the controller wrote into the pod that creates it."""
        spec = self._api.get(f"{PODS}/{pod}")["spec"]
        containers = [*spec.get("initContainers", []), *spec["containers"]]
        given = {one["name"]: one.get("value", "") for each in containers for one in each.get("env", [])}
        found: Json = yaml.safe_load(json.loads(given["ARGO_TEMPLATE"])["resource"]["manifest"])
        return found

    def _end_due_pods(self) -> None:
        while not self._stopped.wait(0.05):
            now, due = time.monotonic(), []
            with self._lock:
                while self._due and self._due[0][0] <= now:
                    due.append(heapq.heappop(self._due)[2])
            for pod in due:
                self._submit(self._end_pod, pod)

    def _follow_children(self) -> None:
        while not self._stopped.wait(_CHILD_POLL_S):
            done = "workflows.argoproj.io/completed=true,s2ops/run"
            for child in self._api.list_metadata(WORKFLOWS, labelSelector=done):
                phase, name = child["metadata"]["labels"]["workflows.argoproj.io/phase"], child["metadata"]["name"]
                with self._lock:
                    pod = self._waiting.pop(name, None)
                if pod is None:
                    continue
                if phase != "Succeeded":
                    raise RuntimeError(f"child workflow {name} ended as {phase}")
                self._submit(self._end_pod, pod)

    def _end_pod(self, pod: Json) -> None:
        about = pod["metadata"]
        node = about["annotations"]["workflows.argoproj.io/node-id"]
        code = RETRY_EXIT_CODE if self._is_lost(about) else "0"
        outputs = (
            [{"name": name, "value": value} for name, value in self._compute_outputs(about).items()]
            if code == "0"
            else []
        )
        closed: Json = {"metadata": {"labels": {"workflows.argoproj.io/report-outputs-completed": "true"}}}
        self._api.merge(f"{RESULTS}/{node}", {**closed, "outputs": {"parameters": outputs}} if outputs else closed)
        self._api.merge(f"{PODS}/{about['name']}", {"metadata": {"annotations": {EXIT_CODE_ANNOTATION: code}}})
        with self._lock:
            self.log.ended.append(time.monotonic())
            self.log.lost += code != "0"

    def _is_lost(self, about: Json) -> bool:
        """Return true for a fraction of the first attempts, chosen by name; later attempts never fail."""
        first = str(about["annotations"]["workflows.argoproj.io/node-name"]).endswith("(0)")
        step = about["labels"]["app.kubernetes.io/component"] == "step"
        return step and first and zlib.crc32(about["name"].encode()) % 1000 < self._lost * 1000


def _build_task_result(about: Json, owner: Json) -> Json:
    """Build a WorkflowTaskResult as argoexec creates it when it starts."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "WorkflowTaskResult",
        "metadata": {
            "name": about["annotations"]["workflows.argoproj.io/node-id"],
            "labels": {
                "workflows.argoproj.io/workflow": owner["name"],
                "workflows.argoproj.io/report-outputs-completed": "false",
            },
            "ownerReferences": [{key: owner[key] for key in ("apiVersion", "kind", "name", "uid")}],
        },
    }

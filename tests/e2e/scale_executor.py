"""Stands in for the containers of all pods: tells the API server what argoexec would, and says when a pod has ended.

A container that cannot run leaves these to be played, call for call as Argo 3.7's executor makes them:
- every pod makes a WorkflowTaskResult when it starts, and closes it with its outputs at its end;
- the pod that waits for a child workflow applies the manifest that the controller put into it, and ends with the child;
- `s2ops group` answers with the children of a stage, `s2ops stage` with numbers of tiles.
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

from .scale_api import PODS, RESULTS, WORKFLOWS, Api
from .scale_simulated import ENDED

Json = dict[str, Any]
Answers = Callable[[Json], dict[str, str]]
"""Metadata of a pod -> its output parameters."""

_THREADS = 12
_POLL_S = 5.0
"""How often argoexec looks at a child workflow."""

TRY_AGAIN = "75"


@dataclass
class Log:
    """When each pod came to run, and when it ended; seconds of time.monotonic()."""

    began: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    lost: int = 0
    """How many of them have to be started again."""
    newest: str = ""
    """Creation time of the youngest pod seen running, as the API server writes it."""


class Executor:
    """Plays all containers until `stop`."""

    def __init__(self, api: Api, answers: Answers, seconds: float, lost: float = 0.0) -> None:
        """`seconds`: how long a container works. `lost`: part of the pods whose first container ends with exit 75."""
        self.log = Log()
        self._api, self._answers, self._seconds, self._lost = api, answers, seconds, lost
        self._pool = ThreadPoolExecutor(_THREADS, "executor")
        self._due: list[tuple[float, int, Json]] = []
        self._waiting: dict[str, Json] = {}
        self._seen: set[str] = set()
        self._order = itertools.count()
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._error: BaseException | None = None
        for target in (self._watch, self._end_those_due, self._follow_children):
            threading.Thread(target=self._guarded, args=(target,), daemon=True).start()

    def check(self) -> None:
        """Raise what went wrong in a thread, if anything did."""
        if self._error is not None:
            raise RuntimeError("the simulated executor failed") from self._error

    def stop(self) -> None:
        """Play no more."""
        self._stopped.set()
        self._pool.shutdown(cancel_futures=True)

    def _guarded(self, work: Callable[..., None], *words: Json) -> None:
        try:
            work(*words)
        except BaseException as error:  # told by check() in the main thread
            if not self._stopped.is_set():
                self._error = error

    def _submit(self, work: Callable[[Json], None], pod: Json) -> None:
        self._pool.submit(self._guarded, work, pod)

    def _watch(self) -> None:
        """Every pod that comes to run, once."""
        of_argo = {"labelSelector": "workflows.argoproj.io/workflow", "fieldSelector": "status.phase=Running"}
        for kind, pod in self._api.watch(PODS, **of_argo):
            if self._stopped.is_set():
                return
            uid = pod["metadata"]["uid"]
            if kind != "DELETED" and uid not in self._seen:
                self._seen.add(uid)
                self.log.began.append(time.monotonic())
                self.log.newest = max(self.log.newest, str(pod["metadata"]["creationTimestamp"]))
                self._submit(self._begin, pod)

    def _begin(self, pod: Json) -> None:
        about = pod["metadata"]
        owner = next(one for one in about["ownerReferences"] if one["kind"] == "Workflow")
        self._api.post(RESULTS, _result(about, owner))
        if about["labels"]["app.kubernetes.io/component"] == "child":
            manifest = self._manifest(about["name"])
            name = str(manifest["metadata"]["name"])
            self._api.apply(f"{WORKFLOWS}/{name}", json.dumps(manifest))
            with self._lock:
                self._waiting[name] = pod
        else:
            with self._lock:
                heapq.heappush(self._due, (time.monotonic() + self._seconds, next(self._order), pod))

    def _manifest(self, pod: str) -> Json:
        """The child workflow that the controller wrote into the pod that shall make it."""
        spec = self._api.get(f"{PODS}/{pod}")["spec"]
        containers = [*spec.get("initContainers", []), *spec["containers"]]
        given = {one["name"]: one.get("value", "") for each in containers for one in each.get("env", [])}
        found: Json = yaml.safe_load(json.loads(given["ARGO_TEMPLATE"])["resource"]["manifest"])
        return found

    def _end_those_due(self) -> None:
        while not self._stopped.wait(0.05):
            now, due = time.monotonic(), []
            with self._lock:
                while self._due and self._due[0][0] <= now:
                    due.append(heapq.heappop(self._due)[2])
            for pod in due:
                self._submit(self._end, pod)

    def _follow_children(self) -> None:
        while not self._stopped.wait(_POLL_S):
            done = "workflows.argoproj.io/completed=true,s2ops/run"
            for child in self._api.metadata(WORKFLOWS, labelSelector=done):
                phase, name = child["metadata"]["labels"]["workflows.argoproj.io/phase"], child["metadata"]["name"]
                with self._lock:
                    pod = self._waiting.pop(name, None)
                if pod is None:
                    continue
                if phase != "Succeeded":
                    raise RuntimeError(f"child workflow {name} ended as {phase}")
                self._submit(self._end, pod)

    def _end(self, pod: Json) -> None:
        about = pod["metadata"]
        node = about["annotations"]["workflows.argoproj.io/node-id"]
        code = TRY_AGAIN if self._is_lost(about) else "0"
        outputs = (
            [{"name": name, "value": value} for name, value in self._answers(about).items()] if code == "0" else []
        )
        closed: Json = {"metadata": {"labels": {"workflows.argoproj.io/report-outputs-completed": "true"}}}
        self._api.merge(f"{RESULTS}/{node}", {**closed, "outputs": {"parameters": outputs}} if outputs else closed)
        self._api.merge(f"{PODS}/{about['name']}", {"metadata": {"annotations": {ENDED: code}}})
        with self._lock:
            self.log.ended.append(time.monotonic())
            self.log.lost += code != "0"

    def _is_lost(self, about: Json) -> bool:
        """First attempts only, so that no pod runs out of retries; which ones follows from their names."""
        first = str(about["annotations"]["workflows.argoproj.io/node-name"]).endswith("(0)")
        step = about["labels"]["app.kubernetes.io/component"] == "step"
        return step and first and zlib.crc32(about["name"].encode()) % 1000 < self._lost * 1000


def _result(about: Json, owner: Json) -> Json:
    """A WorkflowTaskResult as argoexec makes it at its start."""
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

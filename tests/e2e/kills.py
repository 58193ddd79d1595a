"""Fault injection: kill the process of a step during its work, as the kernel or a lost node would."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from kubernetes.client import ApiException

from .kubectl import Kubectl

STAGES = ("scenes", "blend", "landcover")

_START_LIMIT_S = 120
"""Maximum time in seconds that a pod may take to start."""

_MIN_CPU_TICKS = 40
"""CPU time in hundredths of a second after which Python has started and a step of one second is half done."""

_SCRIPT = """
import os, sys, time, urllib.request
shown, ticks = sys.argv[1], int(sys.argv[2])
def steps():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = open(f"/proc/{pid}/cmdline", "rb").read().split(bytes(1))
            spent = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if words[0].startswith(b"/opt/s2ops/bin/python") and words[1:2] == [b"/opt/s2ops/bin/s2ops"]:
            if int(spent[11]) + int(spent[12]) >= ticks and (not shown or shown in metrics()):
                yield int(pid)
def metrics():
    try:
        return urllib.request.urlopen("http://127.0.0.1:9090/metrics", timeout=2).read().decode()
    except OSError:
        return ""
end = time.monotonic() + 20
while time.monotonic() < end:
    for pid in steps():
        os.kill(pid, 9)
        print("killed", flush=True)
        sys.exit()
    time.sleep(0.03)
"""
"""Script that runs in the pod beside the step, because a step may end before the API server shows it as running."""


@dataclass(frozen=True, slots=True)
class KillMoment:
    """Moment at which a step is killed: the stage of its pod, and a metric that the pod exports by then."""

    stage: str
    metric: str = ""

    @property
    def command(self) -> list[str]:
        """Command that kills the step, to be run in its pod."""
        return ["/opt/s2ops/bin/python", "-ISc", _SCRIPT, self.metric, "0" if self.metric else str(_MIN_CPU_TICKS)]


def list_moments() -> dict[str, KillMoment]:
    """List the moments of all steps of a run of one tile, by step."""
    begun = {stage: KillMoment(stage, f's2ops_stage_tiles{{step="{stage}"}}') for stage in STAGES}
    done = 's2ops_tiles_total{{status="done",step="{}"}}'
    return {
        "plan": KillMoment("plan"),
        "group": KillMoment("group"),
        "select": begun["scenes"],
        "acquire": KillMoment("scenes", done.format("select")),
        "composite": KillMoment("scenes", done.format("acquire")),
        "balance": KillMoment("balance"),
        "blend": begun["blend"],
        "landcover": begun["landcover"],
        "publish": KillMoment("publish"),
    }


@dataclass(slots=True)
class StepKiller:
    """Callback that kills each pending step of a run once; it is called repeatedly during the run."""

    kubectl: Kubectl
    run: str
    pending: dict[str, KillMoment]
    """Steps that are still to be killed."""
    killed: Counter[str] = field(default_factory=Counter)
    """Number of killed steps by stage."""
    _attempts: dict[str, threading.Thread] = field(default_factory=dict)
    _under_way: set[str] = field(default_factory=set)

    def __call__(self) -> None:
        """Start an attempt for every pending step that has a pod.

        There is only one attempt at a time per step; otherwise two pods of a step could both be killed.
        """
        for pod in self._list_pods():
            name, stage = pod["metadata"]["name"], pod["metadata"]["labels"]["s2ops/step"]
            step = next((step for step, moment in dict(self.pending).items() if moment.stage == stage), "")
            if step and name not in self._attempts and step not in self._under_way:
                self._under_way.add(step)
                words = (name, step, self.pending[step])
                self._attempts[name] = threading.Thread(target=self._try_kill, args=words, daemon=True)
                self._attempts[name].start()

    def _try_kill(self, pod: str, step: str, moment: KillMoment) -> None:
        """Wait for the container and kill its step; if the pod ends first, the step's next pod gets an attempt."""
        end = time.monotonic() + _START_LIMIT_S
        try:
            while time.monotonic() < end and (state := self._get_state(pod)) != "ended":
                if state == "running":
                    done = self.kubectl.run("exec", pod, "--container", "main", "--", *moment.command, check=False)
                    if "killed" in done.stdout:
                        self.killed[moment.stage] += 1
                        del self.pending[step]
                        return
                time.sleep(0.1)
        finally:
            self._under_way.discard(step)

    def _get_state(self, pod: str) -> str:
        """Return the state of the step's container: `waiting`, `running` or `ended`."""
        try:
            status = self.kubectl.get("pods", pod)["status"]
        except ApiException:
            return "ended"
        states = [one["state"] for one in status.get("containerStatuses", []) if one["name"] == "main"]
        ended = status["phase"] in {"Succeeded", "Failed"} or any("terminated" in state for state in states)
        return "ended" if ended else "running" if any("running" in state for state in states) else "waiting"

    def _list_pods(self) -> Iterable[dict[str, Any]]:
        for pod in self.kubectl.list_metadata("pods", selector="workflows.argoproj.io/completed=false,s2ops/step"):
            labels = pod["metadata"]["labels"]
            workflow = str(labels["workflows.argoproj.io/workflow"])
            is_waiting = labels.get("app.kubernetes.io/component") == "child"
            if (workflow == self.run or workflow.startswith(f"{self.run}-")) and not is_waiting:
                yield pod


def combine_callbacks(*callbacks: Callable[[], object]) -> Callable[[], None]:
    """Combine callbacks into one that calls all of them in turn."""

    def call_all() -> None:
        for callback in callbacks:
            callback()

    return call_all

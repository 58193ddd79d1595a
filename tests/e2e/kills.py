"""Kills the process of a step in the middle of its work, as the kernel or a lost node would."""

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

_PATIENCE_S = 120
"""How long a pod may take to start."""

_BEGUN_TICKS = 40
"""Hundredths of a processor's second after which a step of a second is in the middle: Python has started."""

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
"""Runs in the pod beside the step, from its first moment on: a step may be over before the API server knows of it."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a step is in its middle: what its pod is called, and the metric that the pod shows by then."""

    stage: str
    shown: str = ""

    @property
    def command(self) -> list[str]:
        """What the pod runs to kill the step."""
        return ["/opt/s2ops/bin/python", "-ISc", _SCRIPT, self.shown, "0" if self.shown else str(_BEGUN_TICKS)]


def every_step() -> dict[str, Moment]:
    """The moments of all steps of a run of one tile."""
    begun = {stage: Moment(stage, f's2ops_stage_tiles{{step="{stage}"}}') for stage in STAGES}
    done = 's2ops_tiles_total{{status="done",step="{}"}}'
    return {
        "plan": Moment("plan"),
        "group": Moment("group"),
        "select": begun["scenes"],
        "acquire": Moment("scenes", done.format("select")),
        "composite": Moment("scenes", done.format("acquire")),
        "balance": Moment("balance"),
        "blend": begun["blend"],
        "landcover": begun["landcover"],
        "publish": Moment("publish"),
    }


@dataclass(slots=True)
class Killer:
    """Called again and again while a run goes on, kills each of the wanted steps once; `killed` counts by stage."""

    kubectl: Kubectl
    run: str
    wanted: dict[str, Moment]
    killed: Counter[str] = field(default_factory=Counter)
    _attempts: dict[str, threading.Thread] = field(default_factory=dict)
    _under_way: set[str] = field(default_factory=set)

    def __call__(self) -> None:
        """Begin an attempt for every wanted step whose pod is there, unless one is under way.

        One at a time for each step: of two pods at once, both would be killed.
        """
        for pod in self._pods():
            name, stage = pod["metadata"]["name"], pod["metadata"]["labels"]["s2ops/step"]
            step = next((step for step, moment in dict(self.wanted).items() if moment.stage == stage), "")
            if step and name not in self._attempts and step not in self._under_way:
                self._under_way.add(step)
                words = (name, step, self.wanted[step])
                self._attempts[name] = threading.Thread(target=self._attempt, args=words, daemon=True)
                self._attempts[name].start()

    def _attempt(self, pod: str, step: str, moment: Moment) -> None:
        """Wait for the container and kill its step in the middle; a pod that ends before is left to the next."""
        end = time.monotonic() + _PATIENCE_S
        try:
            while time.monotonic() < end and (state := self._state(pod)) != "ended":
                if state == "running":
                    done = self.kubectl.run("exec", pod, "--container", "main", "--", *moment.command, check=False)
                    if "killed" in done.stdout:
                        self.killed[moment.stage] += 1
                        del self.wanted[step]
                        return
                time.sleep(0.1)
        finally:
            self._under_way.discard(step)

    def _state(self, pod: str) -> str:
        """Whether the step's container runs: `waiting`, `running` or `ended`."""
        try:
            status = self.kubectl.get("pods", pod)["status"]
        except ApiException:
            return "ended"
        states = [one["state"] for one in status.get("containerStatuses", []) if one["name"] == "main"]
        ended = status["phase"] in {"Succeeded", "Failed"} or any("terminated" in state for state in states)
        return "ended" if ended else "running" if any("running" in state for state in states) else "waiting"

    def _pods(self) -> Iterable[dict[str, Any]]:
        for pod in self.kubectl.names("pods", selector="workflows.argoproj.io/completed=false,s2ops/step"):
            labels = pod["metadata"]["labels"]
            of_run = str(labels["workflows.argoproj.io/workflow"])
            waits = labels.get("app.kubernetes.io/component") == "child"
            if (of_run == self.run or of_run.startswith(f"{self.run}-")) and not waits:
                yield pod


def both(*of_runs: Callable[[], object]) -> Callable[[], None]:
    """All of them, one after the other."""

    def tick() -> None:
        for one in of_runs:
            one()

    return tick

"""Kills the process of a step in the middle of its work, as the kernel or a lost node would."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from .kubectl import Kubectl
from .regions import keys

STAGES = ("scenes", "blend", "landcover")

_PATIENCE_S = 120
"""How long a pod may take to start."""

_BEGUN_TICKS = 70
"""Hundredths of a processor's second after which a step of a second or two is in the middle: Python has started."""

_SCRIPT = """
n=0
while [ $n -lt 400 ]; do
  for process in /proc/[0-9]*; do
    case "$(tr '\\0' ' ' < $process/cmdline 2> /dev/null)" in
    /opt/s2ops/bin/python*' /opt/s2ops/bin/s2ops '*)
      read -r line < $process/stat && set -- $line && [ $((${14} + ${15})) -ge TICKS ] \
        && kill -9 ${process#/proc/} && echo killed && exit ;;
    esac
  done
  sleep 0.05; n=$((n + 1))
done
"""
"""Runs in the pod beside the step, from its first moment on: a step may be over before the API server knows of it."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a step is in its middle: what its pod is called, and which key says that the one before it is through."""

    stage: str
    key: str = ""
    ticks: int = _BEGUN_TICKS


def every_step(tile: str) -> dict[str, Moment]:
    """The moments of all steps of a run of one tile."""
    return {
        "plan": Moment("plan"),
        "group": Moment("group"),
        "select": Moment("scenes"),
        "acquire": Moment("scenes", f"select/{tile}.json"),
        "composite": Moment("scenes", f"scenes/{tile}/acquired.json"),
        "balance": Moment("balance"),
        "blend": Moment("blend"),
        "landcover": Moment("landcover"),
        "publish": Moment("publish"),
    }


@dataclass(slots=True)
class Killer:
    """Called again and again while a run goes on, kills each of the wanted steps once; `killed` counts by stage."""

    kubectl: Kubectl
    run: str
    out: str
    wanted: dict[str, Moment]
    killed: Counter[str] = field(default_factory=Counter)
    _attempts: dict[str, threading.Thread] = field(default_factory=dict)
    _under_way: set[str] = field(default_factory=set)

    def __call__(self) -> None:
        """Begin an attempt for every wanted step whose pod is there, unless one is under way.

        One at a time for each step: of two pods at once, both would be killed.
        """
        there: set[str] = set()
        for pod in self._pods():
            name, stage = pod["metadata"]["name"], pod["metadata"]["labels"]["s2ops/step"]
            due = {step: moment for step, moment in dict(self.wanted).items() if moment.stage == stage}
            if any(moment.key for moment in due.values()):
                there = there or set(keys(self.out))
            # The last whose time has come: where its key is there, the steps before it are over.
            steps = [step for step, moment in due.items() if not moment.key or moment.key in there]
            if steps and name not in self._attempts and steps[-1] not in self._under_way:
                self._under_way.add(steps[-1])
                words = (name, steps[-1], due[steps[-1]])
                self._attempts[name] = threading.Thread(target=self._attempt, args=words, daemon=True)
                self._attempts[name].start()

    def wait(self) -> None:
        """Return once no attempt is under way."""
        for thread in self._attempts.values():
            thread.join(timeout=60)

    def _attempt(self, pod: str, step: str, moment: Moment) -> None:
        """Try until the container is there and its step in the middle; a pod that ends before is left to the next."""
        words = ["exec", pod, "--container", "main", "--", "sh", "-c", _SCRIPT.replace("TICKS", str(moment.ticks))]
        end = time.monotonic() + _PATIENCE_S
        try:
            while time.monotonic() < end:
                done = self.kubectl.run(*words, check=False, limit_s=90)
                if "killed" in done.stdout:
                    self.killed[moment.stage] += 1
                    del self.wanted[step]
                if "killed" in done.stdout or "completed pod" in done.stderr or "NotFound" in done.stderr:
                    return
                time.sleep(0.1)
        finally:
            self._under_way.discard(step)

    def _pods(self) -> Iterable[dict[str, Any]]:
        found = self.kubectl.get("pods", "--selector", "workflows.argoproj.io/completed=false,s2ops/step")
        for pod in found:
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

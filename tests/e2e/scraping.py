"""Looks at metrics as Prometheus does."""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass

from .deployment import forwarded
from .runs import Run


def scrape(address: str) -> str:
    """What HOST:PORT shows."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


@dataclass(slots=True)
class Scrape:
    """Called again and again while a run goes on, until a pod of its first stage has shown that it has selected."""

    run: Run
    found: str = ""

    def __call__(self) -> None:
        """Look at each pod of the run that is at the stage."""
        if 's2ops_tiles_total{status="done",step="select"}' in self.found:
            return
        labels = "s2ops/step=scenes,app.kubernetes.io/component=step"
        for pod in self.run.kubectl.get("pods", selector=labels, fields="status.phase=Running"):
            if not pod["metadata"]["labels"]["workflows.argoproj.io/workflow"].startswith(self.run.name):
                continue
            try:
                with forwarded(self.run.kubectl, f"pod/{pod['metadata']['name']}", 9090) as address:
                    self.found = scrape(address)
            except (OSError, urllib.error.URLError, TimeoutError):
                continue  # not listening yet, or gone: the next look may be in time


def value(text: str, line: str) -> float:
    """The value of the first line that begins so; 0 where there is none."""
    return next((float(one.rsplit(" ", 1)[1]) for one in text.splitlines() if one.startswith(line)), 0.0)

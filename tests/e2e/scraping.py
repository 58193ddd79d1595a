"""Scraping of Prometheus metrics from pods."""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass

from .deployment import forward_port
from .runs import Run


def fetch_metrics(address: str) -> str:
    """Fetch the metrics of HOST:PORT."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


@dataclass(slots=True)
class SelectionScrape:
    """Callback during a run that scrapes pods of the first stage until one reports a finished select step."""

    run: Run
    found: str = ""

    def __call__(self) -> None:
        """Scrape each running pod of the stage."""
        if 's2ops_tiles_total{status="done",step="select"}' in self.found:
            return
        labels = "s2ops/step=scenes,app.kubernetes.io/component=step"
        for pod in self.run.kubectl.get("pods", selector=labels, fields="status.phase=Running"):
            if not pod["metadata"]["labels"]["workflows.argoproj.io/workflow"].startswith(self.run.name):
                continue
            try:
                with forward_port(self.run.kubectl, f"pod/{pod['metadata']['name']}", 9090) as address:
                    self.found = fetch_metrics(address)
            except (OSError, urllib.error.URLError, TimeoutError):
                continue  # not listening yet, or gone: the next call may be in time


def parse_value(text: str, line: str) -> float:
    """Return the value of the first line that begins with `line`; 0 if there is none."""
    return next((float(one.rsplit(" ", 1)[1]) for one in text.splitlines() if one.startswith(line)), 0.0)

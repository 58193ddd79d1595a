"""The Grafana dashboards of s2ops as code; `python -m dashboards` writes them to helm/s2ops/files/dashboards/.

- run.py: how far is the run, when will it end, what does it cost
- inference.py: the networks, seen from the clients and from Triton
- quality.py: holes, seams, scenes, classes
- failures.py: which steps failed, why, what was tried again
- panels.py, promql.py: the few kinds of panels and queries that these are made of
"""

from dashboards import failures, inference, quality, run
from dashboards.panels import to_json

ALL = {
    "run": run.build_dashboard,
    "inference": inference.build_dashboard,
    "quality": quality.build_dashboard,
    "failures": failures.build_dashboard,
}


def render_files() -> dict[str, str]:
    """Return the JSON of every dashboard by file name."""
    return {f"{name}.json": to_json(make()) for name, make in ALL.items()}

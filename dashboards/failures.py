"""Failures: which step, why, what was tried again, and where the list of tiles is."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.panels import Sized, bars, board, lines, number, words
from dashboards.promql import grown, now, pace, reached, series

_FAILED = 'status="failed"'
_LIST = """Each failed tile has a record with its error in `run/STEP/TILE.failed.json`; it goes when the tile succeeds.

- [The run's report]($report#failed) lists the tiles that failed, each with what was said.
- `s2ops explain OUT TILE` says what became of each of a tile's scenes.
- Submit the same run again: only what is missing runs.
"""


def dashboard() -> Dashboard:
    """`s2ops: failures`."""
    return board(
        "s2ops-failures",
        "s2ops: failures",
        "Which tiles failed, and why?",
        {"Tiles": _tiles(), "Requests and scenes": _requests(), "Cluster": _cluster()},
        {"report": ("URL of the run's report", "report/index.html")},
    )


def _tiles() -> list[Sized]:
    return [
        number("Failed tiles", "In the time shown", {"failed": grown("s2ops_tiles_total", "", _FAILED)}, "short"),
        bars(
            "By step and reason",
            "Kinds of errors: those of s2ops/errors.py",
            {"{{step}} {{reason}}": reached("s2ops_failures_total", "step, reason")},
            "short",
            10,
        ),
        words("Which tiles", _LIST, 10),
    ]


def _requests() -> list[Sized]:
    return [
        lines(
            "Failed tiles over time",
            "Tiles an hour by step, over ten minutes",
            {"{{step}}": f"3600 * {pace('s2ops_tiles_total', 'step', '10m', _FAILED)}"},
            "short",
        ),
        lines(
            "Tried again",
            "Requests to catalog, store and inference, by reason",
            {"{{door}} {{reason}}": pace("s2ops_retries_total", "door, reason", "10m")},
            "reqps",
        ),
        bars(
            "Broken scenes",
            "Left out; their tiles went on without them",
            {"left out": grown("s2ops_scenes_total", "", 'state="left_out"')},
            "short",
        ),
    ]


def _cluster() -> list[Sized]:
    return [
        bars(
            "Pods",
            "That ended, by step and status, as Argo's controller counts",
            {"{{step}} {{status}}": now("argo_workflows_s2ops_pods_total", "step, status")},
            "short",
            12,
        ),
        lines(
            "Alerts",
            "Of s2ops, pending and firing",
            {"{{alertname}} {{alertstate}}": series("ALERTS", 'alertname=~"S2ops.*"')},
            "short",
            12,
        ),
    ]

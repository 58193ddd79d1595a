"""Dashboard of failures: steps, reasons, retries, and the way to the list of failed tiles."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.panels import SizedPanel, build_bars, build_board, build_number, build_text, build_time_series
from dashboards.promql import select_series, sum_counter_total, sum_gauge, sum_increase, sum_rate

_FAILED = 'status="failed"'
_LIST = """Each failed tile has a record with its error in `run/STEP/TILE.failed.json`; it goes when the tile succeeds.

- [The run's report]($report#failed) lists the tiles that failed, each with what was said.
- `s2ops explain OUT TILE` says what became of each of a tile's scenes.
- Submit the same run again: only what is missing runs.
"""


def build_dashboard() -> Dashboard:
    """Build the dashboard `s2ops: failures`."""
    return build_board(
        "s2ops-failures",
        "s2ops: failures",
        "Which tiles failed, and why?",
        {"Tiles": _build_tile_panels(), "Requests and scenes": _build_request_panels(), "Cluster": _build_pod_panels()},
        {"report": ("URL of the run's report", "report/index.html")},
    )


def _build_tile_panels() -> list[SizedPanel]:
    return [
        build_number(
            "Failed tiles", "In the time shown", {"failed": sum_increase("s2ops_tiles_total", "", _FAILED)}, "short"
        ),
        build_bars(
            "By step and reason",
            "Kinds of errors: those of s2ops/errors.py",
            {"{{step}} {{reason}}": sum_counter_total("s2ops_failures_total", "step, reason")},
            "short",
            10,
        ),
        build_text("Which tiles", _LIST, 10),
    ]


def _build_request_panels() -> list[SizedPanel]:
    return [
        build_time_series(
            "Failed tiles over time",
            "Tiles an hour by step, over ten minutes",
            {"{{step}}": f"3600 * {sum_rate('s2ops_tiles_total', 'step', '10m', _FAILED)}"},
            "short",
        ),
        build_time_series(
            "Tried again",
            "Requests to catalog, store and inference, by reason",
            {"{{door}} {{reason}}": sum_rate("s2ops_retries_total", "door, reason", "10m")},
            "reqps",
        ),
        build_bars(
            "Broken scenes",
            "Left out; their tiles went on without them",
            {"left out": sum_increase("s2ops_scenes_total", "", 'state="left_out"')},
            "short",
        ),
    ]


def _build_pod_panels() -> list[SizedPanel]:
    return [
        build_bars(
            "Pods",
            "That ended, by step and status, as Argo's controller counts",
            {"{{step}} {{status}}": sum_gauge("argo_workflows_s2ops_pods_total", "step, status")},
            "short",
            12,
        ),
        build_time_series(
            "Alerts",
            "Of s2ops, pending and firing",
            {"{{alertname}} {{alertstate}}": select_series("ALERTS", 'alertname=~"S2ops.*"')},
            "short",
            12,
        ),
    ]

"""Dashboard of a run: progress, speed, remaining time, cost."""

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.panels import SizedPanel, build_bars, build_board, build_number, build_time_series
from dashboards.promql import (
    build_median_and_tail,
    compute_active_seconds,
    divide_by_active_seconds,
    select_series,
    sum_gauge,
    sum_increase,
    sum_rate,
)

_MADE: Final = 'status=~"done|empty"'
_CPU_HOURS: Final = f"{sum_increase('s2ops_cpu_seconds_total', '')} / 3600"
_GPU_HOURS: Final = f"(sum(count_over_time({select_series('nv_gpu_power_usage')}[$__range:1m])) / 60 or vector(0))"


def _price(kind: str) -> str:
    """Return PromQL for a price of the run's plan."""
    of_kind = f'kind="{kind}"'
    return f"max(max_over_time({select_series('s2ops_price', of_kind)}[$__range]))"


_COST: Final = f"{_CPU_HOURS} * {_price('cpu_hour')} + {_GPU_HOURS} * {_price('gpu_hour')}"
_AT_WORK: Final = "s2ops_stage_todo"
_THROUGH: Final = "s2ops_stage_through_total"
_OF_A_TILE: Final = f"max by (step) (max_over_time({select_series('s2ops_plan_tile_seconds')}[$__range]))"
"""Planned seconds per tile."""
_GOES_BY: Final = divide_by_active_seconds(_THROUGH, _AT_WORK, "step", "30m")
"""Tiles per second of each stage."""
_OF_THE_PLAN: Final = (
    f"sum(sum by (step) (increase({select_series(_THROUGH)}[30m])) * {_OF_A_TILE})"
    f" / {compute_active_seconds(_AT_WORK, '', '30m')}"
)
"""Planned seconds that pass per second."""


def _run_ends_in(left: str, later: str) -> str:
    """Return PromQL for the planned seconds that remain, divided by the speed at which they passed."""
    return f"(sum({left} * {_OF_A_TILE}) + {later}) / ({_OF_THE_PLAN} > 0)"


def build_dashboard() -> Dashboard:
    """Build the dashboard `s2ops: run`."""
    return build_board(
        "s2ops-run",
        "s2ops: run",
        "How far is the run, when will it end, what does it cost?",
        {
            "Now": _build_progress_panels(),
            "All pods of a cluster": _build_pod_panels(),
            "Speed": _build_speed_panels(),
            "Cost": _build_cost_panels(),
            "Steps": _build_step_panels(),
        },
    )


def _build_progress_panels() -> list[SizedPanel]:
    todo = sum_gauge(_AT_WORK, "step")
    return [
        build_bars(
            "How far",
            "Part of the tiles that is through, of those that the processes which run now have",
            {"{{step}}": f"1 - {todo} / {sum_gauge('s2ops_stage_tiles', 'step')}"},
            "percentunit",
            most=1,
        ),
        build_number(
            "Stage ends in",
            "Tiles to do over the tiles a second of the last half hour",
            {"{{step}}": f"({todo} > 0) / ({_GOES_BY} > 0)"},
            "s",
        ),
        build_number(
            "Run ends in",
            "All stages: what the plan says is left, at the speed of the last half hour",
            {"run": _run_ends_in(todo, f"min({select_series('s2ops_plan_later_seconds')})")},
            "s",
        ),
        build_number(
            "Cost so far",
            "Processor and GPU hours of the time shown at the plan's prices",
            {"so far": _COST},
            "currencyUSD",
            decimals=2,
        ),
        build_number(
            "Cost by the plan",
            "Computing all of the run, as its plan step said",
            {"plan": _price("plan")},
            "currencyUSD",
            decimals=2,
        ),
    ]


def _build_pod_panels() -> list[SizedPanel]:
    """Build the panels of a cluster: pods come and go, so counters are summed over the time range."""
    wanted = f"max by (step) (max_over_time({select_series('s2ops_stage_wanted')}[$__range]))"
    through = sum_increase("s2ops_stage_through_total", "step")
    left = f"clamp_min({wanted} - {through}, 0)"
    return [
        build_bars(
            "How far, all pods",
            "Part of the tiles that each stage had to make; the time shown must take in the run's begin",
            {"{{step}}": f"clamp_max({through} / ({wanted} > 0), 1)"},
            "percentunit",
            most=1,
        ),
        build_number("Tiles left", "Of the stages that have begun", {"{{step}}": left}, "short", 4),
        build_number(
            "Stage ends in, all pods",
            "Tiles left over the tiles a second of the last half hour",
            {"{{step}}": f"({left} > 0.5) / ({_GOES_BY} > 0)"},
            "s",
            6,
        ),
        build_number(
            "Run ends in, all pods",
            "What the plan says is left, at the speed of the last half hour",
            {"run": _run_ends_in(left, f"min(min_over_time({select_series('s2ops_plan_later_seconds')}[$__range]))")},
            "s",
            6,
        ),
    ]


def _build_speed_panels() -> list[SizedPanel]:
    made = {"{{step}}": sum_increase("s2ops_tiles_total", "step", _MADE)}
    skipped, all_tiles = (
        sum_increase("s2ops_tiles_total", "step", 'status="skipped"'),
        sum_increase("s2ops_tiles_total", "step"),
    )
    return [
        build_number("Tiles made", "In the time shown, by step", made, "short", 6),
        build_time_series(
            "Tiles an hour",
            "By step, over ten minutes",
            {"{{step}}": f"3600 * {sum_rate('s2ops_tiles_total', 'step', '10m', _MADE)}"},
            "short",
            6,
        ),
        build_time_series(
            "Million pixels a second",
            "By step, over ten minutes",
            {"{{step}}": sum_rate("s2ops_megapixels_total", "step", "10m")},
            "short",
            6,
        ),
        build_time_series(
            "Skipped",
            "Part of the tiles that were done before",
            {"{{step}}": f"{skipped} / ({all_tiles} > 0)"},
            "percentunit",
            6,
        ),
    ]


def _build_cost_panels() -> list[SizedPanel]:
    return [
        build_time_series(
            "Cost so far against the plan",
            "Computing in the time shown; the plan's by the run's own plan step",
            {"so far": _COST, "plan": _price("plan")},
            "currencyUSD",
        ),
        build_time_series(
            "Processors at work",
            "By step, over ten minutes; a step's time counts when its tile is through",
            {"{{step}}": sum_rate("s2ops_cpu_seconds_total", "step", "10m")},
            "short",
        ),
        build_time_series(
            "Peak memory",
            "Most that a step has held",
            {"{{step}}": f"max by (step) ({select_series('s2ops_step_peak_memory_bytes')})"},
            "bytes",
        ),
    ]


def _build_step_panels() -> list[SizedPanel]:
    return [
        build_time_series(
            "Time of a tile",
            "Median and 95th percentile by step",
            build_median_and_tail("s2ops_step_seconds", "step", "30m"),
            "s",
        ),
        build_time_series(
            "Bytes read",
            "From the store, over the network by GDAL, and from files",
            {"{{source}}": sum_rate("s2ops_read_bytes_total", "source", "10m")},
            "Bps",
        ),
        build_time_series(
            "Bytes written",
            "Into the output",
            {"{{kind}}": sum_rate("s2ops_written_bytes_total", "kind", "10m")},
            "Bps",
        ),
    ]

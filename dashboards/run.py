"""The run: how far, how fast, until when, at what cost."""

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.panels import Sized, bars, board, lines, number
from dashboards.promql import at_work_for, grown, median_and_tail, now, pace, series, speed

_MADE: Final = 'status=~"done|empty"'
_CPU_HOURS: Final = f"{grown('s2ops_cpu_seconds_total', '')} / 3600"
_GPU_HOURS: Final = f"(sum(count_over_time({series('nv_gpu_power_usage')}[$__range:1m])) / 60 or vector(0))"


def _price(kind: str) -> str:
    """A price that the run's own plan rests on."""
    of_kind = f'kind="{kind}"'
    return f"max(max_over_time({series('s2ops_price', of_kind)}[$__range]))"


_COST: Final = f"{_CPU_HOURS} * {_price('cpu_hour')} + {_GPU_HOURS} * {_price('gpu_hour')}"
_AT_WORK: Final = "s2ops_stage_todo"
_THROUGH: Final = "s2ops_stage_through_total"
_OF_A_TILE: Final = f"max by (step) (max_over_time({series('s2ops_plan_tile_seconds')}[$__range]))"
"""Seconds of the plan."""
_GOES_BY: Final = speed(_THROUGH, _AT_WORK, "step", "30m")
"""Tiles a second of each stage."""
_OF_THE_PLAN: Final = (
    f"sum(sum by (step) (increase({series(_THROUGH)}[30m])) * {_OF_A_TILE}) / {at_work_for(_AT_WORK, '', '30m')}"
)
"""Seconds of the plan that go by in a second."""


def _run_ends_in(left: str, later: str) -> str:
    """Seconds of the plan that are left, at the speed at which its seconds went by."""
    return f"(sum({left} * {_OF_A_TILE}) + {later}) / ({_OF_THE_PLAN} > 0)"


def dashboard() -> Dashboard:
    """`s2ops: run`."""
    return board(
        "s2ops-run",
        "s2ops: run",
        "How far is the run, when will it end, what does it cost?",
        {"Now": _now(), "All pods of a cluster": _pods(), "Speed": _speed(), "Cost": _cost(), "Steps": _steps()},
    )


def _now() -> list[Sized]:
    todo = now(_AT_WORK, "step")
    return [
        bars(
            "How far",
            "Part of the tiles that is through, of those that the processes which run now have",
            {"{{step}}": f"1 - {todo} / {now('s2ops_stage_tiles', 'step')}"},
            "percentunit",
            most=1,
        ),
        number(
            "Stage ends in",
            "Tiles to do over the tiles a second of the last half hour",
            {"{{step}}": f"({todo} > 0) / ({_GOES_BY} > 0)"},
            "s",
        ),
        number(
            "Run ends in",
            "All stages: what the plan says is left, at the speed of the last half hour",
            {"run": _run_ends_in(todo, f"min({series('s2ops_plan_later_seconds')})")},
            "s",
        ),
        number(
            "Cost so far",
            "Processor and GPU hours of the time shown at the plan's prices",
            {"so far": _COST},
            "currencyUSD",
            decimals=2,
        ),
        number(
            "Cost by the plan",
            "Computing all of the run, as its plan step said",
            {"plan": _price("plan")},
            "currencyUSD",
            decimals=2,
        ),
    ]


def _pods() -> list[Sized]:
    """Pods come and go, so what they count is summed over the time shown; it must take in the run's begin."""
    wanted = f"max by (step) (max_over_time({series('s2ops_stage_wanted')}[$__range]))"
    through = grown("s2ops_stage_through_total", "step")
    left = f"clamp_min({wanted} - {through}, 0)"
    return [
        bars(
            "How far, all pods",
            "Part of the tiles that each stage had to make; the time shown must take in the run's begin",
            {"{{step}}": f"clamp_max({through} / ({wanted} > 0), 1)"},
            "percentunit",
            most=1,
        ),
        number("Tiles left", "Of the stages that have begun", {"{{step}}": left}, "short", 4),
        number(
            "Stage ends in, all pods",
            "Tiles left over the tiles a second of the last half hour",
            {"{{step}}": f"({left} > 0.5) / ({_GOES_BY} > 0)"},
            "s",
            6,
        ),
        number(
            "Run ends in, all pods",
            "What the plan says is left, at the speed of the last half hour",
            {"run": _run_ends_in(left, f"min(min_over_time({series('s2ops_plan_later_seconds')}[$__range]))")},
            "s",
            6,
        ),
    ]


def _speed() -> list[Sized]:
    made = {"{{step}}": grown("s2ops_tiles_total", "step", _MADE)}
    skipped, all_tiles = grown("s2ops_tiles_total", "step", 'status="skipped"'), grown("s2ops_tiles_total", "step")
    return [
        number("Tiles made", "In the time shown, by step", made, "short", 6),
        lines(
            "Tiles an hour",
            "By step, over ten minutes",
            {"{{step}}": f"3600 * {pace('s2ops_tiles_total', 'step', '10m', _MADE)}"},
            "short",
            6,
        ),
        lines(
            "Million pixels a second",
            "By step, over ten minutes",
            {"{{step}}": pace("s2ops_megapixels_total", "step", "10m")},
            "short",
            6,
        ),
        lines(
            "Skipped",
            "Part of the tiles that were done before",
            {"{{step}}": f"{skipped} / ({all_tiles} > 0)"},
            "percentunit",
            6,
        ),
    ]


def _cost() -> list[Sized]:
    return [
        lines(
            "Cost so far against the plan",
            "Computing in the time shown; the plan's by the run's own plan step",
            {"so far": _COST, "plan": _price("plan")},
            "currencyUSD",
        ),
        lines(
            "Processors at work",
            "By step, over ten minutes; a step's time counts when its tile is through",
            {"{{step}}": pace("s2ops_cpu_seconds_total", "step", "10m")},
            "short",
        ),
        lines(
            "Peak memory",
            "Most that a step has held",
            {"{{step}}": f"max by (step) ({series('s2ops_step_peak_memory_bytes')})"},
            "bytes",
        ),
    ]


def _steps() -> list[Sized]:
    return [
        lines(
            "Time of a tile",
            "Median and 95th percentile by step",
            median_and_tail("s2ops_step_seconds", "step", "30m"),
            "s",
        ),
        lines(
            "Bytes read",
            "From the store, over the network by GDAL, and from files",
            {"{{source}}": pace("s2ops_read_bytes_total", "source", "10m")},
            "Bps",
        ),
        lines(
            "Bytes written", "Into the output", {"{{kind}}": pace("s2ops_written_bytes_total", "kind", "10m")}, "Bps"
        ),
    ]

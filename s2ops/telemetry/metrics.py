"""Metrics of a run for Prometheus: functions that count events where they happen; see docs/reference/metrics.md.

With `--metrics-port` (metrics_server.py) all processes of a run count into one folder and one port exposes the sums.
Without it counting costs a few additions, and no port exposes the counts.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from time import perf_counter
from types import ModuleType
from typing import Final, Literal

from s2ops.errors import S2opsError
from s2ops.results import RUN_TARGET, StepName, StepResult
from s2ops.telemetry import counters
from s2ops.telemetry.resource_usage import ResourceUsage

_SCENE_FACTS: Final[Mapping[str, Mapping[str, str]]] = {
    StepName.SELECT: {"candidate": "candidates", "selected": "selected"}, StepName.ACQUIRE: {"used": "scenes"},
}  # fmt: skip
"""For each step, the state of `SCENES` and the fact of the step's result that contains its number of scenes."""

Service = Literal["catalog", "inference", "store"]


@cache
def _load_metrics() -> ModuleType:
    """Import the metrics when the first event is counted; prometheus.py has the reason."""
    from s2ops.telemetry import prometheus as module  # noqa: PLC0415 -- see the docstring

    return module


def count_read(source: Literal["records"], count: int) -> None:
    """Count an object of `count` bytes that was read from the store."""
    _load_metrics().READ.labels(source).inc(count)
    counters.add("gets", 1)
    counters.add("records_read", count)


def count_written(kind: Literal["rasters", "records"], count: int) -> None:
    """Count an object of `count` bytes that was written to the store."""
    _load_metrics().WRITTEN.labels(kind).inc(count)
    counters.add("puts", 1)
    counters.add("rasters_written" if kind == "rasters" else "records_written", count)
    if kind == "rasters":
        counters.add("rasters", 1)


def count_scene_left_out() -> None:
    """Count a scene that cannot be read."""
    _load_metrics().SCENES.labels("left_out").inc()


def start_stage(step: str, total: int, todo: int, wanted: int | None = None) -> None:
    """Set the number of tiles of a stage that starts in this process.

    Args:
        step: Name of the step or stage.
        total: Tiles of the stage.
        todo: Tiles that have work.
        wanted: Tiles that have work in all pods of a cluster together; default: `todo`.
    """
    _load_metrics().STAGE_TILES.labels(step).set(total)
    _load_metrics().STAGE_TODO.labels(step).set(todo)
    _load_metrics().STAGE_WANTED.labels(step).set(todo if wanted is None else wanted)
    count_skipped(step, total - todo)


def set_plan_times(step: str, tile_s: float, later_s: float) -> None:
    """Set the planned seconds of a stage that starts: for each of its tiles, and for all later stages."""
    _load_metrics().PLAN_TILE.labels(step).set(tile_s)
    _load_metrics().PLAN_LATER.labels(step).set(later_s)


def set_prices(prices: Mapping[str, float]) -> None:
    """Set the prices of the run's plan, by kind."""
    for kind, price in prices.items():
        _load_metrics().PRICE.labels(kind).set(price)


def count_skipped(step: str, tiles: int = 1) -> None:
    """Count tiles that were done before."""
    _load_metrics().TILES.labels(step, "skipped").inc(tiles)


def count_finished_tile(step: str) -> None:
    """Count a tile of a stage that is finished, done or failed."""
    _load_metrics().STAGE_TODO.labels(step).dec()
    _load_metrics().STAGE_THROUGH.labels(step).inc()


def record_step(result: StepResult, usage: ResourceUsage, megapixels: float) -> None:
    """Count a step that is done for a tile of `megapixels` million pixels."""
    step, facts = result.step, result.facts
    _load_metrics().TILES.labels(step, result.status).inc()
    _load_metrics().STEP_SECONDS.labels(step).observe(usage.wall_s)
    _load_metrics().CPU_SECONDS.labels(step).inc(usage.cpu_s)
    _load_metrics().PEAK_MEMORY.labels(step).set(usage.peak_rss_mib * 2**20)
    if result.tile != RUN_TARGET:
        _load_metrics().MEGAPIXELS.labels(step).inc(megapixels)
    for state, fact in _SCENE_FACTS.get(step, {}).items():
        _load_metrics().SCENES.labels(state).inc(float(facts[fact]))
    if "holes" in facts:
        _load_metrics().HOLES.labels(step).inc(float(facts["holes"]) * megapixels)
    for source, count in usage.traffic.bytes.items():
        _load_metrics().READ.labels(source).inc(count)
    for method, count in usage.traffic.requests.items():
        _load_metrics().REQUESTS.labels(method).inc(count)


def count_failure(step: str, error: S2opsError) -> None:
    """Count a step that failed for a tile."""
    _load_metrics().TILES.labels(step, "failed").inc()
    _load_metrics().FAILURES.labels(step, error.kind).inc()


def record_seam(before: float, after: float) -> None:
    """Count a seam: the step across a tile border over the step beside it, before and after blending."""
    _load_metrics().SEAMS.labels("before").observe(before)
    _load_metrics().SEAMS.labels("after").observe(after)


def count_areas(km2: Mapping[str, float]) -> None:
    """Count the mapped area of a tile by class, in square kilometres."""
    for name, area in km2.items():
        _load_metrics().AREAS.labels(name).inc(area)


def count_retry(service: Service, reason: str) -> None:
    """Count a request that is tried again; `reason` is from a small set: an HTTP status, a gRPC code."""
    _load_metrics().RETRIES.labels(service, reason).inc()


@contextmanager
def measure_inference(network: str, windows: int) -> Iterator[None]:
    """Measure the call of a network with so many windows in a `with` block."""
    _load_metrics().IN_FLIGHT.labels(network).inc(windows)
    start = perf_counter()
    try:
        yield
        _load_metrics().INFERENCE_SECONDS.labels(network).observe(perf_counter() - start)
        _load_metrics().WINDOWS.labels(network).inc(windows)
    finally:
        _load_metrics().IN_FLIGHT.labels(network).dec(windows)

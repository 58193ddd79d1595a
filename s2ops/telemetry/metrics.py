"""What a run counts for Prometheus: each function is called where the thing happens. docs/reference/metrics.md lists the names.

With `--metrics-port` (metrics_server.py) all processes of a run count into one folder and one port shows their sums;
without it counting costs a few additions and is seen by nobody.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from time import perf_counter
from types import ModuleType
from typing import Final, Literal

from s2ops.errors import S2opsError
from s2ops.results import StepResult
from s2ops.telemetry import counters
from s2ops.telemetry.resource_usage import Usage

_SCENE_FACTS: Final = {"select": {"candidate": "candidates", "selected": "selected"}, "acquire": {"used": "scenes"}}
"""Step -> state of `SCENES` -> the fact of its result that says how many."""

Door = Literal["catalog", "inference", "store"]


@cache
def meters() -> ModuleType:
    """The metrics themselves."""
    from s2ops.telemetry import prometheus as module  # noqa: PLC0415 -- see there

    return module


def read(source: Literal["records"], count: int) -> None:
    """An object of so many bytes came from the store."""
    meters().READ.labels(source).inc(count)
    counters.add("gets", 1)
    counters.add("records_read", count)


def written(kind: Literal["rasters", "records"], count: int) -> None:
    """An object of so many bytes went into the store."""
    meters().WRITTEN.labels(kind).inc(count)
    counters.add("puts", 1)
    counters.add("rasters_written" if kind == "rasters" else "records_written", count)
    if kind == "rasters":
        counters.add("rasters", 1)


def scene_left_out() -> None:
    """A scene cannot be read."""
    meters().SCENES.labels("left_out").inc()


def stage_begins(step: str, total: int, todo: int, wanted: int | None = None) -> None:
    """A stage of `total` tiles begins here, `todo` of which have work; `wanted` in all pods of a cluster together."""
    meters().STAGE_TILES.labels(step).set(total)
    meters().STAGE_TODO.labels(step).set(todo)
    meters().STAGE_WANTED.labels(step).set(todo if wanted is None else wanted)
    skipped(step, total - todo)


def planned(step: str, tile_s: float, later_s: float) -> None:
    """What the run's plan says of a stage that begins: seconds for each of its tiles, and for all later stages."""
    meters().PLAN_TILE.labels(step).set(tile_s)
    meters().PLAN_LATER.labels(step).set(later_s)


def priced(prices: Mapping[str, float]) -> None:
    """Prices of the run's plan, by kind."""
    for kind, price in prices.items():
        meters().PRICE.labels(kind).set(price)


def skipped(step: str, tiles: int = 1) -> None:
    """Tiles that a step had made before."""
    meters().TILES.labels(step, "skipped").inc(tiles)


def tile_is_through(step: str) -> None:
    """One tile less to do, made or failed."""
    meters().STAGE_TODO.labels(step).dec()
    meters().STAGE_THROUGH.labels(step).inc()


def made(result: "StepResult", usage: Usage, megapixels: float) -> None:
    """A step is through with a tile of `megapixels` million pixels."""
    step, facts = result.step, result.facts
    meters().TILES.labels(step, result.status).inc()
    meters().STEP_SECONDS.labels(step).observe(usage.wall_s)
    meters().CPU_SECONDS.labels(step).inc(usage.cpu_s)
    meters().PEAK_MEMORY.labels(step).set(usage.peak_rss_mib * 2**20)
    if result.tile != "all":
        meters().MEGAPIXELS.labels(step).inc(megapixels)
    for state, fact in _SCENE_FACTS.get(step, {}).items():
        meters().SCENES.labels(state).inc(float(facts[fact]))
    if "holes" in facts:
        meters().HOLES.labels(step).inc(float(facts["holes"]) * megapixels)
    for source, count in usage.traffic.bytes.items():
        meters().READ.labels(source).inc(count)
    for method, count in usage.traffic.requests.items():
        meters().REQUESTS.labels(method).inc(count)


def failed(step: str, error: S2opsError) -> None:
    """A step could not make a tile."""
    meters().TILES.labels(step, "failed").inc()
    meters().FAILURES.labels(step, type(error).__name__).inc()


def seam(before: float, after: float) -> None:
    """A border was blended: the step across it over that beside it."""
    meters().SEAMS.labels("before").observe(before)
    meters().SEAMS.labels("after").observe(after)


def areas(km2: Mapping[str, float]) -> None:
    """A tile was classified: area by class."""
    for name, area in km2.items():
        meters().AREAS.labels(name).inc(area)


def retried(door: Door, reason: str) -> None:
    """A request is tried again; `reason` is one of few words: an HTTP status, a gRPC code."""
    meters().RETRIES.labels(door, reason).inc()


@contextmanager
def inference(network: str, windows: int) -> Iterator[None]:
    """Around a call of a network with so many windows."""
    meters().IN_FLIGHT.labels(network).inc(windows)
    start = perf_counter()
    try:
        yield
        meters().INFERENCE_SECONDS.labels(network).observe(perf_counter() - start)
        meters().WINDOWS.labels(network).inc(windows)
    finally:
        meters().IN_FLIGHT.labels(network).dec(windows)

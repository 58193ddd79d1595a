"""The Prometheus metrics of s2ops; metrics.py counts into them. No label ever holds a tile, a scene or a path.

Imported when something is first counted: the client library decides at its import whether processes share counts.
"""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from s2ops.constants import CLASS_NAMES, LandCover

STEPS: Final = ("plan", "select", "acquire", "composite", "balance", "blend", "landcover", "publish")

TILES: Final = Counter(
    "s2ops_tiles", "Tiles by step and status: done, empty, skipped (done before), failed", ["step", "status"]
)
MEGAPIXELS: Final = Counter("s2ops_megapixels", "Million pixels of the tiles that a step made", ["step"])
FAILURES: Final = Counter(
    "s2ops_failures", "Tiles that failed, by step and kind of error (s2ops/errors.py)", ["step", "reason"]
)
STEP_SECONDS: Final = Histogram(
    "s2ops_step_seconds", "Wall time of a step for one tile", ["step"],
    buckets=(0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600),
)  # fmt: skip
CPU_SECONDS: Final = Counter("s2ops_cpu_seconds", "Processor time that a step took", ["step"])
PEAK_MEMORY: Final = Gauge(
    "s2ops_step_peak_memory_bytes", "Most memory that a step has held", ["step"], multiprocess_mode="max"
)
STAGE_TILES: Final = Gauge("s2ops_stage_tiles", "Tiles of a stage", ["step"], multiprocess_mode="sum")
STAGE_TODO: Final = Gauge(
    "s2ops_stage_todo", "Tiles of a stage that are still to be made", ["step"], multiprocess_mode="sum"
)
STAGE_WANTED: Final = Gauge(
    "s2ops_stage_wanted", "Tiles that a stage had to make when it began, in all its pods together", ["step"],
    multiprocess_mode="max",
)  # fmt: skip
STAGE_THROUGH: Final = Counter("s2ops_stage_through", "Tiles that a stage is through with, made or failed", ["step"])
PLAN_TILE: Final = Gauge(
    "s2ops_plan_tile_seconds", "Seconds that a stage takes for each tile by the run's plan, all at work together",
    ["step"], multiprocess_mode="max",
)  # fmt: skip
PLAN_LATER: Final = Gauge(
    "s2ops_plan_later_seconds", "Seconds that the stages after this one take by the run's plan", ["step"],
    multiprocess_mode="max",
)  # fmt: skip
PRICE: Final = Gauge(
    "s2ops_price", "Prices of the run's plan: plan (of computing all of it), cpu_hour (at work), gpu_hour", ["kind"],
    multiprocess_mode="max",
)  # fmt: skip
SCENES: Final = Counter("s2ops_scenes", "Scenes: candidate, selected, used (in a mosaic), left_out (broken)", ["state"])
HOLES: Final = Counter("s2ops_hole_megapixels", "Million pixels without a clear look, after a step", ["step"])
SEAMS: Final = Histogram(
    "s2ops_seam_excess", "Step across a tile border over that beside it (1 is invisible), before and after blending",
    ["when"], buckets=(0.9, 1, 1.05, 1.1, 1.2, 1.5, 2, 3, 5),
)  # fmt: skip
AREAS: Final = Counter("s2ops_class_km2", "Mapped area by class", ["class"])
READ: Final = Counter(
    "s2ops_read_bytes", "Bytes read: records (from the store), network (by GDAL), files (of this machine)", ["source"]
)
REQUESTS: Final = Counter("s2ops_read_requests", "Requests of GDAL to catalogs and object stores", ["method"])
WRITTEN: Final = Counter("s2ops_written_bytes", "Bytes put into the output: rasters, records", ["kind"])
RETRIES: Final = Counter("s2ops_retries", "Requests that were tried again, by door and reason", ["door", "reason"])
INFERENCE_SECONDS: Final = Histogram(
    "s2ops_inference_seconds", "Time that one row of windows waited for its answer", ["network"],
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60),
)  # fmt: skip
WINDOWS: Final = Counter("s2ops_inference_windows", "Windows that a network has answered", ["network"])
IN_FLIGHT: Final = Gauge(
    "s2ops_inference_windows_in_flight", "Windows that wait for their answer", ["network"], multiprocess_mode="sum"
)


def _begin_at_zero() -> None:
    """A series that begins with its first event hides that event from rate() and increase()."""
    for step in STEPS:
        for status in ("done", "empty", "skipped", "failed"):
            TILES.labels(step, status)
        MEGAPIXELS.labels(step)
        CPU_SECONDS.labels(step)
        STEP_SECONDS.labels(step)
    for stage in (*STEPS, "scenes"):  # what pods of a cluster call select, acquire and composite together
        STAGE_THROUGH.labels(stage)
    for step in ("acquire", "composite", "blend"):
        HOLES.labels(step)
    for when in ("before", "after"):
        SEAMS.labels(when)
    for network in ("preview-cloud", "scene-cloud", "landcover"):
        INFERENCE_SECONDS.labels(network)
        WINDOWS.labels(network)
    for state in ("candidate", "selected", "used", "left_out"):
        SCENES.labels(state)
    for code in tuple(LandCover)[1:]:  # no data is no class
        AREAS.labels(CLASS_NAMES[code])
    for source in ("records", "network", "files"):
        READ.labels(source)
    for kind in ("rasters", "records"):
        WRITTEN.labels(kind)


_begin_at_zero()

"""Prometheus metrics of s2ops; metrics.py counts into them. No label contains a tile, a scene or a path.

Import this module when something is first counted: the client library decides at its own import whether processes
share their counts.
"""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from s2ops.constants import CLASS_NAMES, LandCover
from s2ops.results import StepName

TILES: Final = Counter(
    "s2ops_tiles", "Tiles by step and status: done, empty, skipped (done before), failed", ["step", "status"]
)
MEGAPIXELS: Final = Counter("s2ops_megapixels", "Million pixels of the tiles that a step has done", ["step"])
FAILURES: Final = Counter(
    "s2ops_failures", "Failed tiles by step and kind of error (s2ops/errors.py)", ["step", "reason"]
)
STEP_SECONDS: Final = Histogram(
    "s2ops_step_seconds", "Wall time of a step for one tile, in seconds", ["step"],
    buckets=(0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600),
)  # fmt: skip
CPU_SECONDS: Final = Counter("s2ops_cpu_seconds", "CPU time of a step, in seconds", ["step"])
PEAK_MEMORY: Final = Gauge(
    "s2ops_step_peak_memory_bytes", "Peak memory (RSS) of a step, in bytes", ["step"], multiprocess_mode="max"
)
STAGE_TILES: Final = Gauge("s2ops_stage_tiles", "Tiles of a stage", ["step"], multiprocess_mode="sum")
STAGE_TODO: Final = Gauge(
    "s2ops_stage_todo", "Tiles of a stage that are not finished yet", ["step"], multiprocess_mode="sum"
)
STAGE_WANTED: Final = Gauge(
    "s2ops_stage_wanted", "Tiles that had work when a stage started, in all its pods together", ["step"],
    multiprocess_mode="max",
)  # fmt: skip
STAGE_THROUGH: Final = Counter("s2ops_stage_through", "Finished tiles of a stage, done or failed", ["step"])
PLAN_TILE: Final = Gauge(
    "s2ops_plan_tile_seconds", "Planned seconds of a stage per tile, with all workers of the plan", ["step"],
    multiprocess_mode="max",
)  # fmt: skip
PLAN_LATER: Final = Gauge(
    "s2ops_plan_later_seconds", "Planned seconds of all stages after this one", ["step"], multiprocess_mode="max"
)
PRICE: Final = Gauge(
    "s2ops_price", "Prices of the run's plan: plan (compute cost of the whole plan), cpu_hour (while busy), gpu_hour",
    ["kind"], multiprocess_mode="max",
)  # fmt: skip
SCENES: Final = Counter("s2ops_scenes", "Scenes: candidate, selected, used (in a mosaic), left_out (broken)", ["state"])
HOLES: Final = Counter("s2ops_hole_megapixels", "Million pixels without a clear scene after a step", ["step"])
SEAMS: Final = Histogram(
    "s2ops_seam_excess",
    "Step across a tile border over the step beside it (1 is invisible), before and after blending",
    ["when"], buckets=(0.9, 1, 1.05, 1.1, 1.2, 1.5, 2, 3, 5),
)  # fmt: skip
AREAS: Final = Counter("s2ops_class_km2", "Mapped area by class, in square kilometres", ["class"])
READ: Final = Counter(
    "s2ops_read_bytes", "Bytes read: records (from the store), network (by GDAL), files (local)", ["source"]
)
REQUESTS: Final = Counter("s2ops_read_requests", "Requests of GDAL to catalogs and object stores", ["method"])
WRITTEN: Final = Counter("s2ops_written_bytes", "Bytes written to the store: rasters, records", ["kind"])
RETRIES: Final = Counter("s2ops_retries", "Retried requests by service and reason", ["door", "reason"])
INFERENCE_SECONDS: Final = Histogram(
    "s2ops_inference_seconds", "Response time of a network for one row of windows, in seconds", ["network"],
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60),
)  # fmt: skip
WINDOWS: Final = Counter("s2ops_inference_windows", "Windows that a network has predicted", ["network"])
IN_FLIGHT: Final = Gauge(
    "s2ops_inference_windows_in_flight", "Windows that wait for their prediction", ["network"], multiprocess_mode="sum"
)


def _initialize_series() -> None:
    """Create all series at 0: a series that begins with its first event hides that event from rate() and increase()."""
    for step in StepName:
        for status in ("done", "empty", "skipped", "failed"):
            TILES.labels(step, status)
        MEGAPIXELS.labels(step)
        CPU_SECONDS.labels(step)
        STEP_SECONDS.labels(step)
    for stage in (*StepName, "scenes"):  # "scenes": select, acquire and composite in one pod of a cluster
        STAGE_THROUGH.labels(stage)
    for step in (StepName.ACQUIRE, StepName.COMPOSITE, StepName.BLEND):
        HOLES.labels(step)
    for when in ("before", "after"):
        SEAMS.labels(when)
    for network in ("preview-cloud", "scene-cloud", "landcover"):
        INFERENCE_SECONDS.labels(network)
        WINDOWS.labels(network)
    for state in ("candidate", "selected", "used", "left_out"):
        SCENES.labels(state)
    for code in tuple(LandCover)[1:]:  # no data is not a class
        AREAS.labels(CLASS_NAMES[code])
    for source in ("records", "network", "files"):
        READ.labels(source)
    for kind in ("rasters", "records"):
        WRITTEN.labels(kind)


_initialize_series()

"""Run record (`run/STEP/TILE.json`): time, memory and traffic of a step for a tile.

Records are not outputs: two equal runs differ in them. The rates of cost estimates are computed from them
(docs/how-to/plan-a-run.md).
"""

from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, Field

from s2ops.records import Record
from s2ops.results import StepName, StepResult
from s2ops.run.context import RunContext
from s2ops.telemetry.resource_usage import ResourceUsage

Amount: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(lambda value: round(value, 3))]

_STEPS_RUN: Final[set[str]] = set()
"""Steps that this process has run: the first run loads code and weights, which later runs find in memory."""


class RunRecord(Record):
    """Resources that a step used for a tile (or for the run: "all")."""

    step: str
    tile: str
    status: str
    facts: dict[str, float | int | str]
    resolution: int
    """Pixel size in metres."""
    threads: int
    first: bool
    """True if the process ran the step for the first time, so that code and weights were loaded too."""
    wall_s: Amount
    cpu_s: Amount
    """Processor time (CPU time) of all threads."""
    peak_rss_mib: Amount
    read_bytes: Amount
    """Bytes read. Select and acquire: from scenes, and by requests to the store. Other steps: by requests to the store,
    or from all files of this machine except temporary ones (files of libraries included)."""
    written_bytes: Amount
    """Bytes put into the store."""
    requests: dict[str, int]
    """Number of requests to the store (get, put), and of GDAL's network requests by HTTP method."""
    rasters: int
    """Number of rasters put into the store."""
    network_cpu_s: Amount
    """Part of cpu_s that ONNX Runtime used; 0 if a server runs the networks."""
    network_px: int
    """Number of pixels in windows for networks; a window counts once for each network that reads it."""
    compile_cpu_s: Amount = 0.0
    """Part of cpu_s for JIT compilation, which later runs on the machine do not repeat (runtime/jit.py)."""

    @property
    def lasting_cpu_s(self) -> float:
        """Processor time without compilation: what another run needs too."""
        return self.cpu_s - self.compile_cpu_s


def create_run_record(ctx: RunContext, result: StepResult, usage: ResourceUsage) -> RunRecord:
    """Create the record of a step that has ended."""
    first = result.step not in _STEPS_RUN
    _STEPS_RUN.add(result.step)
    counts, traffic = usage.counts, usage.traffic.bytes
    is_remote = ctx.store.folder is None  # otherwise reads from the store are file reads
    read = traffic.get("network", 0) + (counts.get("records_read", 0) if is_remote else 0)
    if StepName(result.step).reads_scenes:
        read += counts.get("scenes_read", 0)
    else:
        read += max(traffic.get("files", 0) - counts.get("scratch_read", 0), 0)
    requests = {name: int(counts.get(f"{name}s", 0)) for name in ("get", "put")} | dict(usage.traffic.requests)
    return RunRecord(
        step=result.step,
        tile=result.tile,
        status=result.status,
        facts=dict(result.facts),
        resolution=ctx.res,
        threads=ctx.threads,
        first=first,
        wall_s=usage.wall_s,
        cpu_s=usage.cpu_s,
        peak_rss_mib=usage.peak_rss_mib,
        read_bytes=read,
        written_bytes=counts.get("records_written", 0) + counts.get("rasters_written", 0),
        requests=requests,
        rasters=int(counts.get("rasters", 0)),
        network_cpu_s=counts.get("network_cpu_s", 0),
        network_px=int(counts.get("network_px", 0)),
        compile_cpu_s=min(counts.get("compile_cpu_s", 0), usage.cpu_s),
    )

"""`run/STEP/TILE.json`: what a step took for a tile. Not an output: two equal runs differ in it.

The plan's rates are made from these records (docs/how-to/plan-a-run.md).
"""

from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator, Field

from s2ops.records import Record
from s2ops.results import StepResult
from s2ops.run.context import RunContext
from s2ops.telemetry.resource_usage import ResourceUsage

Amount: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(lambda value: round(value, 3))]

READS_SCENES: Final = ("select", "acquire")
"""Steps that read scenes."""

_SEEN: Final[set[str]] = set()
"""Steps that this process has run: the first time loads code and weights, which the next tiles find there."""


class RunRecord(Record):
    """What a step took for a tile (or 'all')."""

    step: str
    tile: str
    status: str
    facts: dict[str, float | int | str]
    resolution: int
    """Metres a pixel."""
    threads: int
    first: bool
    """The first time that the process ran the step: code and weights were loaded too."""
    wall_s: Amount
    cpu_s: Amount
    """Processor time of all threads."""
    peak_rss_mib: Amount
    read_bytes: Amount
    """FROM_CATALOG: of scenes, and by requests to the store. Others: from the store, or from all files of this machine
    but scratch, libraries' own among them."""
    written_bytes: Amount
    """Into the store."""
    requests: dict[str, int]
    """To the store (get, put), and GDAL's own by method, where there is a network between."""
    rasters: int
    """Rasters put into the store."""
    network_cpu_s: Amount
    """Part of cpu_s that was spent inside ONNX Runtime; 0 where a server runs the networks."""
    network_px: int
    """Pixels of windows given to networks; those of land cover, three in one, count once."""
    compile_cpu_s: Amount = 0.0
    """Part of cpu_s that made machine code, which later runs on the machine find on disk (compiled.py)."""

    @property
    def lasting_cpu_s(self) -> float:
        """Processor time that another run will take too."""
        return self.cpu_s - self.compile_cpu_s


def create_run_record(ctx: RunContext, result: StepResult, usage: ResourceUsage) -> RunRecord:
    """The record of a step that is through."""
    first = result.step not in _SEEN
    _SEEN.add(result.step)
    counts, traffic = usage.counts, usage.traffic.bytes
    remote = ctx.store.folder is None  # else the store's reads are among those of files
    read = traffic.get("network", 0) + (counts.get("records_read", 0) if remote else 0)
    if result.step in READS_SCENES:
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

"""Rates of the cost estimate that ship with the package, computed from finished runs.

    python benchmarks/measure_rates.py OUT.yaml ... > s2ops/cost/rates.json

Each argument is the configuration of a finished run. The first should be a run of several tiles at a low resolution,
which measures the start of a process; the next that of `benchmarks/bench_full_tile.py` at 10 m.
docs/how-to/plan-a-run.md names the runs from which the package's figures come.
"""

import sys

from s2ops.cost.rates import SEPARATE_NETWORKS, GpuRate, Rates, StartupCost, StepRate, compute_rates
from s2ops.cost.run_history import read_run_records
from s2ops.cost.work_units import STEP_EFFORT
from s2ops.geo.region import list_region_tiles
from s2ops.run.context import RunContext
from s2ops.run.load_config import load_config

CLIENT_CPU_S_PER_MPX = 4 / 326
"""CPU seconds per million pixels: the clients took 4 cores at 326 Mpx/s (benchmarks/results/gpu-serving.md)."""

COMPACT = "through Triton on an H200, 512 px windows (benchmarks/results/gpu-serving.md)"
ACQUIRE = GpuRate(
    mpx_s=496,
    client_cpu_s_mpx=CLIENT_CPU_S_PER_MPX,
    source=f"a compact network: three requests a window, 165 each, {COMPACT}",
)
GPU = {
    "select": ACQUIRE,
    "acquire": ACQUIRE,
    "landcover": GpuRate(
        mpx_s=204, client_cpu_s_mpx=CLIENT_CPU_S_PER_MPX, source=f"the compact network of three heads, {COMPACT}"
    ),
    SEPARATE_NETWORKS: GpuRate(
        mpx_s=165,
        client_cpu_s_mpx=3.6 / 149,  # the clients took 3.6 cores at 149 Mpx/s
        source=f"three compact networks, three requests a window, {COMPACT}",
    ),
}


def main() -> None:
    """Combine the rates of all runs; write them as JSON to standard output."""
    rates: dict[tuple[str, int], StepRate] = {}
    starts: dict[str, StartupCost] = {}
    known: Rates | None = None
    for place in sys.argv[1:]:
        settings = load_config(place)
        ctx = RunContext(settings, list_region_tiles(settings.region))
        new, begun = compute_rates(read_run_records(ctx.store, [tile.name for tile in ctx.tiles]), known, packaged=True)
        rates |= {(one.step, one.resolution): one for one in new}
        starts |= {one.step: one for one in begun}
        known = Rates(
            source="the package's, measured on 2 cores of a shared machine (docs/how-to/plan-a-run.md)",
            rates=tuple(sorted(rates.values(), key=lambda one: (list(STEP_EFFORT).index(one.step), one.resolution))),
            starts=tuple(starts.values()),
            gpu=GPU,
        )
    if known is None:
        raise SystemExit(__doc__)
    sys.stdout.buffer.write(known.write())


if __name__ == "__main__":
    main()

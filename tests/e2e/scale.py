"""Scale test: a run of 10,000 tiles on a real control plane with simulated nodes, and its load on Argo and etcd.

    python -m tests.e2e.scale --tiles 10000

Real are etcd, API server, scheduler, controller manager, Argo's controller, the chart and its workflow templates.
Simulated are nodes and pods (KWOK) and the API requests of their containers (scale_executor.py). Results are in
docs/operations/scale.md.
"""

from __future__ import annotations

import argparse
import signal
import sys

from . import scale_plane as plane
from .scale_run import RunShape, measure_run, render_table


def main() -> None:
    """Start a control plane, run the chain on it, print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.scale", description=main.__doc__)
    parser.add_argument("--tiles", type=int, default=10_000, help="number of tiles of the run")
    parser.add_argument("--size", type=int, default=16, help="tiles per pod")
    parser.add_argument("--child", type=int, default=500, help="tiles per child workflow")
    parser.add_argument(
        "--stages", default="scenes,blend,landcover", help="stages that have work; the others are empty"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="working time of a simulated container in seconds")
    parser.add_argument(
        "--lost", type=float, default=0.02, help="fraction of the pods whose first attempt ends with exit code 75"
    )
    parser.add_argument("--limit", type=float, default=3600, help="time limit of the run in seconds")
    parser.add_argument(
        "--argo-defaults", action="store_true", help="use Argo's default settings instead of the recommended ones"
    )
    given = parser.parse_args()
    shape = RunShape(
        given.tiles, given.size, given.child, tuple(given.stages.split(",")), given.seconds, given.lost, given.limit
    )
    settings = plane.DEFAULT_SETTINGS if given.argo_defaults else plane.RECOMMENDED_SETTINGS
    print(f"python -m tests.e2e.scale {' '.join(sys.argv[1:])}", flush=True)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # stops what was started, as Ctrl-C does
    with plane.run_control_plane(settings, nodes=60, pods_at_once=800) as started:
        print(render_table(measure_run(started, shape)))


if __name__ == "__main__":
    main()

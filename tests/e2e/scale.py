"""A run of 10,000 tiles on a real control plane with simulated nodes: what it costs Argo and etcd (docs/operations/scale.md).

    python -m tests.e2e.scale --tiles 10000

Real: etcd, API server, scheduler, controller manager, Argo's controller, the chart and its workflow templates.
Simulated: nodes and pods (KWOK), and what the containers in them would do (scale_executor.py).
"""

from __future__ import annotations

import argparse
import signal
import sys

from . import scale_plane as plane
from .scale_run import Shape, measure, table


def main() -> None:
    """Start a control plane, run, print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.scale", description=main.__doc__)
    parser.add_argument("--tiles", type=int, default=10_000, help="tiles that are all to be made")
    parser.add_argument("--size", type=int, default=16, help="tiles a pod")
    parser.add_argument("--child", type=int, default=500, help="tiles a child workflow")
    parser.add_argument("--stages", default="scenes,blend,landcover", help="stages with work; the others find none")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long a simulated container works")
    parser.add_argument(
        "--lost", type=float, default=0.02, help="part of the pods whose first attempt ends with exit 75"
    )
    parser.add_argument("--limit", type=float, default=3600, help="seconds after which the run has failed")
    parser.add_argument("--argo-defaults", action="store_true", help="Argo's own settings, not those of our docs")
    given = parser.parse_args()
    shape = Shape(
        given.tiles, given.size, given.child, tuple(given.stages.split(",")), given.seconds, given.lost, given.limit
    )
    settings = plane.DEFAULTS if given.argo_defaults else plane.RECOMMENDED
    print(f"python -m tests.e2e.scale {' '.join(sys.argv[1:])}", flush=True)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # ends what was started, as Ctrl-C does
    with plane.running(settings, nodes=60, pods_at_once=800) as started:
        print(table(measure(started, shape)))


if __name__ == "__main__":
    main()

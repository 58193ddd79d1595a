"""Options that several commands share."""

import os
from typing import Annotated

import typer

from s2ops.telemetry.log_config import LogFormat, configure_logging
from s2ops.telemetry.metrics_server import serving

ConfigPlace = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG", help="the run's YAML file (see examples/): a path, a URI (s3://...), or - for $S2OPS_CONFIG"
    ),
]
Out = Annotated[str | None, typer.Option("--out", help="replaces `out` of the configuration")]
Where = Annotated[
    str | None, typer.Option("--segmenter", help="replaces `segmenter`: onnx, or triton://HOST:PORT of `s2ops serve`")
]


def _configure_logging(log_format: LogFormat) -> LogFormat:
    """Log in this format from here on."""
    configure_logging(log_format)
    return log_format


Format = Annotated[
    LogFormat,
    typer.Option("--log-format", callback=_configure_logging, help="text, or json lines for containers"),
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, max=256, envvar="S2OPS_THREADS", help="threads in all; default: one a core of this machine"),
]


def _serve_metrics(context: typer.Context, place: str | None) -> str | None:
    """Open the port for the time of the command."""
    context.with_resource(serving(place))
    return place


MetricsPort = Annotated[
    str | None,
    typer.Option(
        "--metrics-port",
        envvar="S2OPS_METRICS_PORT",
        metavar="[ADDRESS:]PORT",
        callback=_serve_metrics,
        help="show Prometheus what this run does, at /metrics of this port while it runs (docs/reference/metrics.md)",
    ),
]


def cores() -> int:
    """Cores that this process may use; a container's share of them is not among what Linux says here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

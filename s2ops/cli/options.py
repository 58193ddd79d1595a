"""Command-line options and help panels that several commands share."""

import os
from typing import Annotated, Final

import typer

from s2ops.telemetry.log_config import LogFormat, configure_logging
from s2ops.telemetry.metrics_server import serve_metrics

RUN_PANEL: Final = "Run"
INSPECT_PANEL: Final = "Inspect"
SINGLE_FILES_PANEL: Final = "Single files"
MODELS_PANEL: Final = "Models"
CLUSTER_PANEL: Final = "Cluster (used inside pods)"

ConfigArgument = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG",
        help="Run configuration in YAML (see examples/): path, URI (s3://...), or - for $S2OPS_CONFIG.",
    ),
]
OutOption = Annotated[
    str | None, typer.Option("--out", help="Output folder or URI; overrides `out` of the configuration.")
]
SegmenterOption = Annotated[
    str | None,
    typer.Option(
        "--segmenter", help="Inference backend; overrides `segmenter`: onnx, or triton://HOST:PORT of `s2ops serve`."
    ),
]


def _configure_logging(log_format: LogFormat) -> LogFormat:
    """Configure the log format of this process."""
    configure_logging(log_format)
    return log_format


LogFormatOption = Annotated[
    LogFormat,
    typer.Option(
        "--log-format",
        callback=_configure_logging,
        help="Format of progress and log lines on stderr: text, or json (one object per line).",
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(min=1, max=256, envvar="S2OPS_THREADS", help="Total number of threads; default: one per core."),
]


def _serve_metrics(context: typer.Context, place: str | None) -> str | None:
    """Serve metrics while the command runs."""
    context.with_resource(serve_metrics(place))
    return place


MetricsPortOption = Annotated[
    str | None,
    typer.Option(
        "--metrics-port",
        envvar="S2OPS_METRICS_PORT",
        metavar="[ADDRESS:]PORT",
        callback=_serve_metrics,
        help="Serve Prometheus metrics at /metrics of this port during the run (docs/reference/metrics.md).",
    ),
]


def count_cores() -> int:
    """Count the cores that this process may use; the CPU limit of a container is not considered."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""Inference server commands (Triton): serve, models repository."""

import signal
import tempfile
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal, Never

import typer

from s2ops.cli.models import models_app
from s2ops.cli.options import MODELS_PANEL

Device = Literal["cpu", "gpu"]
Models = Annotated[
    str | None,
    typer.Option(
        "--models",
        envvar="S2OPS_MODELS",
        help="Folder or URI of the weights of all networks; default: weights of the package.",
    ),
]
Instances = Annotated[
    int | None, typer.Option(min=1, max=64, help="Instances per network; default: 3 on a GPU, 1 on a CPU.")
]
Only = Annotated[list[str] | None, typer.Option("--only", help="Model to serve (repeatable); default: all seven.")]


def _raise_interrupt(*_: int | FrameType | None) -> Never:
    raise KeyboardInterrupt


def _serve_models(
    models: Models = None,
    device: Annotated[
        Device | None, typer.Option(help="Device for inference; default: gpu if this machine has one.")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port for gRPC.")] = 8001,
    http_port: Annotated[int, typer.Option(min=1, max=65535, help="Port for HTTP health checks.")] = 8000,
    metrics_port: Annotated[int, typer.Option(min=1, max=65535, help="Port for Prometheus metrics.")] = 8002,
    address: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 allows other machines.")] = "127.0.0.1",
    instances: Instances = None,
    only: Only = None,
    wait: Annotated[
        float, typer.Option(help="Maximum time in seconds until all networks are loaded and warmed up.")
    ] = 1800,
    exit_timeout: Annotated[
        int, typer.Option(min=0, help="Time in seconds that running requests may take at shutdown.")
    ] = 30,
    certificate: Annotated[
        Path | None, typer.Option(exists=True, help="PEM file of the TLS certificate; gRPC then requires TLS.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(exists=True, help="PEM file of the private key of the certificate.")
    ] = None,
) -> None:
    """Serve the networks with Triton on this machine, for `s2ops run --segmenter triton://HOST:PORT`."""
    from s2ops.errors import ConfigError  # noqa: PLC0415
    from s2ops.inference.triton import server as triton_server  # noqa: PLC0415 -- `s2ops --help` needs none of it

    if (certificate is None) != (key is None):
        raise ConfigError(
            "TLS needs a certificate and a key: found only one of --certificate and --key; give both PEM files."
        )
    signal.signal(signal.SIGTERM, _raise_interrupt)
    options = triton_server.ServerOptions(
        models=models or None,
        device=device or triton_server.detect_device(),
        instances=instances,
        only=tuple(only or ()),
        address=address,
        port=port,
        http_port=http_port,
        metrics_port=metrics_port,
        exit_timeout_s=exit_timeout,
        certificate=certificate,
        key=key,
    )
    try:
        with triton_server.run_server(options, wait) as server:
            typer.echo(f"ready at {server.url} on the {options.device}; end with Ctrl-C")
            server.watch()
    except KeyboardInterrupt:
        typer.echo("ended")


@models_app.command("repository")
def _write_repository(
    out: Annotated[Path, typer.Argument(help="Folder to write, or to compare with --check.")],
    models: Models = None,
    device: Annotated[Device, typer.Option(help="Device for inference.")] = "gpu",
    instances: Instances = None,
    only: Only = None,
    check: Annotated[bool, typer.Option("--check", help="Compare OUT without writing; exit 1 if it differs.")] = False,
) -> None:
    """Write the Triton model repository for the weights: configurations and versions."""
    from s2ops.inference.triton import model_repository  # noqa: PLC0415

    def write(folder: Path) -> None:
        for served in model_repository.write_repository(folder, models or None, device, instances, tuple(only or ())):
            if not check:
                typer.echo(f"{out / served.model} {served.version}")

    if not check:
        write(out)
        return
    with tempfile.TemporaryDirectory() as fresh:
        write(Path(fresh))
        found = model_repository.list_differences(out, Path(fresh))
    for name in found:
        typer.echo(f"{out / name} does not match the weights: run `make repository`.")
    raise typer.Exit(1 if found else 0)


def register_commands(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("serve", rich_help_panel=MODELS_PANEL)(_serve_models)

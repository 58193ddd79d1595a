"""Commands about the inference server: serve, models repository."""

import signal
import tempfile
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal, Never

import typer

from s2ops.cli.models import models

Device = Literal["cpu", "gpu"]
Models = Annotated[
    str | None,
    typer.Option("--models", envvar="S2OPS_MODELS", help="folder or URI of the six weights; default: the package's"),
]
Instances = Annotated[
    int | None, typer.Option(min=1, max=64, help="processes a network; default: 3 on a GPU, 1 on a CPU")
]
Only = Annotated[list[str] | None, typer.Option("--only", help="this model alone; repeat for more; default: all seven")]


def _end(*_: int | FrameType | None) -> Never:
    raise KeyboardInterrupt


def _serve(
    models: Models = None,
    device: Annotated[Device | None, typer.Option(help="default: what this machine has")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="gRPC")] = 8001,
    http_port: Annotated[int, typer.Option(min=1, max=65535, help="health")] = 8000,
    metrics_port: Annotated[int, typer.Option(min=1, max=65535, help="Prometheus metrics")] = 8002,
    address: Annotated[str, typer.Option(help="0.0.0.0 for other machines too")] = "127.0.0.1",
    instances: Instances = None,
    only: Only = None,
    wait: Annotated[float, typer.Option(help="seconds until all networks must be loaded and warm")] = 1800,
    exit_timeout: Annotated[int, typer.Option(min=0, help="seconds that requests in flight get at the end")] = 30,
    certificate: Annotated[Path | None, typer.Option(exists=True, help="PEM file: gRPC by TLS alone")] = None,
    key: Annotated[Path | None, typer.Option(exists=True, help="PEM file of the certificate's key")] = None,
) -> None:
    """Serve all networks from one Triton on this machine, for `s2ops run --segmenter triton://HOST:PORT`."""
    from s2ops.errors import ConfigError  # noqa: PLC0415
    from s2ops.inference.triton import server as triton_server  # noqa: PLC0415 -- `s2ops --help` needs none of it

    if (certificate is None) != (key is None):
        raise ConfigError("TLS needs both --certificate and --key: give the PEM files of both")
    signal.signal(signal.SIGTERM, _end)
    options = triton_server.Options(
        models=models or None,
        device=device or triton_server.usual_device(),
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
        with triton_server.serving(options, wait) as server:
            typer.echo(f"ready at {server.url} on the {options.device}; end with Ctrl-C")
            server.watch()
    except KeyboardInterrupt:
        typer.echo("ended")


@models.command("repository")
def _repository(
    out: Annotated[Path, typer.Argument(help="folder to write, or with --check to compare")],
    models: Models = None,
    device: Annotated[Device, typer.Option(help="where the networks are to run")] = "gpu",
    instances: Instances = None,
    only: Only = None,
    check: Annotated[bool, typer.Option("--check", help="write nothing; exit 1 where OUT differs")] = False,
) -> None:
    """Write the Triton model repository over the weights: configurations and versions."""
    from s2ops.inference.triton import model_repository  # noqa: PLC0415

    def write(folder: Path) -> None:
        for served in model_repository.write(folder, models or None, device, instances, tuple(only or ())):
            if not check:
                typer.echo(f"{out / served.model} {served.version}")

    if not check:
        write(out)
        return
    with tempfile.TemporaryDirectory() as fresh:
        write(Path(fresh))
        found = model_repository.drift(out, Path(fresh))
    for name in found:
        typer.echo(f"{out / name} does not fit the weights: run `make repository`")
    raise typer.Exit(1 if found else 0)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("serve")(_serve)

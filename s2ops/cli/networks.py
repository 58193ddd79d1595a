"""Commands about the networks: train, models."""

from pathlib import Path
from typing import Annotated

import typer

from s2ops.errors import ConfigError

models = typer.Typer(help="List, pull and push weights, with their checksums.", no_args_is_help=True)

Networks = Annotated[list[str] | None, typer.Argument(help="networks; default: all that lie there")]


def _train(
    network: Annotated[
        str, typer.Argument(help="preview-cloud, preview-haze, scene-cloud, water, vegetation, building")
    ],
    config: Annotated[Path, typer.Option("--config", help="training YAML; see examples/train/")],
    out: Annotated[Path, typer.Option("--out", help="folder for checkpoints, curve and weights")] = Path("train"),
) -> None:
    """Train one network and export it as ONNX with its metadata; continues where it was stopped."""
    try:
        from s2ops.models.train import train_command  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigError(f"training needs {error.name}: pip install 's2ops[torch]'") from error
    train_command(network, config, out)


@models.command("list")
def _list(
    uri: Annotated[str | None, typer.Argument(help="folder or URI; default: the package's weights")] = None,
) -> None:
    """Version, width, size, temperature, SHA-256 and scores of each network."""
    from s2ops.models import library  # noqa: PLC0415

    for line in library.table(library.entries(uri)):
        typer.echo(line)


@models.command("pull")
def _pull(
    uri: Annotated[str, typer.Argument(help="folder or URI that `s2ops models push` wrote")],
    networks: Networks = None,
    out: Annotated[Path, typer.Option("--out", help="folder to put them in; give it as `models`")] = Path("models"),
) -> None:
    """Fetch weights and check each against the manifest's checksum."""
    from s2ops.models import library  # noqa: PLC0415

    for entry in library.pull(uri, out, networks or ()):
        typer.echo(f"{out / entry.key} {entry.sha256}")


@models.command("push")
def _push(
    uri: Annotated[str, typer.Argument(help="folder, file://, s3://, gs:// or az:// URI")],
    source: Annotated[str | None, typer.Option("--from", help="folder of NETWORK.onnx; default: the package's")] = None,
) -> None:
    """Copy weights to an object store, with a manifest of checksums."""
    from s2ops.models import library  # noqa: PLC0415

    for entry in library.push(source, uri):
        typer.echo(f"{uri.rstrip('/')}/{entry.key} {entry.sha256}")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("train")(_train)
    app.add_typer(models, name="models")

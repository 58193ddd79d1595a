"""Commands about the networks: train."""

from pathlib import Path
from typing import Annotated

import typer

from s2ops.errors import ConfigError


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


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("train")(_train)

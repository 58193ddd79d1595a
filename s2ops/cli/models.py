"""Model commands: train, score, models (list, pull, push)."""

from pathlib import Path
from typing import Annotated

import typer

from s2ops.cli.options import MODELS_PANEL
from s2ops.errors import ConfigError

models_app = typer.Typer(help="List, pull and push model weights with their checksums.", no_args_is_help=True)

Networks = Annotated[list[str] | None, typer.Argument(help="Names of networks; default: all in the store.")]


def _train_network(
    network: Annotated[
        str, typer.Argument(help="Network: preview-cloud, preview-haze, scene-cloud, water, vegetation or building.")
    ],
    config: Annotated[Path, typer.Option("--config", help="Training configuration in YAML (see examples/train/).")],
    out: Annotated[Path, typer.Option("--out", help="Folder for checkpoints, learning curve and weights.")] = Path(
        "train"
    ),
) -> None:
    """Train one network and export it as ONNX with its metadata; an interrupted training continues."""
    try:
        from s2ops.training.train import train_command  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigError(f"training needs the package {error.name}: run pip install 's2ops[torch]'.") from error
    train_command(network, config, out)


def _score_networks(
    data: Annotated[
        Path | None, typer.Option("--data", envvar="S2OPS_REAL_DATA", help="Folder of the real scenes and labels.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Score a small part in less than a minute, without writing files.")
    ] = False,
    check: Annotated[
        Path | None,
        typer.Option("--check", help="scorecard.json to compare the quick scores with; exit 1 if they differ."),
    ] = None,
    all_classes: Annotated[
        str | None,
        typer.Option(
            "--all-classes",
            help="Folder with all-classes.onnx, the single network to compare with the three networks; default: "
            "weights of the package.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for scorecard.md and scorecard.json.")] = Path(
        "docs/reference"
    ),
) -> None:
    """Score all networks and other methods on the same pixels, and write the scorecard."""
    from s2ops.evaluation import scorecard, scorecard_page  # noqa: PLC0415

    committed = None if check is None else scorecard.read_scorecard(check)
    if data is None:
        _print_progress("only simulated scenes: give --data or S2OPS_REAL_DATA for real scenes")
    small = scorecard.run_scorecard(data, quick=True, report=_print_progress)
    if quick or committed is not None:
        for line in scorecard_page.format_lines(small.figures):
            typer.echo(line)
        found = [] if committed is None else scorecard.find_drift(committed, small, scorecard.hash_weights())
        for line in found:
            typer.echo(f"drift: {line}")
        raise typer.Exit(1 if found else 0)
    compared = all_classes or _find_packaged_all_classes()
    full = scorecard.run_scorecard(data, quick=False, report=_print_progress, all_classes=compared)
    if compared is None and (out / "scorecard.json").exists():
        full = scorecard.keep_network_comparison(
            full, scorecard.read_scorecard(out / "scorecard.json"), scorecard.hash_weights()
        )
    scorecard.write_scorecard(scorecard.Scorecard(weights=scorecard.hash_weights(), full=full, quick=small), out)
    for line in scorecard_page.format_lines(full.figures):
        typer.echo(line)


def _find_packaged_all_classes() -> str | None:
    """Return the folder of the package's weights if it contains all-classes.onnx."""
    from s2ops.models.registry import PACKAGE_WEIGHTS  # noqa: PLC0415

    return str(PACKAGE_WEIGHTS) if (PACKAGE_WEIGHTS / "all-classes.onnx").is_file() else None


def _print_progress(text: str) -> None:
    typer.echo(f"scoring {text}", err=True)


@models_app.command("list")
def _list_models(
    uri: Annotated[
        str | None, typer.Argument(help="Folder or URI of the weights; default: weights of the package.")
    ] = None,
) -> None:
    """List version, width, size, temperature, SHA-256 and scores of each network."""
    from s2ops.models import model_store  # noqa: PLC0415

    for line in model_store.format_table(model_store.list_entries(uri)):
        typer.echo(line)


@models_app.command("pull")
def _pull_models(
    uri: Annotated[str, typer.Argument(help="Folder or URI that `s2ops models push` has written.")],
    networks: Networks = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the weights; set `models` to it.")] = Path("models"),
) -> None:
    """Download weights and verify the checksum of each against the manifest."""
    from s2ops.models import model_store  # noqa: PLC0415

    for entry in model_store.pull_weights(uri, out, networks or ()):
        typer.echo(f"{out / entry.key} {entry.sha256}")


@models_app.command("push")
def _push_models(
    uri: Annotated[str, typer.Argument(help="Destination: folder, or URI (file://, s3://, gs://, az://).")],
    source: Annotated[
        str | None, typer.Option("--from", help="Folder of NETWORK.onnx files; default: weights of the package.")
    ] = None,
) -> None:
    """Copy weights to a folder or object store, with a manifest of checksums."""
    from s2ops.models import model_store  # noqa: PLC0415

    for entry in model_store.push_weights(source, uri):
        typer.echo(f"{uri.rstrip('/')}/{entry.key} {entry.sha256}")


def register_commands(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("train", rich_help_panel=MODELS_PANEL)(_train_network)
    app.command("score", rich_help_panel=MODELS_PANEL)(_score_networks)
    app.add_typer(models_app, name="models", rich_help_panel=MODELS_PANEL)

"""Commands about the networks: train, score, models."""

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
        from s2ops.training.train import train_command  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigError(f"training needs {error.name}: pip install 's2ops[torch]'") from error
    train_command(network, config, out)


def _score(
    data: Annotated[
        Path | None, typer.Option("--data", envvar="S2OPS_REAL_DATA", help="folder of the real data")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="a small part, under a minute; writes nothing")] = False,
    check: Annotated[
        Path | None, typer.Option("--check", help="scorecard.json to compare the quick part with; exit 1 on drift")
    ] = None,
    all_classes: Annotated[
        str | None,
        typer.Option("--all-classes", help="folder with all-classes.onnx, to compare the three networks with"),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="folder of scorecard.md and scorecard.json")] = Path("docs/reference"),
) -> None:
    """Score every network, next to what others do on the same pixels, and write the scorecard."""
    from s2ops.evaluation import scorecard, scorecard_page  # noqa: PLC0415

    committed = None if check is None else scorecard.read(check)
    if data is None:
        _note("the simulated world alone: give --data or S2OPS_REAL_DATA for real scenes too")
    small = scorecard.run(data, quick=True, say=_note)
    if quick or committed is not None:
        for line in scorecard_page.lines(small.figures):
            typer.echo(line)
        found = [] if committed is None else scorecard.drift(committed, small, scorecard.weights())
        for line in found:
            typer.echo(f"drift: {line}")
        raise typer.Exit(1 if found else 0)
    full = scorecard.run(data, quick=False, say=_note, all_classes=all_classes)
    if all_classes is None and (out / "scorecard.json").exists():
        full = scorecard.with_claim(full, scorecard.read(out / "scorecard.json"), scorecard.weights())
    scorecard.write(scorecard.Card(weights=scorecard.weights(), full=full, quick=small), out)
    for line in scorecard_page.lines(full.figures):
        typer.echo(line)


def _note(text: str) -> None:
    typer.echo(f"scoring {text}", err=True)


@models.command("list")
def _list(
    uri: Annotated[str | None, typer.Argument(help="folder or URI; default: the package's weights")] = None,
) -> None:
    """Version, width, size, temperature, SHA-256 and scores of each network."""
    from s2ops.models import model_store  # noqa: PLC0415

    for line in model_store.table(model_store.entries(uri)):
        typer.echo(line)


@models.command("pull")
def _pull(
    uri: Annotated[str, typer.Argument(help="folder or URI that `s2ops models push` wrote")],
    networks: Networks = None,
    out: Annotated[Path, typer.Option("--out", help="folder to put them in; give it as `models`")] = Path("models"),
) -> None:
    """Fetch weights and check each against the manifest's checksum."""
    from s2ops.models import model_store  # noqa: PLC0415

    for entry in model_store.pull(uri, out, networks or ()):
        typer.echo(f"{out / entry.key} {entry.sha256}")


@models.command("push")
def _push(
    uri: Annotated[str, typer.Argument(help="folder, file://, s3://, gs:// or az:// URI")],
    source: Annotated[str | None, typer.Option("--from", help="folder of NETWORK.onnx; default: the package's")] = None,
) -> None:
    """Copy weights to an object store, with a manifest of checksums."""
    from s2ops.models import model_store  # noqa: PLC0415

    for entry in model_store.push(source, uri):
        typer.echo(f"{uri.rstrip('/')}/{entry.key} {entry.sha256}")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("train")(_train)
    app.command("score")(_score)
    app.add_typer(models, name="models")

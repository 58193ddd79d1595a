"""Commands that run the chain: run, step, plan, simulate, schema."""

import json
import os
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

import typer

from s2ops.cli.options import ConfigPlace, Format, MetricsPort, Out, Threads, Where, cores
from s2ops.cli.progress import reporter
from s2ops.config import RunConfig
from s2ops.errors import ConfigError
from s2ops.run.load_config import load_config


def _run(
    config: ConfigPlace,
    out: Out = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="processes; default: one a core, at most one a tile")
    ] = None,
    segmenter: Where = None,
    freeze: Annotated[
        bool, typer.Option("--freeze", help="balanced tiles keep their corrections, new ones join them")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="refresh: take only scenes from this day on that improve a tile"),
    ] = None,
    log_format: Format = "text",
    _metrics_port: MetricsPort = None,
) -> None:
    """Run the whole chain on this machine: plan, select, acquire, composite, balance, blend, landcover, publish."""
    from s2ops.geo.region import list_region_tiles  # noqa: PLC0415
    from s2ops.pipeline import local_engine  # noqa: PLC0415 -- `s2ops --help` needs no GDAL
    from s2ops.run import missing_tiles  # noqa: PLC0415 -- `s2ops --help` needs no GDAL
    from s2ops.run.context import RunContext  # noqa: PLC0415

    settings = load_config(config, out=out, segmenter=segmenter, freeze="true" if freeze else None, since=since)
    tiles = list_region_tiles(settings.region)
    count = workers or min(cores(), len(tiles))
    progress = reporter(log_format)
    try:
        ran = local_engine.run(settings, tiles, count, max(1, cores() // count), progress)
    finally:
        progress.close()
    if not ran:
        typer.echo("Nothing to do: every output is up to date.")
    _say_where(settings)
    missing_tiles.raise_if_incomplete(RunContext(settings, tiles))


def _say_where(settings: RunConfig) -> None:
    base = settings.out.rstrip("/")
    typer.echo(f"mosaic      {base}/mosaic/")
    if settings.landcover.enabled:
        typer.echo(f"land cover  {base}/landcover/")
    typer.echo(f"catalog     {base}/catalog.json")
    typer.echo(f"report      {base}/report/index.html")
    typer.echo(f"map         s2ops view {base}")


def _step(
    name: Annotated[str, typer.Argument(help="plan, select, acquire, composite, balance, blend, landcover or publish")],
    config: ConfigPlace,
    tile: Annotated[
        list[str] | None, typer.Option("--tile", help="only these tiles; default: all of the run")
    ] = None,
    out: Out = None,
    segmenter: Where = None,
    threads: Threads = None,
    log_format: Format = "text",
    _metrics_port: MetricsPort = None,
) -> None:
    """Run one step of the chain for some tiles: what a container does."""
    from s2ops.geo.region import list_region_tiles  # noqa: PLC0415
    from s2ops.pipeline import step_runner  # noqa: PLC0415
    from s2ops.pipeline.steps import WholeStep, by_name  # noqa: PLC0415
    from s2ops.run import missing_tiles  # noqa: PLC0415
    from s2ops.run.context import RunContext  # noqa: PLC0415

    settings = load_config(config, out=out, segmenter=segmenter)
    ctx = RunContext(settings, list_region_tiles(settings.region), threads or cores())
    stage = by_name(name)
    known = [one.name for one in ctx.tiles]
    if unknown := sorted(set(tile or ()) - set(known)):
        raise ConfigError(f"--tile {', '.join(unknown)}: not in the run's region; it has {', '.join(known)}")
    stage.check(ctx)
    progress = reporter(log_format)
    errors = []
    for one in ["all"] if isinstance(stage, WholeStep) else tile or known:
        outcome = step_runner.run_steps(ctx, [name], one)
        outcome.tell(progress)
        errors += [outcome.error] if outcome.error is not None else []
    progress.close()
    step_runner.raise_first_fatal(errors)
    if errors:
        raise errors[0]
    if name == "publish":
        missing_tiles.raise_if_incomplete(ctx)


def _simulate(
    out: Annotated[Path, typer.Argument(help="folder to write the catalog, its scenes and the truth to")],
    tiles: Annotated[list[str] | None, typer.Option("--tile", help="MGRS tiles; repeat for more")] = None,
    start: Annotated[str, typer.Option(help="first date")] = "2023-06-02",
    dates: Annotated[int, typer.Option(min=1, max=200, help="number of dates")] = 6,
    every: Annotated[int, typer.Option(min=1, max=365, help="days between dates")] = 10,
    resolution: Annotated[int, typer.Option(help="metres a pixel: 10, 20, 60 or 120")] = 120,
    seed: Annotated[int, typer.Option(help="another seed is another world")] = 1,
    cloudiness: Annotated[float, typer.Option(min=0, max=1, help="mean cloud cover")] = 0.35,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="processes; default: one a core")] = None,
) -> None:
    """Make a simulated world: a STAC catalog of real COGs, with the truth beside it."""
    from s2ops.geo.mgrs_tiles import parse_tile  # noqa: PLC0415
    from s2ops.simulate.writer import simulate  # noqa: PLC0415

    first = _day(start)
    days = [first + timedelta(days=number * every) for number in range(dates)]
    chosen = [parse_tile(name) for name in tiles or ("33TWL", "33TWM")]
    path = simulate(
        out,
        chosen,
        days,
        resolution,
        seed,
        cloudiness=cloudiness,
        workers=workers or min(os.cpu_count() or 1, len(chosen)),
    )
    typer.echo(f"catalog {path}")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--start {text!r} is no date; write it like 2023-06-02") from error


def _schema() -> None:
    """Print the JSON schema of the run configuration, for editors."""
    typer.echo(json.dumps(RunConfig.model_json_schema(), indent=2))


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("run")(_run)
    app.command("step")(_step)
    app.command("simulate")(_simulate)
    app.command("schema")(_schema)

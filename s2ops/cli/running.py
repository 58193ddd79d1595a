"""Commands that run the chain: run, step, plan, simulate, schema."""

import json
import os
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

import typer

from s2ops.cli.progress import LogFormat, reporter
from s2ops.config import RunConfig, load
from s2ops.errors import ConfigError

ConfigPath = Annotated[Path, typer.Argument(help="the run's YAML file; see examples/")]
Out = Annotated[str | None, typer.Option("--out", help="replaces `out` of the configuration")]
Format = Annotated[LogFormat, typer.Option("--log-format", help="text, or json lines for containers")]


def _run(
    config: ConfigPath,
    out: Out = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="processes; default: one a core, at most one a tile")
    ] = None,
    log_format: Format = "text",
) -> None:
    """Run the whole chain on this machine: plan, select, acquire, composite, balance, blend, landcover, publish."""
    from s2ops import engine  # noqa: PLC0415 -- `s2ops --help` needs no GDAL
    from s2ops.region import tiles_of  # noqa: PLC0415

    settings = load(config, out=out)
    tiles = tiles_of(settings.region)
    cores = os.cpu_count() or 1
    count = workers or min(cores, len(tiles))
    progress = reporter(log_format)
    try:
        ran = engine.run(settings, tiles, count, max(1, cores // count), progress)
    finally:
        progress.close()
    if not ran:
        typer.echo("Nothing to do: every output is up to date.")
    _say_where(settings)


def _say_where(settings: RunConfig) -> None:
    base = settings.out.rstrip("/")
    typer.echo(f"mosaic      {base}/mosaic/")
    if settings.landcover.enabled:
        typer.echo(f"land cover  {base}/landcover/")
    typer.echo(f"catalog     {base}/catalog.json")
    typer.echo(f"report      {base}/report/index.html")


def _step(
    name: Annotated[str, typer.Argument(help="plan, select, acquire, composite, balance, blend, landcover or publish")],
    config: ConfigPath,
    tile: Annotated[list[str] | None, typer.Option("--tile", help="only these tiles; default: all of the run")] = None,
    out: Out = None,
    log_format: Format = "text",
) -> None:
    """Run one step of the chain for some tiles: what a container does."""
    from s2ops import engine  # noqa: PLC0415
    from s2ops.job import Job, StepResult  # noqa: PLC0415
    from s2ops.region import tiles_of  # noqa: PLC0415
    from s2ops.steps import WholeStep, by_name  # noqa: PLC0415

    settings = load(config, out=out)
    job = Job(settings, tiles_of(settings.region), os.cpu_count() or 1)
    stage = by_name(name)
    known = {one.name: one for one in job.tiles}
    if unknown := sorted(set(tile or ()) - set(known)):
        raise ConfigError(f"--tile {', '.join(unknown)}: not in the run's region; it has {', '.join(known)}")
    progress = reporter(log_format)
    names = ["all"] if isinstance(stage, WholeStep) else list(tile or known)
    for one in names:
        done = stage.done(job) if isinstance(stage, WholeStep) else stage.done(job, known[one])
        progress.tile(StepResult(name, one, "skipped") if done else engine.step_once(job, name, one))
    progress.close()


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
    from s2ops.grid import tile  # noqa: PLC0415
    from s2ops.simulate.write import simulate  # noqa: PLC0415

    first = _day(start)
    days = [first + timedelta(days=number * every) for number in range(dates)]
    chosen = [tile(name) for name in tiles or ("33TWL", "33TWM")]
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

"""Run commands: run, simulate, schema."""

import json
import os
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

import typer

from s2ops.cli.options import (
    RUN_PANEL,
    ConfigArgument,
    LogFormatOption,
    MetricsPortOption,
    OutOption,
    SegmenterOption,
    count_cores,
)
from s2ops.cli.progress import build_progress
from s2ops.config import RunConfig
from s2ops.errors import ConfigError
from s2ops.run.load_config import load_config


def _run_chain(
    config: ConfigArgument,
    out: OutOption = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Number of worker processes; default: one per core, at most one per tile."),
    ] = None,
    segmenter: SegmenterOption = None,
    freeze: Annotated[
        bool, typer.Option("--freeze", help="Keep the corrections of balanced tiles and adapt new tiles to them.")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Refresh a mosaic: use only scenes from this day on that improve a tile."),
    ] = None,
    log_format: LogFormatOption = "text",
    _metrics_port: MetricsPortOption = None,
) -> None:
    """Run the whole chain on this machine: plan, select, acquire, composite, balance, blend, landcover, publish."""
    from s2ops.geo.region import list_region_tiles  # noqa: PLC0415
    from s2ops.pipeline import local_engine  # noqa: PLC0415 -- `s2ops --help` needs no GDAL
    from s2ops.run import missing_tiles  # noqa: PLC0415 -- `s2ops --help` needs no GDAL
    from s2ops.run.context import RunContext  # noqa: PLC0415

    settings = load_config(config, out=out, segmenter=segmenter, freeze="true" if freeze else None, since=since)
    tiles = list_region_tiles(settings.region)
    count = workers or min(count_cores(), len(tiles))
    progress = build_progress(log_format)
    try:
        ran = local_engine.run_chain(settings, tiles, count, max(1, count_cores() // count), progress)
    finally:
        progress.close()
    if not ran:
        typer.echo("Nothing to do: every output is up to date.")
    _print_output_places(settings)
    missing_tiles.raise_if_incomplete(RunContext(settings, tiles))


def _print_output_places(settings: RunConfig) -> None:
    base = settings.out.rstrip("/")
    typer.echo(f"mosaic      {base}/mosaic/")
    if settings.landcover.enabled:
        typer.echo(f"land cover  {base}/landcover/")
    typer.echo(f"catalog     {base}/catalog.json")
    typer.echo(f"report      {base}/report/index.html")
    typer.echo(f"map         s2ops view {base}")


def _simulate(
    out: Annotated[Path, typer.Argument(help="Folder for the catalog, its scenes and the ground truth.")],
    tiles: Annotated[
        list[str] | None, typer.Option("--tile", help="MGRS tile (repeatable); default: 33TWL and 33TWM.")
    ] = None,
    start: Annotated[str, typer.Option(help="First acquisition date.")] = "2023-06-02",
    dates: Annotated[int, typer.Option(min=1, max=200, help="Number of acquisition dates.")] = 6,
    every: Annotated[int, typer.Option(min=1, max=365, help="Interval between dates in days.")] = 10,
    resolution: Annotated[int, typer.Option(help="Pixel size in metres: 10, 20, 60 or 120.")] = 120,
    seed: Annotated[int, typer.Option(help="Random seed of the simulated world.")] = 1,
    cloudiness: Annotated[float, typer.Option(min=0, max=1, help="Mean cloud cover, 0 to 1.")] = 0.35,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Number of processes; default: one per core.")
    ] = None,
) -> None:
    """Simulate a world: a STAC catalog of Cloud Optimized GeoTIFFs, with ground truth."""
    from s2ops.geo.mgrs_tiles import parse_tile  # noqa: PLC0415
    from s2ops.simulate.writer import simulate  # noqa: PLC0415

    first = _parse_start_date(start)
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


def _parse_start_date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--start {text!r} is not a valid date; write it like 2023-06-02.") from error


def _print_schema() -> None:
    """Print the JSON schema of the run configuration (for editors)."""
    typer.echo(json.dumps(RunConfig.model_json_schema(), indent=2))


def register_commands(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("run", rich_help_panel=RUN_PANEL)(_run_chain)
    app.command("simulate", rich_help_panel=RUN_PANEL)(_simulate)
    app.command("schema", rich_help_panel=RUN_PANEL)(_print_schema)

"""Inspect commands (read a finished run): explain, verify, view, truth, areas."""

from pathlib import Path
from typing import Annotated

import typer

from s2ops.cli.options import INSPECT_PANEL, count_cores
from s2ops.errors import InputError
from s2ops.storage import layout

RunUri = Annotated[str, typer.Argument(help="Output of the run (`out`): folder or URI.")]


def _explain_selection(
    out: RunUri,
    tile: Annotated[str, typer.Argument(help="MGRS tile, such as 33TWL.")],
    picture: Annotated[Path | None, typer.Option(help="PNG file to write; default: explain-TILE.png.")] = None,
) -> None:
    """Explain why each scene of a tile was selected or rejected, and draw the previews with their masks."""
    from rich.console import Console  # noqa: PLC0415

    from s2ops.raster.reader import read_all  # noqa: PLC0415
    from s2ops.records import SelectRecord  # noqa: PLC0415
    from s2ops.selection import explain  # noqa: PLC0415
    from s2ops.storage.object_store import Store  # noqa: PLC0415

    store, keys = Store(out), layout.TileKeys(tile)
    data = store.get(keys.selection)
    if data is None:
        raise InputError(f"{out} has no {keys.selection}: give a tile of the run for which select has run.")
    record = SelectRecord.read(data, keys.selection)
    typer.echo(explain.format_headline(record))
    Console().print(explain.build_table(record))
    for line in explain.list_reasons(record):
        typer.echo(line)
    if record.candidates:
        path = picture or Path(f"explain-{tile}.png")
        previews = read_all(store.get_gdal_path(keys.previews))
        explain.draw_previews(record, previews.reshape(-1, 4, *previews.shape[1:])).save(path)
        typer.echo(f"picture {path}")


def _verify_run(
    out: RunUri,
    max_seam: Annotated[
        float, typer.Option(help="Maximum excess step at a seam after blending; 1 is invisible.")
    ] = 1.25,
) -> None:
    """Verify all outputs of a run and print each finding; exit 1 if there are errors."""
    from s2ops.quality.verify import verify  # noqa: PLC0415
    from s2ops.storage.object_store import Store  # noqa: PLC0415

    findings = verify(Store(out), max_seam=max_seam)
    for finding in findings:
        typer.echo(f"{finding.severity}: {finding.key}: {finding.message}")
    errors = sum(finding.severity == "error" for finding in findings)
    typer.echo(f"{errors} errors, {len(findings) - errors} warnings")
    if errors:
        raise typer.Exit(1)


def _compare_with_truth(
    out: Annotated[str, typer.Argument(help="Output folder of the run.")],
    world: Annotated[Path, typer.Argument(help="Folder of the simulated world (contains truth/).")],
) -> None:
    """Compare a run on simulated scenes with their ground truth, and add the scores to the run's report."""
    from s2ops.report import build_report  # noqa: PLC0415
    from s2ops.simulate.scoring import format_scores, score_run  # noqa: PLC0415
    from s2ops.storage.done_marker import read_json, to_json  # noqa: PLC0415
    from s2ops.storage.object_store import Store  # noqa: PLC0415

    store = Store(out)
    plan = read_json(store, layout.PLAN)
    if store.folder is None or plan is None:
        raise InputError(f"{out} is not a local folder of a run: give the folder that s2ops run wrote.")
    scores = score_run(store.folder, world)
    for line in format_scores(scores):
        typer.echo(line)
    store.put(layout.SCORES, to_json(scores))
    store.put(layout.REPORT, build_report(store, sorted(plan["tiles"])).encode())


def _view_run(
    out: RunUri,
    compare: Annotated[str | None, typer.Option(help="Second run, for a swipe comparison.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the web server; 0 selects a free port.")] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 allows other machines.")] = "127.0.0.1",
    browse: Annotated[bool, typer.Option("--open", help="Open the map in the browser.")] = False,
    basemap: Annotated[
        str | None, typer.Option(help="URL of background map tiles, such as https://tiles.example.org/{z}/{x}/{y}.png.")
    ] = None,
    credit: Annotated[str, typer.Option(help="Attribution text for the basemap.")] = "",
) -> None:
    """Show a run on a map: mosaic, land cover, dates, seams, tiles, scene lists (docs/how-to/view-a-run.md)."""
    try:
        from s2ops.view import server  # noqa: PLC0415
        from s2ops.view.basemap import Basemap  # noqa: PLC0415
        from s2ops.view.run import ViewedRun  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("s2ops"):
            raise
        raise InputError(f"s2ops view needs the package {error.name}: run pip install 's2ops[view]'.") from error

    below = Basemap.from_url(basemap, credit) if basemap else None
    runs = {name: ViewedRun(place) for name, place in (("a", out), ("b", compare)) if place}
    server.serve(runs, server.open_listening_socket(host, port), below, max(2, min(8, 2 * count_cores())), browse)


def _print_areas(
    out: RunUri,
    polygons: Annotated[
        Path | None, typer.Option(help="GeoJSON or GeoPackage with polygons: one row per polygon instead of per tile.")
    ] = None,
    attribute: Annotated[str, typer.Option(help="Attribute with the names of the polygons.")] = "name",
    resolution: Annotated[
        int | None,
        typer.Option(
            min=1, help="Pixel size in metres: read overviews, which is faster but less exact; default: all pixels."
        ),
    ] = None,
    to: Annotated[
        list[Path] | None,
        typer.Option("--to", help="File to write, .csv or .parquet (repeatable); default: print CSV."),
    ] = None,
) -> None:
    """Print area and mean confidence of each land-cover class by tile or polygon; overlaps count once."""
    from s2ops.geo.polygon_files import read_polygons  # noqa: PLC0415
    from s2ops.landcover import area_tables, areas  # noqa: PLC0415
    from s2ops.storage.object_store import Store  # noqa: PLC0415

    store = Store(out)
    if polygons is None:
        rows = list(areas.measure_tile_areas(store, resolution))
    else:
        rows = areas.measure_polygon_areas(store, *read_polygons(polygons, attribute), resolution)
    for path in to or ():
        area_tables.write_table(rows, path)
        typer.echo(f"wrote {path}")
    if not to:
        typer.echo(area_tables.to_csv(rows), nl=False)


def register_commands(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("explain", rich_help_panel=INSPECT_PANEL)(_explain_selection)
    app.command("verify", rich_help_panel=INSPECT_PANEL)(_verify_run)
    app.command("view", rich_help_panel=INSPECT_PANEL)(_view_run)
    app.command("truth", rich_help_panel=INSPECT_PANEL)(_compare_with_truth)
    app.command("areas", rich_help_panel=INSPECT_PANEL)(_print_areas)

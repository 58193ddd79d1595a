"""Commands that look at a run: explain, verify, truth."""

from pathlib import Path
from typing import Annotated

import typer

from s2ops.errors import InputError

RunUri = Annotated[str, typer.Argument(help="the run's `out`: a folder or URI")]


def _explain(
    out: RunUri,
    tile: Annotated[str, typer.Argument(help="MGRS tile, such as 33TWL")],
    picture: Annotated[Path | None, typer.Option(help="where to put the PNG; default: explain-TILE.png here")] = None,
) -> None:
    """Say why each scene of a tile was taken or left, and draw the previews with their masks."""
    from rich.console import Console  # noqa: PLC0415

    from s2ops import explain  # noqa: PLC0415
    from s2ops.raster import read_all  # noqa: PLC0415
    from s2ops.records import SelectRecord  # noqa: PLC0415
    from s2ops.store import Store  # noqa: PLC0415

    store, key = Store(out), f"select/{tile}.json"
    data = store.get(key)
    if data is None:
        raise InputError(f"{out} has no {key}: is {tile} a tile of that run, and has select run?")
    record = SelectRecord.read(data, key)
    typer.echo(explain.headline(record))
    Console().print(explain.table(record))
    for line in explain.reasons(record):
        typer.echo(line)
    if record.candidates:
        path = picture or Path(f"explain-{tile}.png")
        previews = read_all(store.gdal(f"select/{tile}.previews.tif"))
        explain.picture(record, previews.reshape(-1, 4, *previews.shape[1:])).save(path)
        typer.echo(f"picture {path}")


def _verify(
    out: RunUri,
    max_seam: Annotated[float, typer.Option(help="largest excess step allowed after blending")] = 1.25,
) -> None:
    """Read everything again and name what is wrong; exit 1 if anything is."""
    from s2ops.store import Store  # noqa: PLC0415
    from s2ops.verify import verify  # noqa: PLC0415

    findings = verify(Store(out), max_seam=max_seam)
    for finding in findings:
        typer.echo(f"{finding.severity}: {finding.key}: {finding.message}")
    errors = sum(finding.severity == "error" for finding in findings)
    typer.echo(f"{errors} errors, {len(findings) - errors} warnings")
    if errors:
        raise typer.Exit(1)


def _truth(
    out: Annotated[str, typer.Argument(help="folder of the run")],
    world: Annotated[Path, typer.Argument(help="folder of the simulated world, with truth/")],
) -> None:
    """Compare a run over a simulated world with its truth, and show the figures in the run's report too."""
    from s2ops import keys  # noqa: PLC0415
    from s2ops.marker import read_json, to_json  # noqa: PLC0415
    from s2ops.report import build  # noqa: PLC0415
    from s2ops.simulate.score import lines, score_run  # noqa: PLC0415
    from s2ops.store import Store  # noqa: PLC0415

    store = Store(out)
    plan = read_json(store, keys.PLAN)
    if store.folder is None or plan is None:
        raise InputError(f"{out} is no local folder of a run: give the folder that s2ops run wrote")
    scores = score_run(store.folder, world)
    for line in lines(scores):
        typer.echo(line)
    store.put("report/scores.json", to_json(scores))
    store.put(keys.REPORT, build(store, sorted(plan["tiles"])).encode())


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("explain")(_explain)
    app.command("verify")(_verify)
    app.command("truth")(_truth)

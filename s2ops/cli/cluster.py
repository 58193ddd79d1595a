"""Commands about a cluster: group and stage, which its containers run, and submit, which starts a run there."""

import json
import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from s2ops.cli.options import ConfigPlace, Format, MetricsPort, Out, Threads, Where, cores
from s2ops.cli.progress import reporter
from s2ops.run.load_config import load_config

StageName = Annotated[
    Literal["scenes", "blend", "landcover"],
    typer.Argument(metavar="STAGE", help="scenes (select, acquire and composite), blend or landcover"),
]


def _group(
    stage: StageName,
    config: ConfigPlace,
    listing: Annotated[Path, typer.Option("--list", help="file for the child workflows: JSON, first and last group")],
    size: Annotated[int, typer.Option(help="tiles a group: what one pod works on")] = 16,
    child: Annotated[int, typer.Option(help="tiles a child workflow, at most 500")] = 500,
    out: Out = None,
    segmenter: Where = None,
    log_format: Format = "text",
) -> None:
    """Find the tiles of a stage that have work, and write them in groups to plan/groups/STAGE/NNN.json."""
    from s2ops.geo.region import list_region_tiles  # noqa: PLC0415
    from s2ops.pipeline import tile_groups  # noqa: PLC0415 -- `s2ops --help` needs no GDAL
    from s2ops.run.context import RunContext  # noqa: PLC0415

    settings = load_config(config, out=out, segmenter=segmenter)
    ctx = RunContext(settings, list_region_tiles(settings.region))
    names = tile_groups.tiles_with_work(ctx, stage)
    children = tile_groups.write(ctx, stage, names, size, child)
    listing.write_text(json.dumps([one.to_json() for one in children]))
    progress = reporter(log_format)
    progress.stage(stage, len(ctx.tiles), len(names))
    progress.close()


def _stage(
    stage: StageName,
    config: ConfigPlace,
    group: Annotated[int, typer.Option(min=0, help="number of the group, such as 007")],
    counts: Annotated[Path | None, typer.Option(help="folder for the files made and failed: numbers of tiles")] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="processes")] = 1,
    out: Out = None,
    segmenter: Where = None,
    threads: Threads = None,
    log_format: Format = "text",
    _metrics_port: MetricsPort = None,
) -> None:
    """Run the steps of a stage for the tiles of a group: what a pod of a cluster does.

    A tile that fails does not stop the others. Exit 0: all are done, or lack usable input and are recorded; 75: the
    same command may finish the rest; 2: the run itself is at fault.
    """
    from s2ops.cost import plan_metrics  # noqa: PLC0415
    from s2ops.geo.region import list_region_tiles  # noqa: PLC0415
    from s2ops.pipeline import step_runner, tile_groups  # noqa: PLC0415
    from s2ops.pipeline.process_pool import Workers  # noqa: PLC0415
    from s2ops.run.context import RunContext  # noqa: PLC0415
    from s2ops.telemetry import metrics  # noqa: PLC0415

    settings = load_config(config, out=out, segmenter=segmenter)
    ctx = RunContext(settings, list_region_tiles(settings.region), max(1, (threads or cores()) // workers))
    own = tile_groups.read(ctx, stage, group)
    names = own.tiles
    steps = [step.name for step in step_runner.CLUSTER_STAGES[stage]]
    progress = reporter(log_format)
    progress.stage(stage, len(names), len(names))
    metrics.stage_begins(stage, len(names), len(names), own.wanted)
    plan_metrics.show(ctx, stage, steps)
    errors = []
    with Workers(ctx, workers) as pool:
        for number, outcome in enumerate(pool.each(steps, names), 1):
            outcome.tell(progress)
            metrics.tile_is_through(stage)
            _say_how_far(number, len(names))
            if outcome.error is not None:
                errors.append(outcome.error)
    progress.close()
    if counts is not None:
        counts.mkdir(parents=True, exist_ok=True)
        (counts / "made").write_text(str(len(names) - len(errors)))
        (counts / "failed").write_text(str(len(errors)))
    step_runner.raise_first_fatal(errors)


def _say_how_far(done: int, total: int) -> None:
    """Tell Argo, which reads the file that it names."""
    path = os.environ.get("ARGO_PROGRESS_FILE")
    if path:
        Path(path).write_text(f"{done}/{total}\n")


def _submit(
    config: ConfigPlace,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="of the workflow, such as size=10"),
    ] = None,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="default: that of the kubeconfig")] = None,
    name: Annotated[str | None, typer.Option(help="of the workflow; default: s2ops-chain- and five letters")] = None,
    out: Out = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the workflow, submit nothing")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="follow the run; exit 1 where it fails")] = False,
) -> None:
    """Start a run on a cluster where the chart is installed, through its Kubernetes API (or ARGO_SERVER)."""
    import yaml  # noqa: PLC0415

    from s2ops.cluster import argo_client, submit  # noqa: PLC0415
    from s2ops.cluster import watch as watching  # noqa: PLC0415
    from s2ops.geo.region import list_region_tiles  # noqa: PLC0415

    settings = load_config(config, out=out)
    tiles = list_region_tiles(settings.region)
    parameters = submit.parameters_of(parameter or [])
    workflow = submit.workflow(submit.config_text(settings), parameters, name)
    if dry_run:
        typer.echo(yaml.safe_dump(workflow, sort_keys=False), nl=False)
        return
    cluster = argo_client.open_cluster(namespace)
    submit.check(parameters, cluster.template(submit.TEMPLATE))
    made = cluster.create(workflow)
    typer.echo(f"{made}: {len(tiles)} tiles, out {settings.out}")
    if watch:
        watching.watch(cluster, made, typer.echo)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("submit")(_submit)
    app.command("group")(_group)
    app.command("stage")(_stage)

"""Cluster commands: submit (start a run on a cluster), and step, group and stage, which run inside pods."""

import json
import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from s2ops.cli.options import (
    CLUSTER_PANEL,
    RUN_PANEL,
    ConfigArgument,
    LogFormatOption,
    MetricsPortOption,
    OutOption,
    SegmenterOption,
    ThreadsOption,
    count_cores,
)
from s2ops.cli.progress import build_progress
from s2ops.cli.weights_check import check_weights
from s2ops.errors import ConfigError
from s2ops.results import RUN_TARGET
from s2ops.run.load_config import load_config

StageName = Annotated[
    Literal["scenes", "blend", "landcover"],
    typer.Argument(metavar="STAGE", help="Stage: scenes (select, acquire and composite), blend or landcover."),
]


def _run_step(
    name: Annotated[
        str, typer.Argument(help="Step: plan, select, acquire, composite, balance, blend, landcover or publish.")
    ],
    config: ConfigArgument,
    tile: Annotated[
        list[str] | None, typer.Option("--tile", help="Tile to process (repeatable); default: all tiles of the run.")
    ] = None,
    out: OutOption = None,
    segmenter: SegmenterOption = None,
    threads: ThreadsOption = None,
    log_format: LogFormatOption = "text",
    _metrics_port: MetricsPortOption = None,
) -> None:
    """Run one step of the chain for some or all tiles (the command of a container)."""
    from s2ops.geo.region import list_region_tiles  # noqa: PLC0415
    from s2ops.pipeline import step_runner  # noqa: PLC0415
    from s2ops.pipeline.steps import WholeStep, get_step  # noqa: PLC0415
    from s2ops.run import missing_tiles  # noqa: PLC0415
    from s2ops.run.context import RunContext  # noqa: PLC0415

    settings = load_config(config, out=out, segmenter=segmenter)
    ctx = RunContext(settings, list_region_tiles(settings.region), threads or count_cores())
    step = get_step(name)
    known = [one.name for one in ctx.tiles]
    if unknown := sorted(set(tile or ()) - set(known)):
        raise ConfigError(f"--tile {', '.join(unknown)} is not in the run's region: use tiles of {', '.join(known)}.")
    step.check(ctx)
    progress = build_progress(log_format)
    errors = []
    for one in [RUN_TARGET] if isinstance(step, WholeStep) else tile or known:
        outcome = step_runner.run_steps(ctx, [name], one)
        outcome.report_to(progress)
        errors += [outcome.error] if outcome.error is not None else []
    progress.close()
    step_runner.raise_first_fatal(errors)
    if errors:
        raise errors[0]
    if name == "publish":
        missing_tiles.raise_if_incomplete(ctx)


def _group_tiles(
    stage: StageName,
    config: ConfigArgument,
    listing: Annotated[
        Path,
        typer.Option("--list", help="JSON file to write: the first and last group of each child workflow."),
    ],
    size: Annotated[int, typer.Option(help="Tiles per group; a pod processes one group.")] = 16,
    child: Annotated[int, typer.Option(help="Maximum number of tiles per child workflow (at most 500).")] = 500,
    out: OutOption = None,
    segmenter: SegmenterOption = None,
    log_format: LogFormatOption = "text",
) -> None:
    """Find the tiles of a stage that have work left, and write them in groups to plan/groups/STAGE/NNN.json."""
    from s2ops.geo.region import list_region_tiles  # noqa: PLC0415
    from s2ops.pipeline import tile_groups  # noqa: PLC0415 -- `s2ops --help` needs no GDAL
    from s2ops.run.context import RunContext  # noqa: PLC0415

    settings = load_config(config, out=out, segmenter=segmenter)
    ctx = RunContext(settings, list_region_tiles(settings.region))
    names = tile_groups.list_tiles_with_work(ctx, stage)
    children = tile_groups.write_groups(ctx, stage, names, size, child)
    listing.write_text(json.dumps([one.to_json() for one in children]))
    progress = build_progress(log_format)
    progress.start_stage(stage, len(ctx.tiles), len(names))
    progress.close()


def _run_stage(
    stage: StageName,
    config: ConfigArgument,
    group: Annotated[int, typer.Option(min=0, help="Number of the group, such as 007.")],
    counts: Annotated[
        Path | None, typer.Option(help="Folder for the files `made` and `failed`, which contain numbers of tiles.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Number of worker processes.")] = 1,
    out: OutOption = None,
    segmenter: SegmenterOption = None,
    threads: ThreadsOption = None,
    log_format: LogFormatOption = "text",
    _metrics_port: MetricsPortOption = None,
) -> None:
    """Run the steps of a stage for the tiles of one group (the command of a pod).

    A failed tile does not stop the other tiles. Exit codes: 0 if every tile is done, or is recorded as having no usable
    input; 75 if the same command may finish the remaining tiles; 2 if the configuration or input of the run is invalid.
    """
    from s2ops.cost import plan_metrics  # noqa: PLC0415
    from s2ops.geo.region import list_region_tiles  # noqa: PLC0415
    from s2ops.pipeline import step_runner, tile_groups  # noqa: PLC0415
    from s2ops.pipeline.process_pool import WorkerPool  # noqa: PLC0415
    from s2ops.run.context import RunContext  # noqa: PLC0415
    from s2ops.telemetry import metrics  # noqa: PLC0415

    settings = load_config(config, out=out, segmenter=segmenter)
    ctx = RunContext(settings, list_region_tiles(settings.region), max(1, (threads or count_cores()) // workers))
    own = tile_groups.read_group(ctx, stage, group)
    names = own.tiles
    steps = [step.name for step in step_runner.CLUSTER_STAGES[stage]]
    progress = build_progress(log_format)
    progress.start_stage(stage, len(names), len(names))
    metrics.start_stage(stage, len(names), len(names), own.wanted)
    plan_metrics.export_plan_metrics(ctx, stage, steps)
    errors = []
    with WorkerPool(ctx, workers) as pool:
        for number, outcome in enumerate(pool.run_tiles(steps, names), 1):
            outcome.report_to(progress)
            metrics.count_finished_tile(stage)
            _write_argo_progress(number, len(names))
            if outcome.error is not None:
                errors.append(outcome.error)
    progress.close()
    if counts is not None:
        counts.mkdir(parents=True, exist_ok=True)
        (counts / "made").write_text(str(len(names) - len(errors)))
        (counts / "failed").write_text(str(len(errors)))
    step_runner.raise_first_fatal(errors)


def _write_argo_progress(done: int, total: int) -> None:
    """Write the progress to the file from which Argo reads it."""
    path = os.environ.get("ARGO_PROGRESS_FILE")
    if path:
        Path(path).write_text(f"{done}/{total}\n")


def _submit_run(
    config: ConfigArgument,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter", "-p", metavar="NAME=VALUE", help="Parameter of the workflow, such as size=10; repeatable."
        ),
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Namespace; default: that of the kubeconfig.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the workflow; default: s2ops-chain- and five letters.")
    ] = None,
    out: OutOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the workflow without submitting it.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the run until it ends; exit 1 if it fails.")] = False,
) -> None:
    """Start a run on a cluster that has the Helm chart installed, by its Kubernetes API (or ARGO_SERVER)."""
    import yaml  # noqa: PLC0415

    from s2ops.cluster import argo_client, submit  # noqa: PLC0415
    from s2ops.cluster.watch import watch_run  # noqa: PLC0415
    from s2ops.geo.region import list_region_tiles  # noqa: PLC0415
    from s2ops.run.context import RunContext  # noqa: PLC0415

    settings = load_config(config, out=out)
    tiles = list_region_tiles(settings.region)
    parameters = submit.parse_parameters(parameter or [])
    workflow = submit.build_workflow(submit.build_config_text(settings), parameters, name)
    if dry_run:
        typer.echo(yaml.safe_dump(workflow, sort_keys=False), nl=False)
        return
    if settings.models is not None:  # the weights of the package are those of the image, which pods check
        check_weights(RunContext(settings, tiles))
    client = argo_client.open_workflow_client(namespace)
    submit.validate_parameters(parameters, client.get_template(submit.WORKFLOW_TEMPLATE_NAME))
    submitted = client.submit_workflow(workflow)
    typer.echo(f"{submitted}: {len(tiles)} tiles, out {settings.out}")
    if watch:
        watch_run(client, submitted, typer.echo)


def register_commands(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("submit", rich_help_panel=RUN_PANEL)(_submit_run)
    app.command("step", rich_help_panel=CLUSTER_PANEL)(_run_step)
    app.command("group", rich_help_panel=CLUSTER_PANEL)(_group_tiles)
    app.command("stage", rich_help_panel=CLUSTER_PANEL)(_run_stage)

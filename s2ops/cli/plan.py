"""Plan command: cost estimate before a run, and comparison of predicted and actual amounts after it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from s2ops.cli.options import RUN_PANEL, OutOption, SegmenterOption, count_cores
from s2ops.cli.weights_check import check_weights
from s2ops.config import RunConfig
from s2ops.errors import ConfigError
from s2ops.run.load_config import load_config

if TYPE_CHECKING:
    from s2ops.cost.estimate import Capacity
    from s2ops.run.context import RunContext


@dataclass(frozen=True)
class _PlanOptions:
    """Options of the command that the estimate and the comparison share."""

    pods: int | None
    cores_per_pod: int
    tiles_per_pod: int
    gpus: int
    search: int | None
    prices: str | None
    rates: str | None
    json_path: Path | None


def _plan_run(
    config: Annotated[
        str,
        typer.Argument(
            metavar="[CONFIG]", help="Run configuration in YAML: path, URI (s3://...), or - for $S2OPS_CONFIG."
        ),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print the estimate; otherwise the plan step also writes its files.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="After a run: compare predicted with actual amounts.")
    ] = False,
    pods: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Number of simultaneous pods; default: this machine.")
    ] = None,
    pod_cores: Annotated[int, typer.Option("--cores", min=1, max=256, help="Cores per pod.")] = 2,
    group: Annotated[int, typer.Option(min=1, max=500, help="Tiles per pod.")] = 16,
    gpus: Annotated[
        int, typer.Option(min=1, max=10_000, help="Number of simultaneous GPUs (with segmenter: triton://...).")
    ] = 1,
    search: Annotated[
        int | None,
        typer.Option(min=0, help="Maximum number of tiles to search in the catalog; default: 0 for a remote catalog."),
    ] = None,
    prices: Annotated[str | None, typer.Option(help="Price file in YAML; default: prices of the package.")] = None,
    rates: Annotated[str | None, typer.Option(help="Measured rates: `out` of a finished run, or a .json file.")] = None,
    to_file: Annotated[Path | None, typer.Option("--json", help="JSON file to write the result to.")] = None,
    print_prices: Annotated[
        bool, typer.Option("--print-prices", help="Print the price file of the package (as a template) and exit.")
    ] = False,
    out: OutOption = None,
    segmenter: SegmenterOption = None,
) -> None:
    """Estimate what a run will need, without reading pixels: scenes, bytes, CPU and GPU time, pods, hours, price."""
    if print_prices:
        _print_prices()
        return
    if not config:
        raise ConfigError("plan needs a configuration: give CONFIG (s2ops plan CONFIG --dry-run), or --print-prices.")
    settings = load_config(config, out=out, segmenter=segmenter)
    options = _PlanOptions(pods, pod_cores, group, gpus, search, prices, rates, to_file)
    if compare:
        _compare_with_run(settings, options)
        return
    _print_estimate(settings, options, is_dry_run=dry_run)
    if not dry_run:
        _write_plan(settings)


def _print_prices() -> None:
    """Print the packaged price file."""
    from s2ops.cost.prices import read_packaged_text  # noqa: PLC0415 -- `s2ops --help` needs no GDAL

    typer.echo(read_packaged_text(), nl=False)


def _print_estimate(settings: RunConfig, options: _PlanOptions, *, is_dry_run: bool) -> None:
    """Print the cost estimate of the work that is left; a dry run also works while the store is unreachable."""
    from s2ops.cost import plan, run_history, terminal_tables  # noqa: PLC0415
    from s2ops.cost.prices import load_prices  # noqa: PLC0415

    prices = load_prices(options.prices)
    ctx = _build_context(settings)
    check_weights(ctx)
    ignore_existing = is_dry_run and not run_history.is_store_reachable(settings.out)
    if ignore_existing:
        typer.echo(f"{settings.out} does not answer: planned as if it contained no output", err=True)
    rates = run_history.select_rates(None if ignore_existing else settings.out, options.rates)
    search = plan.get_default_search(ctx) if options.search is None else options.search
    capacity = _build_capacity(ctx, options)
    planned = plan.plan_run(ctx, rates, prices, capacity, search, ignore_existing=ignore_existing)
    _print_table(terminal_tables.build_step_table(planned.estimate, prices.currency))
    for line in terminal_tables.format_summary(planned):
        typer.echo(line)
    if options.json_path is not None:
        _write_json(options.json_path, planned.to_json(ctx))


def _compare_with_run(settings: RunConfig, options: _PlanOptions) -> None:
    """Compare the stored plan, or with --rates a new plan, with the run records of the run."""
    from s2ops.cost import comparison, plan, run_history, terminal_tables  # noqa: PLC0415
    from s2ops.cost.prices import load_prices  # noqa: PLC0415

    prices = load_prices(options.prices)
    ctx = _build_context(settings)
    names = [tile.name for tile in ctx.tiles]
    if options.rates is None:
        lines = comparison.compare_stored_plan(ctx.store, names)
    else:
        rates = run_history.load_rates(options.rates)
        search = plan.get_default_search(ctx) if options.search is None else options.search
        capacity = _build_capacity(ctx, options)
        estimate = plan.plan_run(ctx, rates, prices, capacity, search, ignore_existing=True).estimate
        amounts = {one.step: one.amounts for one in estimate.steps}
        lines = comparison.compare_with_records(ctx.store, names, estimate.scenes, amounts)
    _print_table(terminal_tables.build_comparison_table(lines))
    if options.json_path is not None:
        _write_json(options.json_path, comparison.to_json(lines))


def _build_context(settings: RunConfig) -> "RunContext":
    from s2ops.geo.region import list_region_tiles  # noqa: PLC0415
    from s2ops.run.context import RunContext  # noqa: PLC0415

    return RunContext(settings, list_region_tiles(settings.region))


def _build_capacity(ctx: "RunContext", options: _PlanOptions) -> "Capacity":
    from s2ops.cost.estimate import Capacity  # noqa: PLC0415
    from s2ops.cost.plan import get_local_capacity  # noqa: PLC0415

    if options.pods is None:
        return get_local_capacity(count_cores(), len(ctx.tiles))
    return Capacity(options.pods, options.cores_per_pod, options.gpus, options.tiles_per_pod, local=False)


def _write_plan(settings: RunConfig) -> None:
    """Run the plan step, which writes its files to `out`."""
    from s2ops.pipeline import step_runner  # noqa: PLC0415
    from s2ops.pipeline.steps import plan as step  # noqa: PLC0415
    from s2ops.results import RUN_TARGET, StepName  # noqa: PLC0415
    from s2ops.storage import layout  # noqa: PLC0415

    ctx = _build_context(settings)
    step.STEP.check(ctx)
    outcome = step_runner.run_steps(ctx, [StepName.PLAN], RUN_TARGET)
    if outcome.error is not None:
        raise outcome.error
    typer.echo(f"plan        {settings.out.rstrip('/')}/{layout.PLAN}")


def _write_json(path: Path, data: object) -> None:
    try:
        path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write --json {path}: {error.strerror}; give the path of a file.") from error


def _print_table(table: object) -> None:
    from rich.console import Console  # noqa: PLC0415

    console = Console()
    console.width = max(console.width, 120)
    console.print(table)


def register_commands(app: typer.Typer) -> None:
    """Register the command."""
    app.command("plan", rich_help_panel=RUN_PANEL)(_plan_run)

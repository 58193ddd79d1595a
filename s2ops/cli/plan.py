"""`s2ops plan`: what a run will take and cost, before it; predicted beside actual, after it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from s2ops.cli.options import Out, Where, cores
from s2ops.errors import ConfigError
from s2ops.run.load_config import load_config

if TYPE_CHECKING:
    from s2ops.cost.estimate import Machines
    from s2ops.run.context import RunContext


def _plan(
    config: Annotated[
        str, typer.Argument(metavar="[CONFIG]", help="the run's YAML file: a path, a URI, or - for $S2OPS_CONFIG")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="only say; without it the plan step's files are written")
    ] = False,
    compare: Annotated[bool, typer.Option("--compare", help="after a run: predicted beside actual")] = False,
    pods: Annotated[int | None, typer.Option(min=1, max=100_000, help="pods at once; default: this machine")] = None,
    pod_cores: Annotated[int, typer.Option("--cores", min=1, max=256, help="cores a pod")] = 2,
    group: Annotated[int, typer.Option(min=1, max=500, help="tiles a pod works on")] = 16,
    gpus: Annotated[int, typer.Option(min=1, max=10_000, help="GPUs at once, with segmenter: triton://...")] = 1,
    search: Annotated[
        int | None, typer.Option(min=0, help="ask the catalog for so many tiles; default: none over a network")
    ] = None,
    prices: Annotated[str | None, typer.Option(help="a price file; default: the package's")] = None,
    rates: Annotated[
        str | None, typer.Option(help="measured rates: the `out` of a finished run, or a .json file")
    ] = None,
    to_file: Annotated[Path | None, typer.Option("--json", help="write the plan there as JSON too")] = None,
    print_prices: Annotated[
        bool, typer.Option("--print-prices", help="print the package's price file, to edit")
    ] = False,
    out: Out = None,
    segmenter: Where = None,
) -> None:
    """Say what a run will take: scenes, bytes, processor and GPU time, pods, hours, price. No pixel is read."""
    from s2ops.cost import plan as planner  # noqa: PLC0415
    from s2ops.cost import prices as price_files  # noqa: PLC0415
    from s2ops.cost import run_history, terminal_tables  # noqa: PLC0415 -- `s2ops --help` needs no GDAL
    from s2ops.geo.region import list_region_tiles  # noqa: PLC0415
    from s2ops.run.context import RunContext  # noqa: PLC0415

    if print_prices:
        typer.echo(price_files.packaged_text(), nl=False)
        return
    if not config:
        raise ConfigError("plan needs a configuration: s2ops plan CONFIG --dry-run, or --print-prices alone")
    paid = price_files.load(prices)
    settings = load_config(config, out=out, segmenter=segmenter)
    anew = dry_run and not compare and not run_history.answers(settings.out)
    if anew:
        typer.echo(f"{settings.out} does not answer: planned as if nothing were made there", err=True)
    known = run_history.rates_for(None if anew else settings.out, rates)
    ctx = RunContext(settings, list_region_tiles(settings.region))
    machines = _machines(ctx, pods, pod_cores, group, gpus)
    asked = planner.default_search(ctx) if search is None else search
    if compare:
        _compare(ctx, machines, asked, rates, to_file)
        return
    planned = planner.plan(ctx, known, paid, machines, asked, anew=anew)
    _print(terminal_tables.steps(planned.forecast, paid.currency))
    for line in terminal_tables.words(planned):
        typer.echo(line)
    if to_file is not None:
        _write(to_file, planned.to_json(ctx))
    if not dry_run:
        _write_plan(ctx)


def _machines(ctx: "RunContext", pods: int | None, pod_cores: int, group: int, gpus: int) -> "Machines":
    from s2ops.cost.estimate import Machines  # noqa: PLC0415
    from s2ops.cost.plan import here  # noqa: PLC0415

    if pods is None:
        return here(cores(), len(ctx.tiles))
    return Machines(pods, pod_cores, gpus, group, local=False)


def _compare(ctx: "RunContext", machines: "Machines", search: int, named: str | None, to_file: Path | None) -> None:
    """The stored plan, or with named rates a new one, beside the run's records."""
    from s2ops.cost import comparison, plan, prices, run_history, terminal_tables  # noqa: PLC0415

    names = [tile.name for tile in ctx.tiles]
    if named is None:
        lines = comparison.of_run(ctx.store, names)
    else:
        anew = plan.plan(ctx, run_history.load_rates(named), prices.load(None), machines, search, anew=True).forecast
        lines = comparison.of_records(ctx.store, names, anew.scenes, {one.step: one.took for one in anew.steps})
    _print(terminal_tables.comparison(lines))
    if to_file is not None:
        _write(to_file, comparison.to_json(lines))


def _write_plan(ctx: "RunContext") -> None:
    from s2ops.pipeline import step_runner  # noqa: PLC0415
    from s2ops.pipeline.steps import plan as step  # noqa: PLC0415

    step.STEP.check(ctx)
    outcome = step_runner.run_steps(ctx, ["plan"], "all")
    if outcome.error is not None:
        raise outcome.error
    typer.echo(f"plan        {ctx.config.out.rstrip('/')}/plan/plan.json")


def _write(path: Path, data: object) -> None:
    try:
        path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write --json {path}: {error.strerror}; give the path of a file") from error


def _print(table: object) -> None:
    from rich.console import Console  # noqa: PLC0415

    console = Console()
    console.width = max(console.width, 120)
    console.print(table)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("plan")(_plan)

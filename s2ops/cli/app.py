"""Command-line application (Typer): each command parses its options and calls one function of the library."""

from typing import Annotated

import typer

from s2ops import __version__
from s2ops.cli import cluster, inspect, models, plan, run, serve, single

app = typer.Typer(
    name="s2ops",
    help="Cloud-free Sentinel-2 mosaics without visible seams, and a six-class land-cover map.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _print_version(is_given: bool) -> None:
    if is_given:
        typer.echo(f"s2ops {__version__}")
        raise typer.Exit


@app.callback()
def _handle_common_options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...


for module in (run, plan, inspect, single, models, serve, cluster):
    module.register_commands(app)

"""All commands of `s2ops`; each one parses its options and calls one function of the library."""

import typer

from s2ops.cli import cluster, inspect, models, plan, run, serve, single

app = typer.Typer(
    name="s2ops",
    help="Cloud-free Sentinel-2 mosaics without seams, and a six-class land-cover map.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

for module in (run, plan, cluster, inspect, single, models, serve):
    module.add_to(app)

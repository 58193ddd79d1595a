"""All commands of `s2ops`; each one parses its options and calls one function of the library."""

import typer

from s2ops.cli import cluster, looking, networks, planning, running, serving, single

app = typer.Typer(
    name="s2ops",
    help="Cloud-free Sentinel-2 mosaics without seams, and a six-class land-cover map.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

for module in (running, planning, cluster, looking, single, networks, serving):
    module.add_to(app)

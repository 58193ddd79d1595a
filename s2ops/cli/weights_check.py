"""Check of a run's weights by commands that start before the run does."""

from typing import TYPE_CHECKING

import typer

from s2ops.errors import TransientError

if TYPE_CHECKING:
    from s2ops.run.context import RunContext


def check_weights(ctx: "RunContext") -> None:
    """Check the weights of all networks of a run; a server or store that does not answer is named on stderr only.

    Raises:
        ModelError: If weights are missing or not valid.
    """
    from s2ops.run.check_networks import check_networks  # noqa: PLC0415 -- `s2ops --help` needs no GDAL

    try:
        check_networks(ctx)
    except TransientError as error:  # it may be reachable only from inside a cluster
        typer.echo(f"the networks were not checked: {error}", err=True)

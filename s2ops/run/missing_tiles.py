"""Missing tiles (gaps) of a published run: tiles for which a step failed, with the reasons."""

from collections.abc import Iterable
from typing import Final

from s2ops.errors import InputError
from s2ops.results import TILE_STEPS
from s2ops.run.context import RunContext
from s2ops.storage import layout
from s2ops.storage.done_marker import read_json

MISSING_FIELD: Final = "s2ops:missing"
"""Field of catalog.json: tile -> reason. Complete runs do not have it."""

_MAX_LISTED_TILES: Final = 10
"""Maximum number of tiles that an error lists; the catalog lists all."""


def read_reasons(ctx: RunContext, tiles: Iterable[str]) -> dict[str, str]:
    """Read the reason for each missing tile from the failure record of the step that failed."""
    return {tile: _read_reason(ctx, tile) for tile in tiles}


def _read_reason(ctx: RunContext, tile: str) -> str:
    for step in TILE_STEPS:
        record = read_json(ctx.store, layout.TileKeys(tile).get_failure(step))
        if record is not None:
            return f"{step}: {record.get('error')}"
    return "the run ended before it was made"


def raise_if_incomplete(ctx: RunContext) -> None:
    """Raise InputError if the published catalog lacks tiles, so that an incomplete run never ends as a success."""
    missing = (read_json(ctx.store, layout.CATALOG) or {}).get(MISSING_FIELD, {})
    if not missing:
        return
    listed = "; ".join(f"{tile} ({reason})" for tile, reason in sorted(missing.items())[:_MAX_LISTED_TILES])
    rest = len(missing) - _MAX_LISTED_TILES
    more = f"; and {rest} more, see {layout.CATALOG}" if rest > 0 else ""
    raise InputError(
        f"Published without {len(missing)} of {len(ctx.tiles)} tiles: {listed}{more}. Fix their inputs and run again."
    )

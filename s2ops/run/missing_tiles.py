"""What a published run lacks: tiles that some step failed for, and what it said."""

from collections.abc import Iterable
from typing import Final

from s2ops.errors import InputError
from s2ops.run.context import RunContext
from s2ops.storage import layout
from s2ops.storage.done_marker import read_json

MISSING_FIELD: Final = "s2ops:missing"
"""In catalog.json: tile -> why it is not there. Complete runs do not have it."""

_STEPS: Final = ("select", "acquire", "composite", "blend", "landcover")

_NAMED: Final = 10
"""Tiles that a message names; the catalog names all."""


def read_reasons(ctx: RunContext, tiles: Iterable[str]) -> dict[str, str]:
    """Why each of these tiles is not there, as the step that failed for it has recorded."""
    return {tile: _reason(ctx, tile) for tile in tiles}


def _reason(ctx: RunContext, tile: str) -> str:
    for step in _STEPS:
        record = read_json(ctx.store, layout.TileKeys(tile).get_failure(step))
        if record is not None:
            return f"{step}: {record.get('error')}"
    return "the run ended before it was made"


def raise_if_incomplete(ctx: RunContext) -> None:
    """Raise InputError where the published catalog lacks tiles, so that no run that does ends as a success."""
    found = (read_json(ctx.store, layout.CATALOG) or {}).get(MISSING_FIELD, {})
    if not found:
        return
    named = "; ".join(f"{tile} ({why})" for tile, why in sorted(found.items())[:_NAMED])
    further = f"; and {len(found) - _NAMED} more, see {layout.CATALOG}" if len(found) > _NAMED else ""
    raise InputError(
        f"published, but {len(found)} of {len(ctx.tiles)} tiles are missing: {named}{further}: mend them and run again"
    )

"""What a published run lacks: tiles that some step failed for, and what it said."""

from collections.abc import Iterable
from typing import Final

from s2ops.errors import InputError
from s2ops.run.context import Job
from s2ops.storage import layout
from s2ops.storage.done_marker import read_json

FIELD: Final = "s2ops:missing"
"""In catalog.json: tile -> why it is not there. Complete runs do not have it."""

_STEPS: Final = ("select", "acquire", "composite", "blend", "landcover")

_NAMED: Final = 10
"""Tiles that a message names; the catalog names all."""


def reasons(job: Job, tiles: Iterable[str]) -> dict[str, str]:
    """Why each of these tiles is not there, as the step that failed for it has recorded."""
    return {tile: _reason(job, tile) for tile in tiles}


def _reason(job: Job, tile: str) -> str:
    for step in _STEPS:
        record = read_json(job.store, layout.failure(step, tile))
        if record is not None:
            return f"{step}: {record.get('error')}"
    return "the run ended before it was made"


def refuse(job: Job) -> None:
    """Raise InputError where the published catalog lacks tiles, so that no run that does ends as a success."""
    found = (read_json(job.store, layout.CATALOG) or {}).get(FIELD, {})
    if not found:
        return
    named = "; ".join(f"{tile} ({why})" for tile, why in sorted(found.items())[:_NAMED])
    further = f"; and {len(found) - _NAMED} more, see {layout.CATALOG}" if len(found) > _NAMED else ""
    raise InputError(
        f"published, but {len(found)} of {len(job.tiles)} tiles are missing: {named}{further}: mend them and run again"
    )

"""Select in a refresh (`since`): the list of the earlier run, with newer scenes where they improve the tile.

Where it begins is a file of its own (`select/T.base.json` and the previews), written before anything is changed: a
killed refresh, or the same one with more scenes in the catalog, starts from there again and gives the same bytes.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import NamedTuple

import numpy as np

from s2ops.catalog.scene import Scene
from s2ops.config import RunConfig
from s2ops.constants import Mask, UInt8
from s2ops.geo.mgrs_tiles import Tile
from s2ops.pipeline.steps.previews import Seen, look_at, put_previews, stored_previews
from s2ops.records import AcquireRecord, BaseRecord, Candidate, LeftOut, Renewed, SelectRecord
from s2ops.results import StepResult
from s2ops.run.context import RunContext
from s2ops.selection.refresh import Renewal, renew
from s2ops.selection.scene_selection import Look, Rule, candidate
from s2ops.storage import layout
from s2ops.storage.done_marker import DoneMarker, compute_fingerprint

VERSION = 1


class Begun(NamedTuple):
    """Where a refresh of a tile begins."""

    base: BaseRecord
    kept: bool
    """Whether it has been put aside already; else it is the list that is there."""


def begun(ctx: RunContext, tile: Tile) -> Begun | None:
    """Where the refresh of a tile begins; None outside a refresh, and where the tile has no list yet."""
    since = ctx.config.since
    if since is None:
        return None
    stored = ctx.store.get(layout.base(tile.name))
    if stored is not None:
        base = BaseRecord.read(stored, layout.base(tile.name))
        if base.since == since.isoformat():
            return Begun(base, kept=True)
    data = ctx.store.get(layout.select(tile.name))
    if data is None:
        return None
    record = SelectRecord.read(data, layout.select(tile.name))
    scenes = _composited(ctx, tile, record)
    return Begun(BaseRecord(since=since.isoformat(), record=record, scenes=scenes), kept=False)


def _composited(ctx: RunContext, tile: Tile, record: SelectRecord) -> tuple[str, ...]:
    """The scenes that acquire brought into the composite; the list itself where it has not run."""
    key = layout.acquired(tile.name)
    data = ctx.store.get(key)
    if data is None:
        return record.selected
    known = {one.id for one in record.candidates}
    return tuple(one.id for one in AcquireRecord.read(data, key).scenes if one.id in known)


def forget(ctx: RunContext, tile: Tile) -> None:
    """Remove the base of an earlier refresh: the tile has a list of its own again."""
    for key in (layout.base(tile.name), layout.base_previews(tile.name)):
        if ctx.store.exists(key):
            ctx.store.delete(key)


def _newer(ctx: RunContext, tile: Tile, base: BaseRecord) -> tuple[list[Scene], list[LeftOut]]:
    """Scenes from `since` on that the earlier run has not looked at, and what the catalog leaves out."""
    found, known = ctx.find_newer_scenes(tile), {one.id for one in base.record.candidates}
    left_out = [LeftOut(id=scene, reason=reason) for scene, reason in found.left_out]
    return [scene for scene in found.scenes if scene.id not in known], left_out


def marker(ctx: RunContext, tile: Tile, start: Begun) -> DoneMarker:
    """Stands while the base, the newer scenes, the rules and the networks are the same.

    Without a newer scene the list that is there stands, whatever it was made by.
    """
    config, base, (scenes, left_out) = ctx.config, start.base, _newer(ctx, tile, start.base)
    key = layout.select(tile.name)
    if not scenes and not start.kept:
        return DoneMarker(key, base.record.fingerprint)
    rules = (config.dates, config.target.isoformat(), config.max_scenes, config.selection, config.refresh)
    weights = [ctx.load_weights_info(name).sha256 for name in ("preview-cloud", "preview-haze")]
    newer = [(scene.id, scene.processed, scene.offset) for scene in scenes]
    facts = (base.since, rules, newer, left_out, weights, base.record.fingerprint, base.scenes)
    return DoneMarker(key, compute_fingerprint("refresh", VERSION, *facts))


def run(ctx: RunContext, tile: Tile, start: Begun) -> StepResult:
    """Keep the base, then write select/T.previews.tif, then select/T.json."""
    mark, base = marker(ctx, tile, start), start.base
    if not start.kept:
        _keep(ctx, tile, base)
    scenes, left_out = _newer(ctx, tile, base)
    seen, broken = look_at(ctx, tile, scenes)
    stacks = stored_previews(ctx, base.record, layout.base_previews(tile.name))
    looks = [_look(base.record.candidate(one), stacks[one]) for one in base.scenes]
    renewal = renew(looks, [one.look for one in seen], Rule.of(ctx.config), ctx.config.refresh)
    stacks |= {one.scene.id: one.stack for one in seen}
    put_previews(ctx, tile, list(stacks.items()))
    record = renewed(ctx.config, base, renewal, _coverable(stacks.values()), mark.fingerprint, seen)
    record = record.model_copy(update={"left_out": (*left_out, *broken.left_out)})
    ctx.store.put(mark.key, record.write())
    facts = {"candidates": len(seen), "selected": len(renewal.taken), "dropped": len(renewal.dropped)}
    return StepResult("select", tile.name, "done" if record.selected else "empty", facts)


def _keep(ctx: RunContext, tile: Tile, base: BaseRecord) -> None:
    """Put the base aside; its record last, since that says it is whole."""
    previews = ctx.store.get(layout.previews(tile.name)) if base.record.candidates else None
    if previews is not None:
        ctx.store.put(layout.base_previews(tile.name), previews)
    ctx.store.put(layout.base(tile.name), base.write())


def _look(one: Candidate, stack: UInt8) -> Look:
    """An earlier candidate as its stored preview shows it."""
    day = date.fromisoformat(one.date)
    return Look(one.id, day, one.haze, stack[3] == Mask.CLEAR, stack[3] != Mask.NODATA)


def _coverable(stacks: Iterable[UInt8]) -> float:
    """Part of the tile that some candidate sees clear."""
    seen = [stack[3] == Mask.CLEAR for stack in stacks]
    return float(np.any(seen, axis=0).mean()) if seen else 0.0


def renewed(
    config: RunConfig, base: BaseRecord, renewal: Renewal, coverable: float, facts: str, seen: Sequence[Seen]
) -> SelectRecord:
    """The record after a refresh; where nothing was taken, list, figures and basis are the base's."""
    record, verdicts = base.record, renewal.verdicts
    dates, changed = config.dates, bool(renewal.taken)
    fresh = {one.scene.id: candidate(one.scene, one.look, verdicts[one.scene.id], one.source) for one in seen}
    spares = sorted(
        (name for name in verdicts if verdicts[name].decision == "spare"), key=lambda n: verdicts[n].rank or 0
    )
    spares += [name for name in record.spares if name not in verdicts]
    if changed:
        earlier = tuple(_placed(one, renewal, spares) for one in record.candidates)
        solved: dict[str, object] = {
            "selected": renewal.selected, "spares": tuple(spares), "covered": renewal.covered, "coverable": coverable,
            "objective": 0.0, "lower_bound": 0.0, "gap": 0.0, "status": "refreshed", "elements": 0,
        }  # fmt: skip
    else:
        earlier, solved = record.candidates, {}
        fresh = {name: one.model_copy(update={"decision": "left", "rank": None}) for name, one in fresh.items()}
    renewed = Renewed(
        since=base.since,
        base=record.fingerprint,
        basis=facts if changed else record.basis,
        taken=renewal.taken,
        dropped=renewal.dropped,
    )
    return SelectRecord.model_validate(
        {
            **record.model_dump(),
            **solved,
            "start": dates.start.isoformat(),
            "end": dates.end.isoformat(),
            "target": config.target.isoformat(),
            "parameters": {
                **config.selection.model_dump(), **config.refresh.model_dump(),
                "max_scenes": config.max_scenes, "max_cloud": config.max_cloud,
            },
            "candidates": (*earlier, *fresh.values()),
            "fingerprint": facts,
            "renewed": renewed,
        }
    )  # fmt: skip


def _placed(one: Candidate, renewal: Renewal, spares: Sequence[str]) -> Candidate:
    """An earlier candidate in its place of the new list."""
    verdict = renewal.verdicts.get(one.id)
    update: dict[str, object] = {"rank": spares.index(one.id) + 1 if one.id in spares else None}
    if verdict is not None:
        update |= {"cost": verdict.cost, "gain": verdict.gain, "decision": verdict.decision, "reason": verdict.reason}
        update["rank"] = verdict.rank
    elif one.decision == "taken":
        update |= {"decision": "left", "reason": "of the earlier list: it could not be used at full resolution"}
    return Candidate.model_validate({**one.model_dump(), **update})

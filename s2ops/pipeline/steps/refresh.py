"""Refresh form of the select step (`since`): the scene list of an earlier run, updated by newer scenes.

The list and previews of the earlier run (`select/T.base.json`, `select/T.base.previews.tif`) are stored before anything
changes. A refresh that was killed, or that is repeated with more scenes in the catalog, starts from that base again and
writes the same bytes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from s2ops.catalog.scene import Scene
from s2ops.config import RunConfig
from s2ops.constants import Mask, UInt8
from s2ops.geo.mgrs_tiles import Tile
from s2ops.pipeline.steps.previews import (
    ScenePreview,
    read_previews,
    read_stored_previews,
    read_weights_checksums,
    write_previews,
)
from s2ops.records import AcquireRecord, BaseRecord, Candidate, LeftOut, RefreshInfo, SelectRecord
from s2ops.results import StepName, StepResult
from s2ops.run.context import RunContext
from s2ops.selection.refresh import RefreshResult, refresh_selection
from s2ops.selection.scene_selection import CostModel, PreviewCandidate, build_candidate_record
from s2ops.storage import layout
from s2ops.storage.done_marker import compute_fingerprint

VERSION = 2


@dataclass(frozen=True)
class RefreshBase:
    """Scene list from which the refresh of a tile starts."""

    record: BaseRecord
    is_stored: bool
    """True if the refresh has stored its base already; false if the base is the tile's current list."""


@dataclass(frozen=True)
class RefreshInputs:
    """Inputs of the refresh of a tile: its base, the newer scenes, the options and the preview networks."""

    config: RunConfig
    base: RefreshBase
    scenes: list[Scene]
    """Scenes from `since` on that the earlier run did not examine."""
    left_out: list[LeftOut]
    """Items that the catalog search could not use."""
    excluded: list[LeftOut]
    """Scenes that the catalog search excluded: too cloudy, or an older processing. Not part of the fingerprint."""
    weights: list[str]
    """SHA-256 of the weights of the preview networks; empty if there is nothing to do."""

    @property
    def has_work(self) -> bool:
        """False without a newer scene if nothing has been refreshed yet: the list stays, whatever made it."""
        return bool(self.scenes) or self.base.is_stored


def find_base(ctx: RunContext, tile: Tile) -> RefreshBase | None:
    """Return the base of the refresh of a tile; None outside a refresh, and if the tile has no scene list yet."""
    since = ctx.config.since
    if since is None:
        return None
    stored = ctx.store.get(layout.TileKeys(tile.name).base_selection)
    if stored is not None:
        base = BaseRecord.read(stored, layout.TileKeys(tile.name).base_selection)
        if base.since == since.isoformat():
            return RefreshBase(base, is_stored=True)
    data = ctx.store.get(layout.TileKeys(tile.name).selection)
    if data is None:
        return None
    record = SelectRecord.read(data, layout.TileKeys(tile.name).selection)
    scenes = _find_composited_scenes(ctx, tile, record)
    return RefreshBase(BaseRecord(since=since.isoformat(), record=record, scenes=scenes), is_stored=False)


def _find_composited_scenes(ctx: RunContext, tile: Tile, record: SelectRecord) -> tuple[str, ...]:
    """Return the scenes that acquire brought into the composite; the list itself if acquire has not run."""
    key = layout.TileKeys(tile.name).acquired
    data = ctx.store.get(key)
    if data is None:
        return record.selected
    known = {one.id for one in record.candidates}
    return tuple(one.id for one in AcquireRecord.read(data, key).scenes if one.id in known)


def delete_base(ctx: RunContext, tile: Tile) -> None:
    """Delete the base of an earlier refresh, because the tile has a list of its own again."""
    for key in (layout.TileKeys(tile.name).base_selection, layout.TileKeys(tile.name).base_previews):
        if ctx.store.has_key(key):
            ctx.store.delete(key)


def prepare(ctx: RunContext, tile: Tile, base: RefreshBase) -> RefreshInputs:
    """Search the newer scenes of a tile."""
    found, known = ctx.find_newer_scenes(tile), {one.id for one in base.record.record.candidates}
    scenes = [scene for scene in found.scenes if scene.id not in known]
    left_out = [LeftOut(id=scene, reason=reason) for scene, reason in found.left_out]
    excluded = [LeftOut(id=scene, reason=reason) for scene, reason in found.excluded if scene not in known]
    weights = read_weights_checksums(ctx) if scenes or base.is_stored else []
    return RefreshInputs(ctx.config, base, scenes, left_out, excluded, weights)


def fingerprint(inputs: RefreshInputs) -> str:
    """Return the SHA-256 over the base, the newer scenes, the options and the networks.

    If there is nothing to do, return the fingerprint of the current list, so that it stays.
    """
    config, base = inputs.config, inputs.base.record
    if not inputs.has_work:
        return base.record.fingerprint
    options = (config.dates, config.target.isoformat(), config.max_scenes, config.selection, config.refresh)
    scenes = [(scene.id, scene.processed, scene.offset) for scene in inputs.scenes]
    facts = (base.since, options, scenes, inputs.left_out, inputs.weights, base.record.fingerprint, base.scenes)
    return compute_fingerprint("refresh", VERSION, *facts)


def run(ctx: RunContext, tile: Tile, inputs: RefreshInputs) -> StepResult:
    """Store the base, then write select/T.previews.tif, then select/T.json."""
    base = inputs.base.record
    if not inputs.base.is_stored:
        _store_base(ctx, tile, base)
    previews, unusable = read_previews(ctx, tile, inputs.scenes)
    stacks = read_stored_previews(ctx, base.record, layout.TileKeys(tile.name).base_previews)
    looks = [_restore_look(base.record.find_candidate(one), stacks[one]) for one in base.scenes]
    renewal = refresh_selection(
        looks, [one.look for one in previews], CostModel.from_config(ctx.config), ctx.config.refresh
    )
    stacks |= {one.scene.id: one.stack for one in previews}
    write_previews(ctx, tile, list(stacks.items()))
    left_out = (*inputs.left_out, *inputs.excluded, *unusable.left_out)
    record = _build_record(inputs, renewal, previews, left_out, _compute_coverable(stacks.values()))
    ctx.store.put(layout.TileKeys(tile.name).selection, record.write())
    facts = {"candidates": len(previews), "selected": len(renewal.added), "dropped": len(renewal.dropped)}
    return StepResult(StepName.SELECT, tile.name, "done" if record.selected else "empty", facts)


def _store_base(ctx: RunContext, tile: Tile, base: BaseRecord) -> None:
    """Store the base: first its previews, then its record, which marks the base as complete."""
    previews = ctx.store.get(layout.TileKeys(tile.name).previews) if base.record.candidates else None
    if previews is not None:
        ctx.store.put(layout.TileKeys(tile.name).base_previews, previews)
    ctx.store.put(layout.TileKeys(tile.name).base_selection, base.write())


def _restore_look(one: Candidate, stack: UInt8) -> PreviewCandidate:
    """Rebuild an earlier candidate from its stored preview (4, y, x)."""
    day = date.fromisoformat(one.date)
    return PreviewCandidate(one.id, day, one.haze, stack[3] == Mask.CLEAR, stack[3] != Mask.NODATA)


def _compute_coverable(stacks: Iterable[UInt8]) -> float:
    """Return the part of the tile that at least one candidate shows clear, 0 to 1."""
    clear = [stack[3] == Mask.CLEAR for stack in stacks]
    return float(np.any(clear, axis=0).mean()) if clear else 0.0


def _build_record(
    inputs: RefreshInputs,
    renewal: RefreshResult,
    previews: Sequence[ScenePreview],
    left_out: tuple[LeftOut, ...],
    coverable: float,
) -> SelectRecord:
    """Build the record after a refresh; if no newer scene was taken, list and figures are those of the base."""
    config, base = inputs.config, inputs.base.record
    scene_list = _update_list(base.record, renewal, coverable) if renewal.added else base.record
    facts = fingerprint(inputs)
    return SelectRecord(
        tile=base.record.tile,
        start=config.dates.start.isoformat(),
        end=config.dates.end.isoformat(),
        target=config.target.isoformat(),
        parameters={
            **config.selection.model_dump(), **config.refresh.model_dump(),
            "max_scenes": config.max_scenes, "max_cloud": config.max_cloud,
        },
        preview_shape=base.record.preview_shape,
        candidates=(*scene_list.candidates, *_describe_new_candidates(renewal, previews)),
        selected=scene_list.selected,
        spares=scene_list.spares,
        coverable=scene_list.coverable,
        covered=scene_list.covered,
        objective=scene_list.objective,
        lower_bound=scene_list.lower_bound,
        gap=scene_list.gap,
        status=scene_list.status,
        elements=scene_list.elements,
        left_out=left_out,
        fingerprint=facts,
        renewed=RefreshInfo(
            since=base.since,
            base=base.record.fingerprint,
            basis=facts if renewal.added else base.record.basis,
            taken=renewal.added,
            dropped=renewal.dropped,
        ),
    )  # fmt: skip


def _update_list(record: SelectRecord, renewal: RefreshResult, coverable: float) -> SelectRecord:
    """Return the earlier record with the refreshed list; nothing was solved, so objective and bound are 0."""
    verdicts = renewal.decisions
    ranked = sorted((verdicts[name].rank or 0, name) for name in verdicts if verdicts[name].decision == "spare")
    spares = (*(name for _, name in ranked), *(name for name in record.spares if name not in verdicts))
    return record.model_copy(
        update={
            "candidates": tuple(_update_candidate(one, renewal, spares) for one in record.candidates),
            "selected": renewal.selected,
            "spares": spares,
            "covered": renewal.covered,
            "coverable": coverable,
            "objective": 0.0,
            "lower_bound": 0.0,
            "gap": 0.0,
            "status": "refreshed",
            "elements": 0,
        }
    )


def _update_candidate(one: Candidate, renewal: RefreshResult, spares: Sequence[str]) -> Candidate:
    """Return an earlier candidate with its decision and rank in the refreshed list."""
    verdict = renewal.decisions.get(one.id)
    update: dict[str, object] = {"rank": spares.index(one.id) + 1 if one.id in spares else None}
    if verdict is not None:
        update |= {"cost": verdict.cost, "gain": verdict.gain, "decision": verdict.decision, "reason": verdict.reason}
        update["rank"] = verdict.rank
    elif one.decision == "taken":
        update |= {"decision": "left", "reason": "Dropped from the earlier list: unusable at full resolution."}
    return Candidate.model_validate({**one.model_dump(), **update})


def _describe_new_candidates(renewal: RefreshResult, previews: Sequence[ScenePreview]) -> list[Candidate]:
    """Describe the newer scenes; if none was taken, the list stays as it is and none of them is a spare."""
    described = [
        build_candidate_record(one.scene, one.look, renewal.decisions[one.scene.id], one.source) for one in previews
    ]
    if renewal.added:
        return described
    return [one.model_copy(update={"decision": "left", "rank": None}) for one in described]

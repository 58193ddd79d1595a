"""Acquire: the selected scenes at full resolution, as 8-bit levels with cloud and shadow masks (paper, section 2.2).

While pixels remain that no scene has shown clear, the next best candidate comes in, until all is covered, no candidate
is left, or the cap is reached: then the holes are stated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from s2ops.catalog.scene import Scene
from s2ops.constants import Bool, Mask
from s2ops.errors import SceneOutsideTile, RasterError
from s2ops.geo.mgrs_tiles import Tile
from s2ops.pipeline.steps.acquire_scene import make_scene
from s2ops.pipeline.steps.base import TileStep, record_of
from s2ops.pipeline.steps.select import selected
from s2ops.raster.reader import read_window, slabs
from s2ops.records import AcquiredScene, AcquireRecord, LeftOut, SceneRecord, SelectRecord, StopReason
from s2ops.results import StepResult
from s2ops.run.context import RunContext
from s2ops.selection.scene_selection import MOSTLY_CLEAR
from s2ops.storage import layout
from s2ops.storage.done_marker import DoneMarker, compute_fingerprint
from s2ops.telemetry import metrics

VERSION = 1


def marker(ctx: RunContext, tile: Tile) -> DoneMarker:
    """Stands while the scene list, the resolution and the mask network are the same."""
    facts = (selected(ctx, tile).basis, ctx.res, ctx.config.max_scenes, _dates_wanted(ctx))
    weights = ctx.load_weights_info("scene-cloud").sha256
    return DoneMarker(layout.acquired(tile.name), compute_fingerprint("acquire", VERSION, *facts, weights))


def _dates_wanted(ctx: RunContext) -> int:
    """How many dates landcover reads; 0 when it reads the mosaic, or is not wanted."""
    options = ctx.config.landcover
    return options.max_dates if options.enabled and options.source == "scenes" else 0


@dataclass
class _Gathered:
    """What has been acquired so far."""

    open: Bool
    """(y, x): seen clear by none yet."""
    mosaic: list[SceneRecord] = field(default_factory=list)
    added: list[float] = field(default_factory=list)
    """Part of the tile that each of `mosaic` was the first to show clear."""
    idle: list[SceneRecord] = field(default_factory=list)
    """Acquired for a hole, but brought nothing to the mosaic."""
    left_out: list[LeftOut] = field(default_factory=list)
    broken: list[RasterError] = field(default_factory=list)
    """What was wrong with those of `left_out` that could not be read."""

    def known(self) -> set[str]:
        """Ids that need no further look."""
        return {one.id for one in (*self.mosaic, *self.idle)} | {one.id for one in self.left_out}


def run(ctx: RunContext, tile: Tile) -> StepResult:
    """Write scenes/T/ID.tif, ID.mask.tif and ID.json of each scene, then scenes/T/acquired.json."""
    mark, plan = marker(ctx, tile), selected(ctx, tile)
    scenes = {scene.id: scene for scene in ctx.find_scenes(tile).scenes}
    got = _Gathered(np.ones(ctx.build_geobox(tile).shape, np.bool_))
    for scene_id in plan.selected:
        _add(ctx, tile, scenes, scene_id, got)
    stop: StopReason = "covered"
    queue = iter(plan.spares)
    while got.open.any():
        spare = next(queue, None)
        if spare is None:
            stop = "no candidates left"
            break
        if len(got.mosaic) + len(got.idle) >= ctx.config.max_scenes:
            stop = "scene cap"
            break
        _add(ctx, tile, scenes, spare, got, only_for_holes=True)
    if got.broken and not got.mosaic:
        raise RasterError(
            f"{tile.name}: {len(got.broken)} of its scenes cannot be read and none can be used: {got.broken[0]}"
        )
    series = _series(ctx, tile, plan, scenes, got)
    record = _record(plan, got, series, stop, mark.fingerprint)
    ctx.store.put(mark.key, record.write())
    _forget_others(ctx, tile, record)
    facts = {"scenes": len(record.scenes), "series": len(series), "holes": record.holes}
    return StepResult("acquire", tile.name, "done" if record.scenes else "empty", facts)


def _make(ctx: RunContext, tile: Tile, scenes: Mapping[str, Scene], scene_id: str) -> SceneRecord:
    """The scene at full resolution. What an earlier run made counts where a refresh finds it in no catalog any more."""
    if scene_id in scenes:
        return make_scene(ctx, tile, scenes[scene_id])
    key = layout.scene(tile.name, scene_id)
    data = ctx.store.get(key)
    if data is None:
        raise RasterError(f"{scene_id} is of the earlier list, but neither in the catalog nor in the run any more")
    return SceneRecord.read(data, key)


def _add(
    ctx: RunContext,
    tile: Tile,
    scenes: Mapping[str, Scene],
    scene_id: str,
    got: _Gathered,
    *,
    only_for_holes: bool = False,
) -> None:
    """Acquire one scene; a broken one is left out and recorded, it never ends the tile."""
    try:
        record = _make(ctx, tile, scenes, scene_id)
    except RasterError as error:
        got.left_out.append(LeftOut(id=scene_id, reason=str(error)))
        got.broken += [] if isinstance(error, SceneOutsideTile) else [error]
        metrics.scene_left_out()
        return
    before = np.count_nonzero(got.open)
    path = ctx.store.gdal(layout.mask(tile.name, scene_id))
    for rows in slabs(got.open.shape[0]):
        got.open[rows] &= read_window(path, rows)[0] != Mask.CLEAR
    filled = before - np.count_nonzero(got.open)
    if filled or not only_for_holes:
        got.mosaic.append(record)
        got.added.append(filled / got.open.size)
    else:
        got.idle.append(record)


def _series(
    ctx: RunContext, tile: Tile, plan: SelectRecord, scenes: dict[str, Scene], got: _Gathered
) -> list[SceneRecord]:
    """Further dates for landcover, the clearest first: idle ones, then others that are mostly clear."""
    wanted = _dates_wanted(ctx) - len(got.mosaic)
    series = got.idle[: max(wanted, 0)]
    known = got.known()
    others = sorted(plan.candidates, key=lambda one: (-one.coverage, one.id))
    clear = (one.id for one in others if one.coverage >= MOSTLY_CLEAR and one.id not in known)
    for scene_id in islice(clear, max(wanted - len(series), 0)):
        try:
            series.append(_make(ctx, tile, scenes, scene_id))
        except RasterError as error:
            got.left_out.append(LeftOut(id=scene_id, reason=str(error)))
    return series


def _record(
    plan: SelectRecord, got: _Gathered, series: Sequence[SceneRecord], stop: StopReason, facts: str
) -> AcquireRecord:
    """Everything in priority order, which is the order it was acquired in: the list, then what filled its holes."""
    return AcquireRecord(
        tile=plan.tile,
        scenes=tuple(_placed(plan, one, added) for one, added in zip(got.mosaic, got.added, strict=True)),
        series=tuple(_placed(plan, one, 0.0) for one in series),
        left_out=tuple(got.left_out),
        holes=float(np.count_nonzero(got.open) / got.open.size),
        stop=stop,
        fingerprint=facts,
    )


def _placed(plan: SelectRecord, record: SceneRecord, added: float) -> AcquiredScene:
    return AcquiredScene(**record.model_dump(), added=added, haze=plan.candidate(record.id).haze)


def _forget_others(ctx: RunContext, tile: Tile, record: AcquireRecord) -> None:
    """Remove files of scenes that an earlier run of other settings left here."""
    ids = [one.id for one in (*record.scenes, *record.series)]
    kept = {layout.acquired(tile.name)} | {
        key(tile.name, scene_id) for scene_id in ids for key in (layout.image, layout.mask, layout.scene)
    }
    for key in ctx.store.keys(f"scenes/{tile.name}"):
        if key not in kept:
            ctx.store.delete(key)


def acquired(ctx: RunContext, tile: Tile) -> AcquireRecord:
    """The record that acquire wrote; InputError where it has not run."""
    return record_of(ctx, tile, "acquire", layout.acquired(tile.name), AcquireRecord)


STEP = TileStep("acquire", layout.acquired, marker, run)

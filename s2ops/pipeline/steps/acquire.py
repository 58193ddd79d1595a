"""Acquire step (download): selected scenes at full resolution with cloud and shadow masks (paper, section 2.2).

The scenes of the list are acquired first. While pixels remain that no acquired scene shows clear (holes), the next
fallback scene is acquired, until everything is covered, no candidate is left, or the maximum number of scenes is
reached. The record states the remaining holes.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np

from s2ops.catalog.scene import Scene
from s2ops.config import RunConfig
from s2ops.constants import Bool, Mask
from s2ops.errors import RasterError, SceneOutsideTile
from s2ops.geo.mgrs_tiles import Tile
from s2ops.pipeline.steps.acquire_scene import acquire_scene
from s2ops.pipeline.steps.base import TileStep, read_record
from s2ops.pipeline.steps.select import read_selection
from s2ops.raster.reader import read_window, split_rows
from s2ops.records import AcquiredScene, AcquireRecord, LeftOut, SceneRecord, SelectRecord, StopReason
from s2ops.results import StepName, StepResult
from s2ops.run.context import RunContext
from s2ops.selection.scene_selection import MIN_CLEAR_FRACTION
from s2ops.storage import layout
from s2ops.storage.done_marker import compute_fingerprint
from s2ops.telemetry import metrics

_LOG: Final = logging.getLogger(__name__)

VERSION = 1


@dataclass(frozen=True)
class AcquireInputs:
    """Inputs of acquire: the scene list of a tile, the options and the mask network."""

    selection: SelectRecord
    res: int
    max_scenes: int
    max_dates: int
    """Number of dates that land cover reads; 0 if it reads the mosaic, or is not wanted."""
    weights: str
    """SHA-256 of the weights of the mask network."""


def prepare(ctx: RunContext, tile: Tile) -> AcquireInputs:
    """Read the scene list of a tile."""
    selection = read_selection(ctx, tile)
    max_dates = _count_landcover_dates(ctx.config)
    weights = ctx.load_weights_info("scene-cloud").sha256
    return AcquireInputs(selection, ctx.res, ctx.config.max_scenes, max_dates, weights)


def _count_landcover_dates(config: RunConfig) -> int:
    options = config.landcover
    return options.max_dates if options.enabled and options.source == "scenes" else 0


def fingerprint(inputs: AcquireInputs) -> str:
    """Return the SHA-256 over the scene list, the options and the mask network."""
    facts = (inputs.selection.basis, inputs.res, inputs.max_scenes, inputs.max_dates, inputs.weights)
    return compute_fingerprint("acquire", VERSION, *facts)


def run(ctx: RunContext, tile: Tile, inputs: AcquireInputs) -> StepResult:
    """Write scenes/T/ID.tif, ID.mask.tif and ID.json of each scene, then scenes/T/acquired.json."""
    acquisition = _Acquisition(ctx, tile, {scene.id: scene for scene in ctx.find_scenes(tile).scenes})
    for scene_id in inputs.selection.selected:
        acquisition.add(scene_id)
    stop = _fill_holes(acquisition, inputs)
    if acquisition.errors and not acquisition.mosaic:
        raise RasterError(
            f"{tile.name}: {len(acquisition.errors)} of its scenes cannot be read and none can be used: "
            f"{acquisition.errors[0]}"
        )
    series = _acquire_series(acquisition, inputs)
    record = _build_record(inputs, acquisition, series, stop)
    ctx.store.put(layout.TileKeys(tile.name).acquired, record.write())
    _delete_other_scenes(ctx, tile, record)
    facts = {"scenes": len(record.scenes), "series": len(series), "holes": record.holes}
    return StepResult(StepName.ACQUIRE, tile.name, "done" if record.scenes else "empty", facts)


@dataclass
class _Acquisition:
    """Scenes of a tile that have been acquired so far, and the pixels that are still without a clear scene."""

    ctx: RunContext
    tile: Tile
    scenes: Mapping[str, Scene]
    """The catalog's scenes, by id."""
    holes: Bool = field(init=False)
    """(y, x): no acquired scene is clear."""
    mosaic: list[SceneRecord] = field(default_factory=list)
    added: list[float] = field(default_factory=list)
    """For each scene of `mosaic`, the part of the tile that it was the first to show clear."""
    idle: list[SceneRecord] = field(default_factory=list)
    """Scenes that were acquired to fill holes and filled none."""
    left_out: list[LeftOut] = field(default_factory=list)
    errors: list[RasterError] = field(default_factory=list)
    """Errors of those scenes of `left_out` that could not be read."""

    def __post_init__(self) -> None:
        self.holes = np.ones(self.ctx.build_geobox(self.tile).shape, np.bool_)

    @property
    def known_ids(self) -> set[str]:
        """Scenes that have been acquired or left out."""
        return {one.id for one in (*self.mosaic, *self.idle)} | {one.id for one in self.left_out}

    def acquire(self, scene_id: str) -> SceneRecord:
        """Acquire a scene; in a refresh, a scene that no catalog offers any more is taken from the earlier run."""
        if scene_id in self.scenes:
            return acquire_scene(self.ctx, self.tile, self.scenes[scene_id])
        key = layout.SceneKeys(self.tile.name, scene_id).record
        data = self.ctx.store.get(key)
        if data is None:
            raise RasterError(
                f"Cannot find {scene_id} of the earlier list: it is neither in the catalog nor in the run any more."
            )
        return SceneRecord.read(data, key)

    def leave_out(self, scene_id: str, error: RasterError) -> None:
        """Record and log that a scene cannot be used."""
        self.left_out.append(LeftOut(id=scene_id, reason=str(error)))
        fields = {"scene": scene_id, "tile": self.tile.name, "step": "acquire", "reason": str(error)}
        _LOG.warning("scene left out", extra=fields)

    def add(self, scene_id: str, *, only_for_holes: bool = False) -> None:
        """Acquire a scene for the mosaic; a broken scene is recorded as left out and never ends the tile."""
        try:
            record = self.acquire(scene_id)
        except RasterError as error:
            self.leave_out(scene_id, error)
            self.errors += [] if isinstance(error, SceneOutsideTile) else [error]
            metrics.count_scene_left_out()
            return
        before = np.count_nonzero(self.holes)
        path = self.ctx.store.get_gdal_path(layout.SceneKeys(self.tile.name, scene_id).mask)
        for rows in split_rows(self.holes.shape[0]):
            self.holes[rows] &= read_window(path, rows)[0] != Mask.CLEAR
        filled = before - np.count_nonzero(self.holes)
        if filled or not only_for_holes:
            self.mosaic.append(record)
            self.added.append(filled / self.holes.size)
        else:
            self.idle.append(record)


def _fill_holes(acquisition: _Acquisition, inputs: AcquireInputs) -> StopReason:
    """Acquire fallback scenes while there are holes, and return the reason to stop."""
    queue = iter(inputs.selection.spares)
    while acquisition.holes.any():
        scene_id = next(queue, None)
        if scene_id is None:
            return "no candidates left"
        if len(acquisition.mosaic) + len(acquisition.idle) >= inputs.max_scenes:
            return "scene cap"
        acquisition.add(scene_id, only_for_holes=True)
    return "covered"


def _acquire_series(acquisition: _Acquisition, inputs: AcquireInputs) -> list[SceneRecord]:
    """Acquire further dates for land cover: idle scenes first, then mostly clear ones, the clearest first."""
    wanted = inputs.max_dates - len(acquisition.mosaic)
    series = acquisition.idle[: max(wanted, 0)]
    known = acquisition.known_ids
    others = sorted(inputs.selection.candidates, key=lambda one: (-one.coverage, one.id))
    clear = (one.id for one in others if one.coverage >= MIN_CLEAR_FRACTION and one.id not in known)
    for scene_id in islice(clear, max(wanted - len(series), 0)):
        try:
            series.append(acquisition.acquire(scene_id))
        except RasterError as error:
            acquisition.leave_out(scene_id, error)
    return series


def _build_record(
    inputs: AcquireInputs, acquisition: _Acquisition, series: Sequence[SceneRecord], stop: StopReason
) -> AcquireRecord:
    """List all scenes in priority order, which is the order of acquisition: the scene list, then the fallbacks."""
    selection, holes = inputs.selection, acquisition.holes
    mosaic = zip(acquisition.mosaic, acquisition.added, strict=True)
    return AcquireRecord(
        tile=selection.tile,
        scenes=tuple(_describe_scene(selection, one, added) for one, added in mosaic),
        series=tuple(_describe_scene(selection, one, 0.0) for one in series),
        left_out=tuple(acquisition.left_out),
        holes=float(np.count_nonzero(holes) / holes.size),
        stop=stop,
        fingerprint=fingerprint(inputs),
    )


def _describe_scene(selection: SelectRecord, record: SceneRecord, added: float) -> AcquiredScene:
    return AcquiredScene(**record.model_dump(), added=added, haze=selection.find_candidate(record.id).haze)


def _delete_other_scenes(ctx: RunContext, tile: Tile, record: AcquireRecord) -> None:
    """Delete files of scenes that an earlier run with other settings left in the tile's folder."""
    ids = [one.id for one in (*record.scenes, *record.series)]
    kept = {layout.TileKeys(tile.name).acquired} | {
        key
        for keys in (layout.SceneKeys(tile.name, scene_id) for scene_id in ids)
        for key in (keys.image, keys.mask, keys.record)
    }
    for key in ctx.store.list_keys(layout.TileKeys(tile.name).scenes_prefix):
        if key not in kept:
            ctx.store.delete(key)


def read_acquired(ctx: RunContext, tile: Tile) -> AcquireRecord:
    """Read the record that acquire wrote for a tile; raise MissingInput if it has not run."""
    return read_record(ctx, tile, StepName.ACQUIRE, layout.TileKeys(tile.name).acquired, AcquireRecord)


STEP = TileStep(StepName.ACQUIRE, lambda tile: layout.TileKeys(tile).acquired, prepare, fingerprint, run)

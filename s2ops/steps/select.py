"""Select: look at every candidate's preview, list the fewest scenes that cover the tile (paper, section 2.1)."""

from dataclasses import dataclass

import numpy as np

from s2ops import keys
from s2ops.codes import Bool, Mask, UInt8
from s2ops.cog import STACK
from s2ops.errors import InputError, RasterError
from s2ops.grid import Tile
from s2ops.inference.windows import segment
from s2ops.job import Job, StepResult
from s2ops.marker import Marker, fingerprint
from s2ops.masks import preview_mask
from s2ops.outputs import publisher
from s2ops.preview import SIZE, Source, preview_grid, read_preview
from s2ops.records import LeftOut, SelectRecord
from s2ops.scene import Scene
from s2ops.selection import Look, Rule, candidate, choose
from s2ops.steps.base import TileStep, record_of

VERSION = 2


@dataclass(frozen=True)
class _Seen:
    """A candidate whose preview could be read."""

    scene: Scene
    source: Source
    rgb: UInt8
    mask: UInt8
    look: Look


def marker(job: Job, tile: Tile) -> Marker:
    """Stands while the catalog offers the same scenes and the rules and networks are the same."""
    config, found = job.config, job.scenes(tile)
    scenes = [(scene.id, scene.processed, scene.offset) for scene in found.scenes]
    rules = (config.dates, config.target.isoformat(), config.max_scenes, config.selection)
    weights = [job.model(name).sha256 for name in ("preview-cloud", "preview-haze")]
    facts = fingerprint("select", VERSION, rules, scenes, [list(out) for out in found.left_out], weights)
    return Marker(keys.select(tile.name), facts)


def run(job: Job, tile: Tile) -> StepResult:
    """Write select/T.previews.tif, then select/T.json."""
    mark, found = marker(job, tile), job.scenes(tile)
    left_out = [LeftOut(id=scene, reason=reason) for scene, reason in found.left_out]
    seen: list[_Seen] = []
    for scene in found.scenes:
        try:
            seen.append(_look(job, tile, scene))
        except RasterError as error:
            left_out.append(LeftOut(id=scene.id, reason=str(error)))
    rule = Rule.of(job.config)
    choice = choose([one.look for one in seen], rule)
    if seen:
        with publisher(job.store, preview_grid(tile)) as made:
            names = [f"{one.scene.id} {band}" for one in seen for band in ("red", "green", "blue", "mask")]
            stack = made.file("previews", names, STACK)
            stack.write(np.concatenate([[*one.rgb, one.mask] for one in seen]))
            made.put(keys.previews(tile.name), stack)
    record = SelectRecord(
        tile=tile.name,
        start=rule.start.isoformat(),
        end=rule.end.isoformat(),
        target=rule.target.isoformat(),
        parameters={**rule.options.model_dump(), "max_scenes": rule.max_scenes, "max_cloud": job.config.max_cloud},
        preview_shape=(SIZE, SIZE),
        candidates=tuple(candidate(one.scene, one.look, choice.verdicts[one.scene.id], one.source) for one in seen),
        selected=choice.selected,
        spares=choice.spares,
        coverable=choice.coverable,
        covered=choice.covered,
        objective=choice.objective,
        lower_bound=choice.lower_bound,
        gap=choice.gap,
        status=choice.status,
        elements=choice.elements,
        left_out=tuple(left_out),
        fingerprint=mark.fingerprint,
    )
    job.store.put(mark.key, record.write())
    facts = {"candidates": len(seen), "selected": len(choice.selected), "covered": round(choice.covered, 4)}
    return StepResult("select", tile.name, "done" if choice.selected else "empty", facts)


def _look(job: Job, tile: Tile, scene: Scene) -> _Seen:
    """Preview, cloud mask and haze of one candidate."""
    rgb, source = read_preview(scene, tile)
    valid: Bool = (rgb != 0).any(axis=0)
    if not valid.any():
        raise RasterError(f"the preview of {scene.id} is all no data: the swath misses the tile")
    mask = preview_mask(segment(job.segmenter("preview-cloud"), rgb), valid)
    haze = float(job.scorer.score(rgb[None])[0]) / 255
    look = Look(scene.id, scene.datetime.date(), haze, mask == Mask.CLEAR, valid)
    return _Seen(scene, source, rgb, mask, look)


def selected(job: Job, tile: Tile) -> SelectRecord:
    """The record that select wrote; InputError where it has not run."""
    return record_of(job, tile, "select", keys.select(tile.name), SelectRecord)


def _some_scene(job: Job) -> None:
    """A run in which no tile has a scene is a mistake in the configuration, not an empty mosaic."""
    if any(job.scenes(tile).scenes for tile in job.tiles):
        return
    dates = job.config.dates
    raise InputError(
        f"no scene found for any of the {len(job.tiles)} tiles from {dates.start} to {dates.end} with at most "
        f"{job.config.max_cloud:g} % cloud in {job.config.catalog}: widen dates, raise max_cloud, or check the catalog"
    )


STEP = TileStep("select", marker, run, check=_some_scene)

"""Select: look at every candidate's preview, list the fewest scenes that cover the tile (paper, section 2.1)."""

from s2ops.acquisition.preview import SIZE
from s2ops.errors import InputError, RasterError
from s2ops.geo.mgrs_tiles import Tile
from s2ops.pipeline.steps import refresh
from s2ops.pipeline.steps.base import TileStep, record_of
from s2ops.pipeline.steps.previews import look_at, put_previews
from s2ops.records import LeftOut, SelectRecord
from s2ops.results import StepResult
from s2ops.run.context import Job
from s2ops.selection.scene_selection import Rule, candidate, choose
from s2ops.storage import layout
from s2ops.storage.done_marker import Marker, fingerprint

VERSION = 4


def marker(job: Job, tile: Tile) -> Marker:
    """Stands while the catalog offers the same scenes and the rules and networks are the same.

    In a refresh of a tile that has a list, only newer scenes count (`steps/renew.py`).
    """
    if (begun := refresh.begun(job, tile)) is not None:
        return refresh.marker(job, tile, begun)
    config, found = job.config, job.scenes(tile)
    scenes = [(scene.id, scene.processed, scene.offset) for scene in found.scenes]
    rules = (config.dates, config.target.isoformat(), config.max_scenes, config.selection)
    weights = [job.model(name).sha256 for name in ("preview-cloud", "preview-haze")]
    facts = fingerprint("select", VERSION, rules, scenes, [list(out) for out in found.left_out], weights)
    return Marker(layout.select(tile.name), facts)


def run(job: Job, tile: Tile) -> StepResult:
    """Write select/T.previews.tif, then select/T.json."""
    if (begun := refresh.begun(job, tile)) is not None:
        return refresh.run(job, tile, begun)
    mark, found = marker(job, tile), job.scenes(tile)
    seen, broken = look_at(job, tile, found.scenes)
    left_out = [*(LeftOut(id=scene, reason=reason) for scene, reason in found.left_out), *broken.left_out]
    if broken.errors and not seen:
        raise RasterError(
            f"{tile.name}: {len(broken.errors)} of its scenes cannot be read and none can be used: {broken.errors[0]}"
        )
    rule = Rule.of(job.config)
    choice = choose([one.look for one in seen], rule)
    put_previews(job, tile, [(one.scene.id, one.stack) for one in seen])
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
    refresh.forget(job, tile)
    facts = {"candidates": len(seen), "selected": len(choice.selected), "covered": round(choice.covered, 4)}
    return StepResult("select", tile.name, "done" if choice.selected else "empty", facts)


def selected(job: Job, tile: Tile) -> SelectRecord:
    """The record that select wrote; InputError where it has not run."""
    return record_of(job, tile, "select", layout.select(tile.name), SelectRecord)


def _some_scene(job: Job) -> None:
    """A run in which no tile has a scene is a mistake in the configuration, not an empty mosaic."""
    if job.config.since is not None:
        return  # a refresh without a newer scene has nothing to do
    if any(job.scenes(tile).scenes for tile in job.tiles):
        return
    dates = job.config.dates
    raise InputError(
        f"no scene found for any of the {len(job.tiles)} tiles from {dates.start} to {dates.end} with at most "
        f"{job.config.max_cloud:g} % cloud in {job.config.catalog}: widen dates, raise max_cloud, or check the catalog"
    )


STEP = TileStep("select", layout.select, marker, run, check=_some_scene)

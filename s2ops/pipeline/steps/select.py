"""Select: look at every candidate's preview, list the fewest scenes that cover the tile (paper, section 2.1)."""

from s2ops.acquisition.preview import SIZE
from s2ops.errors import InputError, RasterError
from s2ops.geo.mgrs_tiles import Tile
from s2ops.pipeline.steps import refresh
from s2ops.pipeline.steps.base import TileStep, record_of
from s2ops.pipeline.steps.previews import look_at, put_previews
from s2ops.records import LeftOut, SelectRecord
from s2ops.results import StepResult
from s2ops.run.context import RunContext
from s2ops.selection.scene_selection import Rule, candidate, choose
from s2ops.storage import layout
from s2ops.storage.done_marker import DoneMarker, compute_fingerprint

VERSION = 4


def marker(ctx: RunContext, tile: Tile) -> DoneMarker:
    """Stands while the catalog offers the same scenes and the rules and networks are the same.

    In a refresh of a tile that has a list, only newer scenes count (`steps/renew.py`).
    """
    if (begun := refresh.begun(ctx, tile)) is not None:
        return refresh.marker(ctx, tile, begun)
    config, found = ctx.config, ctx.find_scenes(tile)
    scenes = [(scene.id, scene.processed, scene.offset) for scene in found.scenes]
    rules = (config.dates, config.target.isoformat(), config.max_scenes, config.selection)
    weights = [ctx.load_weights_info(name).sha256 for name in ("preview-cloud", "preview-haze")]
    facts = compute_fingerprint("select", VERSION, rules, scenes, [list(out) for out in found.left_out], weights)
    return DoneMarker(layout.select(tile.name), facts)


def run(ctx: RunContext, tile: Tile) -> StepResult:
    """Write select/T.previews.tif, then select/T.json."""
    if (begun := refresh.begun(ctx, tile)) is not None:
        return refresh.run(ctx, tile, begun)
    mark, found = marker(ctx, tile), ctx.find_scenes(tile)
    seen, broken = look_at(ctx, tile, found.scenes)
    left_out = [*(LeftOut(id=scene, reason=reason) for scene, reason in found.left_out), *broken.left_out]
    if broken.errors and not seen:
        raise RasterError(
            f"{tile.name}: {len(broken.errors)} of its scenes cannot be read and none can be used: {broken.errors[0]}"
        )
    rule = Rule.of(ctx.config)
    choice = choose([one.look for one in seen], rule)
    put_previews(ctx, tile, [(one.scene.id, one.stack) for one in seen])
    record = SelectRecord(
        tile=tile.name,
        start=rule.start.isoformat(),
        end=rule.end.isoformat(),
        target=rule.target.isoformat(),
        parameters={**rule.options.model_dump(), "max_scenes": rule.max_scenes, "max_cloud": ctx.config.max_cloud},
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
    ctx.store.put(mark.key, record.write())
    refresh.forget(ctx, tile)
    facts = {"candidates": len(seen), "selected": len(choice.selected), "covered": round(choice.covered, 4)}
    return StepResult("select", tile.name, "done" if choice.selected else "empty", facts)


def selected(ctx: RunContext, tile: Tile) -> SelectRecord:
    """The record that select wrote; InputError where it has not run."""
    return record_of(ctx, tile, "select", layout.select(tile.name), SelectRecord)


def _some_scene(ctx: RunContext) -> None:
    """A run in which no tile has a scene is a mistake in the configuration, not an empty mosaic."""
    if ctx.config.since is not None:
        return  # a refresh without a newer scene has nothing to do
    if any(ctx.find_scenes(tile).scenes for tile in ctx.tiles):
        return
    dates = ctx.config.dates
    raise InputError(
        f"no scene found for any of the {len(ctx.tiles)} tiles from {dates.start} to {dates.end} with at most "
        f"{ctx.config.max_cloud:g} % cloud in {ctx.config.catalog}: widen dates, raise max_cloud, or check the catalog"
    )


STEP = TileStep("select", layout.select, marker, run, check=_some_scene)

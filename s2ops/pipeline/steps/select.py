"""Select step (scene selection): the fewest scenes that cover a tile, chosen on previews (paper, section 2.1).

The step has two forms with the same interface. A tile without a scene list gets a full selection (below). In a refresh
(`since`), a tile that has a scene list keeps it and newer scenes are added (`refresh.py`). `prepare` decides.
"""

from dataclasses import dataclass
from typing import TypeAlias

from s2ops.acquisition.preview import PREVIEW_SIZE_PX
from s2ops.catalog.search import SearchResult
from s2ops.config import RunConfig
from s2ops.errors import InputError, RasterError
from s2ops.geo.mgrs_tiles import Tile
from s2ops.pipeline.steps import refresh
from s2ops.pipeline.steps.base import TileStep, read_record
from s2ops.pipeline.steps.previews import ScenePreview, read_previews, read_weights_checksums, write_previews
from s2ops.pipeline.steps.refresh import RefreshInputs
from s2ops.records import LeftOut, SelectRecord
from s2ops.results import StepName, StepResult
from s2ops.run.context import RunContext
from s2ops.selection.scene_selection import CostModel, SceneSelection, build_candidate_record, select_scenes
from s2ops.storage import layout
from s2ops.storage.done_marker import compute_fingerprint

VERSION = 5


@dataclass(frozen=True)
class FullSelectionInputs:
    """Inputs of a full selection: the catalog's scenes of a tile, the options and the preview networks."""

    config: RunConfig
    found: SearchResult
    weights: list[str]
    """SHA-256 of the weights of the preview networks."""


SelectInputs: TypeAlias = FullSelectionInputs | RefreshInputs


def prepare(ctx: RunContext, tile: Tile) -> SelectInputs:
    """Search the scenes of a tile, or only the newer ones if the tile is to be refreshed."""
    base = refresh.find_base(ctx, tile)
    if base is not None:
        return refresh.prepare(ctx, tile, base)
    return FullSelectionInputs(ctx.config, ctx.find_scenes(tile), read_weights_checksums(ctx))


def fingerprint(inputs: SelectInputs) -> str:
    """Return the SHA-256 over the scenes that the catalog offers, the options and the networks."""
    if isinstance(inputs, RefreshInputs):
        return refresh.fingerprint(inputs)
    config, found = inputs.config, inputs.found
    scenes = [(scene.id, scene.processed, scene.offset) for scene in found.scenes]
    options = (config.dates, config.target.isoformat(), config.max_scenes, config.selection)
    left_out = [list(scene) for scene in found.left_out]
    return compute_fingerprint("select", VERSION, options, scenes, left_out, inputs.weights)


def run(ctx: RunContext, tile: Tile, inputs: SelectInputs) -> StepResult:
    """Write select/T.previews.tif, then select/T.json."""
    if isinstance(inputs, RefreshInputs):
        return refresh.run(ctx, tile, inputs)
    return _run_full_selection(ctx, tile, inputs)


def _run_full_selection(ctx: RunContext, tile: Tile, inputs: FullSelectionInputs) -> StepResult:
    previews, unusable = read_previews(ctx, tile, inputs.found.scenes)
    if unusable.errors and not previews:
        raise RasterError(
            f"{tile.name}: {len(unusable.errors)} of its scenes cannot be read and none can be used: "
            f"{unusable.errors[0]}"
        )
    choice = select_scenes([one.look for one in previews], CostModel.from_config(ctx.config))
    write_previews(ctx, tile, [(one.scene.id, one.stack) for one in previews])
    record = _build_record(tile, inputs, previews, unusable.left_out, choice)
    ctx.store.put(layout.TileKeys(tile.name).selection, record.write())
    refresh.delete_base(ctx, tile)
    facts = {"candidates": len(previews), "selected": len(choice.selected), "covered": round(choice.covered, 4)}
    return StepResult(StepName.SELECT, tile.name, "done" if choice.selected else "empty", facts)


def _build_record(
    tile: Tile,
    inputs: FullSelectionInputs,
    previews: list[ScenePreview],
    unusable: list[LeftOut],
    choice: SceneSelection,
) -> SelectRecord:
    rule = CostModel.from_config(inputs.config)
    left_out = [LeftOut(id=scene, reason=reason) for scene, reason in (*inputs.found.left_out, *inputs.found.excluded)]
    return SelectRecord(
        tile=tile.name,
        start=rule.start.isoformat(),
        end=rule.end.isoformat(),
        target=rule.target.isoformat(),
        parameters={**rule.options.model_dump(), "max_scenes": rule.max_scenes, "max_cloud": inputs.config.max_cloud},
        preview_shape=(PREVIEW_SIZE_PX, PREVIEW_SIZE_PX),
        candidates=tuple(
            build_candidate_record(one.scene, one.look, choice.decisions[one.scene.id], one.source) for one in previews
        ),
        selected=choice.selected,
        spares=choice.fallbacks,
        coverable=choice.coverable,
        covered=choice.covered,
        objective=choice.objective,
        lower_bound=choice.lower_bound,
        gap=choice.gap,
        status=choice.status,
        elements=choice.elements,
        left_out=(*left_out, *unusable),
        fingerprint=fingerprint(inputs),
    )


def read_selection(ctx: RunContext, tile: Tile) -> SelectRecord:
    """Read the record that select wrote for a tile; raise MissingInput if it has not run."""
    return read_record(ctx, tile, StepName.SELECT, layout.TileKeys(tile.name).selection, SelectRecord)


def _check_any_scene(ctx: RunContext) -> None:
    """Raise InputError if no tile has a scene: then the configuration is wrong, and the mosaic would be empty."""
    if ctx.config.since is not None:
        return  # a refresh without a newer scene has nothing to do
    if any(ctx.find_scenes(tile).scenes for tile in ctx.tiles):
        return
    dates = ctx.config.dates
    raise InputError(
        f"no scene found for any of the {len(ctx.tiles)} tiles from {dates.start} to {dates.end} with at most "
        f"{ctx.config.max_cloud:g} % cloud in {ctx.config.catalog}: widen dates, raise max_cloud, or check the catalog"
    )


STEP = TileStep(
    StepName.SELECT, lambda tile: layout.TileKeys(tile).selection, prepare, fingerprint, run, check=_check_any_scene
)

"""Previews of candidates: read, masked, scored for haze, and put beside the scene list."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from s2ops.acquisition.cloud_mask import preview_mask
from s2ops.acquisition.preview import Source, preview_grid, read_preview
from s2ops.catalog.scene import Scene
from s2ops.constants import Bool, Mask, UInt8
from s2ops.errors import SceneOutsideTile, RasterError
from s2ops.geo.mgrs_tiles import Tile
from s2ops.inference.sliding_window import segment
from s2ops.raster.cog import STACK
from s2ops.raster.reader import read_all
from s2ops.records import LeftOut, SelectRecord
from s2ops.run.context import RunContext
from s2ops.run.raster_writer import open_raster_writer
from s2ops.selection.scene_selection import Look
from s2ops.storage import layout


@dataclass(frozen=True)
class Seen:
    """A candidate whose preview could be read."""

    scene: Scene
    source: Source
    stack: UInt8
    """(4, y, x): red, green, blue, mask."""
    look: Look


@dataclass
class Broken:
    """Scenes whose preview shows nothing, and why; `errors` holds those that could not be read."""

    left_out: list[LeftOut] = field(default_factory=list)
    errors: list[RasterError] = field(default_factory=list)


def look_at(ctx: RunContext, tile: Tile, scenes: Iterable[Scene]) -> tuple[list[Seen], Broken]:
    """Preview, cloud mask and haze of each scene; a broken one never ends the tile."""
    seen, broken = [], Broken()
    for scene in scenes:
        try:
            seen.append(_look(ctx, tile, scene))
        except RasterError as error:
            broken.left_out.append(LeftOut(id=scene.id, reason=str(error)))
            broken.errors += [] if isinstance(error, SceneOutsideTile) else [error]
    return seen, broken


def _look(ctx: RunContext, tile: Tile, scene: Scene) -> Seen:
    rgb, source = read_preview(scene, tile)
    valid: Bool = (rgb != 0).any(axis=0)
    if not valid.any():
        raise SceneOutsideTile(f"the preview of {scene.id} is all no data: the swath misses the tile")
    mask = preview_mask(segment(ctx.open_segmenter("preview-cloud"), rgb), valid)
    haze = float(ctx.haze_classifier.score(rgb[None])[0]) / 255
    look = Look(scene.id, scene.datetime.date(), haze, mask == Mask.CLEAR, valid)
    return Seen(scene, source, np.concatenate([rgb, mask[None]]), look)


def put_previews(ctx: RunContext, tile: Tile, stacks: Sequence[tuple[str, UInt8]]) -> None:
    """Write select/T.previews.tif: four bands for each candidate, by its id; nothing where there is none."""
    if not stacks:
        return
    with open_raster_writer(ctx.store, preview_grid(tile)) as made:
        names = [f"{scene} {band}" for scene, _ in stacks for band in ("red", "green", "blue", "mask")]
        file = made.file("previews", names, STACK)
        file.write(np.concatenate([stack for _, stack in stacks]))
        made.put({layout.previews(tile.name): file}, 1)


def stored_previews(ctx: RunContext, record: SelectRecord, key: str) -> dict[str, UInt8]:
    """(4, y, x) of each candidate of a record, from the previews written with it."""
    if not record.candidates:
        return {}
    stacks = read_all(ctx.store.gdal(key))
    return {one.id: stacks[4 * n : 4 * n + 4] for n, one in enumerate(record.candidates)}

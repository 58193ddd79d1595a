"""Previews (quicklooks) of candidate scenes: read, masked for cloud, scored for haze, stored beside the scene list."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from s2ops.acquisition.cloud_mask import compute_preview_mask
from s2ops.acquisition.preview import PreviewSource, build_preview_grid, read_preview
from s2ops.catalog.scene import Scene
from s2ops.constants import Bool, Mask, UInt8
from s2ops.errors import RasterError, SceneOutsideTile
from s2ops.geo.mgrs_tiles import Tile
from s2ops.inference.sliding_window import segment
from s2ops.raster.cog import STACK
from s2ops.raster.reader import read_all
from s2ops.records import LeftOut, SelectRecord
from s2ops.run.context import RunContext
from s2ops.run.raster_writer import open_raster_writer
from s2ops.selection.scene_selection import PreviewCandidate
from s2ops.storage import layout

_LOG: Final = logging.getLogger(__name__)

_NETWORKS = ("preview-cloud", "preview-haze")


@dataclass(frozen=True)
class ScenePreview:
    """Preview of a scene with its mask."""

    scene: Scene
    source: PreviewSource
    """Origin of the picture: the catalog's thumbnail, or a decimated read of the bands."""
    stack: UInt8
    """(4, y, x): red, green, blue, mask."""
    look: PreviewCandidate


@dataclass
class UnusablePreviews:
    """Scenes without a usable preview, with the reasons; `errors` holds those that could not be read."""

    left_out: list[LeftOut] = field(default_factory=list)
    errors: list[RasterError] = field(default_factory=list)


def read_weights_checksums(ctx: RunContext) -> list[str]:
    """Return the SHA-256 of the weights of the two preview networks."""
    return [ctx.load_weights_info(network).sha256 for network in _NETWORKS]


def read_previews(ctx: RunContext, tile: Tile, scenes: Iterable[Scene]) -> tuple[list[ScenePreview], UnusablePreviews]:
    """Read preview, cloud mask and haze of each scene; a broken scene is left out and never ends the tile."""
    previews, unusable = [], UnusablePreviews()
    for scene in scenes:
        try:
            previews.append(_read_preview(ctx, tile, scene))
        except RasterError as error:
            unusable.left_out.append(LeftOut(id=scene.id, reason=str(error)))
            fields = {"scene": scene.id, "tile": tile.name, "step": "select", "reason": str(error)}
            _LOG.warning("scene left out", extra=fields)
            unusable.errors += [] if isinstance(error, SceneOutsideTile) else [error]
    return previews, unusable


def _read_preview(ctx: RunContext, tile: Tile, scene: Scene) -> ScenePreview:
    rgb, source = read_preview(scene, tile)
    valid: Bool = (rgb != 0).any(axis=0)
    if not valid.any():
        raise SceneOutsideTile(f"The preview of {scene.id} contains no data: the swath does not cover the tile.")
    mask = compute_preview_mask(segment(ctx.open_segmenter("preview-cloud"), rgb), valid)
    haze = float(ctx.haze_classifier.score(rgb[None])[0]) / 255
    look = PreviewCandidate(scene.id, scene.datetime.date(), haze, mask == Mask.CLEAR, valid)
    return ScenePreview(scene, source, np.concatenate([rgb, mask[None]]), look)


def write_previews(ctx: RunContext, tile: Tile, stacks: Sequence[tuple[str, UInt8]]) -> None:
    """Write select/T.previews.tif: four bands per candidate, by its id; write nothing if there is no candidate."""
    if not stacks:
        return
    with open_raster_writer(ctx.store, build_preview_grid(tile)) as writer:
        names = [f"{scene} {band}" for scene, _ in stacks for band in ("red", "green", "blue", "mask")]
        file = writer.create_file("previews", names, STACK)
        file.write(np.concatenate([stack for _, stack in stacks]))
        writer.put({layout.TileKeys(tile.name).previews: file}, 1)


def read_stored_previews(ctx: RunContext, record: SelectRecord, key: str) -> dict[str, UInt8]:
    """Read the previews that were written with a record.

    Returns:
        For each candidate's id an array (4, y, x): red, green, blue, mask.
    """
    if not record.candidates:
        return {}
    stacks = read_all(ctx.store.get_gdal_path(key))
    return {one.id: stacks[4 * n : 4 * n + 4] for n, one in enumerate(record.candidates)}

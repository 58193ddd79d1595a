"""Composite step: merge the acquired scenes of a tile, newest first, patch borders feathered (paper, section 2.2)."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from s2ops.config import CompositeOptions
from s2ops.constants import BANDS, Bool, Float32, Mask, UInt8
from s2ops.geo.mgrs_tiles import Tile
from s2ops.imaging.cell_mask import CELL_M
from s2ops.imaging.interpolation import BilinearGrid
from s2ops.mosaic.composite.compositing import Composite
from s2ops.mosaic.composite.edge_weights import EdgeWeights, create_clear_cells
from s2ops.mosaic.composite.gain_matching import (
    Gains,
    ScenePair,
    convert_gain_to_level_offset,
    measure_brightness_ratio,
    solve_gains,
)
from s2ops.mosaic.composite.local_matching import OffsetField, fit_local_offsets
from s2ops.mosaic.composite.reducers import COMPOSITE_METHODS
from s2ops.mosaic.composite.scene_stack import MaskedScene, SceneStack
from s2ops.pipeline.steps.acquire import read_acquired
from s2ops.pipeline.steps.base import TileStep
from s2ops.publishing import stac_item
from s2ops.quality.patch_seam_metrics import measure_patch_seams, sample_patch_borders
from s2ops.raster.cog import CODES, IMAGERY, SHARE
from s2ops.raster.dataset_pool import DatasetCache, DatasetPool, open_dataset_cache, open_dataset_pool
from s2ops.raster.reader import read_sampled, split_rows
from s2ops.records import AcquireRecord
from s2ops.results import StepName, StepResult
from s2ops.run.context import RunContext
from s2ops.run.raster_writer import build_imagery_tags, find_date_range, open_raster_writer
from s2ops.runtime.threads import map_ordered
from s2ops.storage import layout
from s2ops.storage.done_marker import compute_fingerprint, to_json

VERSION = 6

_MATCH_SIDE = 1098
"""Side in pixels of the decimated rasters on which scenes are compared: a tenth of a full tile's."""


@dataclass(frozen=True)
class CompositeInputs:
    """Inputs of the composite of a tile: its acquired scenes and the options."""

    record: AcquireRecord
    options: CompositeOptions
    res: int


def prepare(ctx: RunContext, tile: Tile) -> CompositeInputs:
    """Read the acquired scenes of a tile."""
    return CompositeInputs(read_acquired(ctx, tile), ctx.config.composite, ctx.res)


def fingerprint(inputs: CompositeInputs) -> str:
    """Return the SHA-256 over the acquired scenes and the options of the composite."""
    scenes = [(scene.id, scene.image_sha256, scene.mask_sha256) for scene in inputs.record.scenes]
    return compute_fingerprint("composite", VERSION, inputs.options, inputs.res, scenes)


def run(ctx: RunContext, tile: Tile, inputs: CompositeInputs) -> StepResult:
    """Write composite.tif, provenance.tif and weight.tif, then item.json."""
    record, geobox, keys = inputs.record, ctx.build_geobox(tile), layout.TileKeys(tile.name)
    masks, gains, offsets = _prepare_scenes(ctx, tile, record)
    holes, borders = 0, []
    with open_raster_writer(ctx.store, geobox) as made, open_dataset_pool() as files:
        image = made.create_file("composite", BANDS, IMAGERY, build_imagery_tags())
        provenance = made.create_file("provenance", ["scene"], CODES)
        weight = made.create_file("weight", ["weight"], SHARE)
        compositor = _TileCompositor(ctx, tile, files, masks, gains, offsets)
        for slab in map_ordered(compositor.composite_slab, split_rows(geobox.height), ctx.threads):
            image.write(slab.levels)
            provenance.write(slab.provenance[None])
            weight.write(slab.weight[None])
            holes += slab.holes
            borders.append(sample_patch_borders(slab.levels, slab.provenance))
        written = {
            keys.get_raster("composite", "composite"): image,
            keys.get_raster("composite", "provenance"): provenance,
            keys.get_raster("composite", "weight"): weight,
        }
        image_sha256, provenance_sha256, weight_sha256 = made.put(written, ctx.threads)
    assets = {
        "composite": stac_item.build_imagery_asset("composite.tif", image_sha256),
        "provenance": stac_item.build_provenance_asset(
            "provenance.tif", provenance_sha256, [one.id for one in record.scenes]
        ),
        "weight": _build_weight_asset(weight_sha256),
    }
    part = round(holes / (geobox.height * geobox.width), 6)
    properties = {
        "s2ops:fingerprint": fingerprint(inputs),
        "s2ops:scenes": [{"id": scene.id, "date": scene.date, "tile": tile.name} for scene in record.scenes],
        "s2ops:rule": ctx.config.composite.rule,
        "s2ops:gains": {scene: list(values) for scene, values in gains.items()},
        "s2ops:holes": part,
        "s2ops:patches": measure_patch_seams(borders),
    }
    dates = find_date_range(record.scenes, ctx.config)
    ctx.store.put(
        keys.get_item("composite"),
        to_json(stac_item.build_tile_item("composite", tile.name, geobox, dates, assets, properties)),
    )
    return StepResult(
        StepName.COMPOSITE,
        tile.name,
        "done" if record.scenes else "empty",
        {"scenes": len(record.scenes), "holes": part},
    )


def _build_weight_asset(sha256: str) -> stac_item.Asset:
    band = {"name": "weight", "unit": "%", "nodata": 0, "statistics": {"minimum": 5, "maximum": 100}}
    return stac_item.Asset("weight.tif", sha256, "Share of that scene in each pixel", (band,), ("metadata",))


@dataclass(frozen=True)
class _SceneMask:
    """Clear mask and edge weights of a scene over the whole tile."""

    scene: str
    """Scene id."""
    edge_weights: EdgeWeights
    bits: UInt8
    """(y, bytes): one bit per pixel, so that the mask is decoded only once."""

    def unpack_clear(self, rows: slice, width: int) -> Bool:
        """Unpack some rows of the clear mask: (y, x) bool."""
        return np.unpackbits(self.bits[rows], axis=1, count=width).view(np.bool_)


def _read_mask(ctx: RunContext, tile: Tile, scene: str) -> _SceneMask:
    """Read a scene's mask over the whole tile."""
    grid, feather_px = ctx.build_geobox(tile), ctx.config.composite.fade_m / ctx.res
    cells = create_clear_cells((grid.height, grid.width), feather_px)
    bits = np.empty((grid.height, -(-grid.width // 8)), np.uint8)
    path = ctx.store.get_gdal_path(layout.SceneKeys(tile.name, scene).mask)
    with open_dataset_cache() as files:
        for rows in split_rows(grid.height):
            clear = files.read(path, rows)[0] == Mask.CLEAR
            cells.feed(clear, rows.start)
            bits[rows] = np.packbits(clear, axis=1)
    return _SceneMask(scene, EdgeWeights.from_clear_cells(cells, feather_px), bits)


def _prepare_scenes(
    ctx: RunContext, tile: Tile, record: AcquireRecord
) -> tuple[list[_SceneMask], Mapping[str, Gains], Mapping[str, OffsetField]]:
    """Read all masks and match the scenes, both at once because matching mostly uses one thread."""
    names = [scene.id for scene in record.scenes]
    with ThreadPoolExecutor(max(ctx.threads, 1)) as pool:
        matched = pool.submit(_match_scenes, ctx, tile, record)
        masks = list(pool.map(partial(_read_mask, ctx, tile), names))
        return masks, *matched.result()


def _match_scenes(
    ctx: RunContext, tile: Tile, record: AcquireRecord
) -> tuple[dict[str, Gains], dict[str, OffsetField]]:
    """Match the scenes on their common clear ground: gains, anchored by clear area, and local offsets, by scene."""
    if not ctx.config.composite.match:
        return {}, {}
    side = min(_MATCH_SIDE, *ctx.build_geobox(tile).shape)
    names = [scene.id for scene in record.scenes]

    def read_scene(name: str) -> tuple[UInt8, Bool]:
        keys = layout.SceneKeys(tile.name, name)
        image, mask = (read_sampled(ctx.store.get_gdal_path(key), side) for key in (keys.image, keys.mask))
        return image, mask[0] == Mask.CLEAR

    seen = dict(zip(names, map_ordered(read_scene, names, ctx.threads), strict=True))
    pairs = []
    for a, b in combinations(sorted(seen), 2):
        ratio = measure_brightness_ratio(seen[a][0], seen[b][0], seen[a][1] & seen[b][1])
        if ratio is not None:
            pairs.append(ScenePair(a, b, ratio))
    gains = solve_gains({scene.id: scene.clear for scene in record.scenes}, pairs)
    coarse = [MaskedScene(*seen[name], convert_gain_to_level_offset(gains[name])) for name in names]
    cell = round(CELL_M / (ctx.res * ctx.build_geobox(tile).width / side))  # 6 pixels; 5 at 120 m
    return gains, dict(zip(names, fit_local_offsets(coarse, cell), strict=True))


@dataclass(frozen=True)
class _SceneSlab:
    """One scene over one slab; its levels are read block by block, where they are needed."""

    path: str
    """GDAL path of its image."""
    clear: Bool
    """(y, x)"""
    weights: BilinearGrid
    """(y, x): its edge weights."""
    edge_weights: EdgeWeights
    """The same over the whole tile."""
    gain: Float32 | None
    offset: BilinearGrid | None


@dataclass(frozen=True)
class _TileCompositor:
    """Compositor of a tile's slabs."""

    ctx: RunContext
    tile: Tile
    files: DatasetPool
    masks: Sequence[_SceneMask]
    """Best scene first."""
    gains: Mapping[str, Gains]
    offsets: Mapping[str, OffsetField]

    def composite_slab(self, rows: slice) -> Composite:
        """Composite some rows block by block: blocks fit the processor's cache, and scenes are read where needed."""
        width = self.ctx.build_geobox(self.tile).width
        out, stack = Composite.from_shape((rows.stop - rows.start, width)), SceneStack()
        scenes = [self._prepare_slab(mask, rows, width) for mask in self.masks]
        with self.files.check_out() as files:
            for cols in split_rows(width):
                stack.reset((rows.stop - rows.start, cols.stop - cols.start))
                block = self._composite_block(files, stack, scenes, (rows, cols))
                out.levels[:, :, cols], out.provenance[:, cols], out.weight[:, cols] = block
        return out

    def _prepare_slab(self, mask: _SceneMask, rows: slice, width: int) -> _SceneSlab:
        """Prepare everything of a scene but its levels."""
        field, offset = self.offsets.get(mask.scene), None
        if field is not None and field.cells.any():
            offset = field.interpolate(rows.start, rows.stop, width, CELL_M / self.ctx.res)
        gain = convert_gain_to_level_offset(self.gains[mask.scene]) if mask.scene in self.gains else None
        path = self.ctx.store.get_gdal_path(layout.SceneKeys(self.tile.name, mask.scene).image)
        weights = mask.edge_weights.sample(rows, slice(0, width))
        return _SceneSlab(path, mask.unpack_clear(rows, width), weights, mask.edge_weights, gain, offset)

    def _composite_block(
        self, files: DatasetCache, stack: SceneStack, scenes: Sequence[_SceneSlab], window: tuple[slice, slice]
    ) -> Composite:
        """Stack the scenes of a block until no later scene can change a pixel, and composite them."""
        method, (rows, cols) = COMPOSITE_METHODS[self.ctx.config.composite.rule], window
        open_ = np.ones_like(scenes[0].edge_weights.is_saturated(rows, cols)) if scenes else np.zeros(0, np.bool_)
        for scene in scenes:
            clear = scene.clear[:, cols]
            if not clear.any():
                stack.append_empty()
                continue
            levels = files.read(scene.path, rows, cols, out=stack.reserve_slot())
            weights = scene.weights.crop(slice(None), cols)
            offset = None if scene.offset is None else scene.offset.crop(slice(None), cols)
            is_complete = stack.append(levels, clear, weights, scene.gain, offset)
            if method.stops_early and is_complete:
                open_ &= ~scene.edge_weights.is_saturated(rows, cols)
                if not open_.any():
                    break
        return method.composite(stack)


STEP = TileStep(StepName.COMPOSITE, lambda tile: layout.TileKeys(tile).get_item("composite"), prepare, fingerprint, run)

"""Composite: fuse the acquired scenes of a tile, recent first, patches cross-faded (paper, section 2.2)."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from s2ops.config import Composite
from s2ops.constants import BANDS, Bool, Float32, Mask, UInt8
from s2ops.geo.mgrs_tiles import Tile
from s2ops.imaging.distance import CELL_M, BilinearGrid
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
from s2ops.quality.patch_seam_metrics import sample_patch_borders, measure_patch_seams
from s2ops.raster.cog import CODES, IMAGERY, SHARE
from s2ops.raster.dataset_pool import Opened, Shelf, opened, shelf
from s2ops.raster.reader import read_sampled, slabs
from s2ops.records import AcquireRecord
from s2ops.results import StepName, StepResult
from s2ops.run.context import RunContext
from s2ops.run.raster_writer import find_date_range, build_imagery_tags, open_raster_writer
from s2ops.runtime.threads import ordered_map
from s2ops.storage import layout
from s2ops.storage.done_marker import compute_fingerprint, to_json

VERSION = 6

_MATCH_SIDE = 1098
"""Side of the decimated rasters that scenes are compared on: a tenth of a full tile's."""


@dataclass(frozen=True)
class CompositeInputs:
    """Inputs of the composite of a tile: its acquired scenes and the options."""

    record: AcquireRecord
    options: Composite
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
    record, geobox = inputs.record, ctx.build_geobox(tile)
    looks, gains, shifts = _prepared(ctx, tile, record)
    holes, borders = 0, []
    with open_raster_writer(ctx.store, geobox) as made, shelf() as files:
        image = made.create_file("composite", BANDS, IMAGERY, build_imagery_tags())
        provenance = made.create_file("provenance", ["scene"], CODES)
        weight = made.create_file("weight", ["weight"], SHARE)
        fusion = _Fusion(ctx, tile, files, looks, gains, shifts)
        for fused in ordered_map(fusion.slab, slabs(geobox.height), ctx.threads):
            image.write(fused.levels)
            provenance.write(fused.source[None])
            weight.write(fused.weight[None])
            holes += fused.holes
            borders.append(sample_patch_borders(fused.levels, fused.source))
        named = partial(layout.TileKeys(tile.name).get_raster, "composite")
        written = {named("composite"): image, named("provenance"): provenance, named("weight"): weight}
        image_sha256, provenance_sha256, weight_sha256 = made.put(written, ctx.threads)
    assets = {
        "composite": stac_item.build_imagery_asset("composite.tif", image_sha256),
        "provenance": stac_item.build_provenance_asset(
            "provenance.tif", provenance_sha256, [one.id for one in record.scenes]
        ),
        "weight": _weight_asset(weight_sha256),
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
        layout.TileKeys(tile.name).get_item("composite"),
        to_json(stac_item.build_tile_item("composite", tile.name, geobox, dates, assets, properties)),
    )
    return StepResult(
        "composite", tile.name, "done" if record.scenes else "empty", {"scenes": len(record.scenes), "holes": part}
    )


def _weight_asset(sha256: str) -> stac_item.Asset:
    band = {"name": "weight", "unit": "%", "nodata": 0, "statistics": {"minimum": 5, "maximum": 100}}
    return stac_item.Asset("weight.tif", sha256, "Share of that scene in each pixel", (band,), ("metadata",))


@dataclass(frozen=True)
class _Seen:
    """Where a scene is clear, over the whole tile."""

    scene: str
    """Its id."""
    fade: EdgeWeights
    """How much of each pixel it claims."""
    bits: UInt8
    """(y, bytes): a bit a pixel, so that its mask is decoded once."""

    def clear(self, rows: slice, width: int) -> Bool:
        """(y, x): rows of its clear pixels."""
        return np.unpackbits(self.bits[rows], axis=1, count=width).view(np.bool_)


def _seen(ctx: RunContext, tile: Tile, name: str) -> _Seen:
    grid, fade = ctx.build_geobox(tile), ctx.config.composite.fade_m / ctx.res
    cells, bits = (
        create_clear_cells((grid.height, grid.width), fade),
        np.empty((grid.height, -(-grid.width // 8)), np.uint8),
    )
    with opened() as files:
        for rows in slabs(grid.height):
            clear = files.read(ctx.store.gdal(layout.SceneKeys(tile.name, name).mask), rows)[0] == Mask.CLEAR
            cells.feed(clear, rows.start)
            bits[rows] = np.packbits(clear, axis=1)
    return _Seen(name, EdgeWeights.of(cells, fade), bits)


def _prepared(
    ctx: RunContext, tile: Tile, record: AcquireRecord
) -> tuple[list[_Seen], Mapping[str, Gains], Mapping[str, OffsetField]]:
    """What a composite needs before its first slab: matching, mostly on one thread, goes on beside reading masks."""
    names = [scene.id for scene in record.scenes]
    with ThreadPoolExecutor(max(ctx.threads, 1)) as pool:
        matched = pool.submit(_matched, ctx, tile, record)
        seen = list(pool.map(partial(_seen, ctx, tile), names))
        return seen, *matched.result()


def _matched(ctx: RunContext, tile: Tile, record: AcquireRecord) -> tuple[dict[str, Gains], dict[str, OffsetField]]:
    """What makes common clear ground look the same in all scenes: gains, anchored by clear area, and local shifts."""
    if not ctx.config.composite.match:
        return {}, {}
    side = min(_MATCH_SIDE, *ctx.build_geobox(tile).shape)
    names = [scene.id for scene in record.scenes]

    def read(name: str) -> tuple[UInt8, Bool]:
        keys = layout.SceneKeys(tile.name, name)
        image, mask = (read_sampled(ctx.store.gdal(key), side) for key in (keys.image, keys.mask))
        return image, mask[0] == Mask.CLEAR

    seen = dict(zip(names, ordered_map(read, names, ctx.threads), strict=True))
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
class _Layer:
    """One scene over one slab."""

    image: str
    clear: Bool
    """(y, x)"""
    claim: BilinearGrid
    """(y, x): its share."""
    fade: EdgeWeights
    gain: Float32 | None
    shift: BilinearGrid | None


@dataclass(frozen=True)
class _Fusion:
    """What every slab of the composite is made from."""

    ctx: RunContext
    tile: Tile
    files: Shelf
    scenes: Sequence[_Seen]
    """The best first."""
    gains: Mapping[str, Gains]
    shifts: Mapping[str, OffsetField]

    def slab(self, rows: slice) -> Composite:
        """Rows of the composite, block by block: state fits the processor's cache, and scenes are read where wanted."""
        width = self.ctx.build_geobox(self.tile).width
        out, looks = Composite.empty((rows.stop - rows.start, width)), SceneStack()
        layers = [self._layer(one, rows, width) for one in self.scenes]
        with self.files.lent() as files:
            for cols in slabs(width):
                looks.begin((rows.stop - rows.start, cols.stop - cols.start))
                part = self._block(files, looks, layers, (rows, cols))
                out.levels[:, :, cols], out.source[:, cols], out.weight[:, cols] = part
        return out

    def _layer(self, seen: _Seen, rows: slice, width: int) -> _Layer:
        """What a scene brings to a slab; its levels are read when first wanted."""
        field, shift = self.shifts.get(seen.scene), None
        if field is not None and field.cells.any():
            shift = field.rows(rows.start, rows.stop, width, CELL_M / self.ctx.res)
        gain = convert_gain_to_level_offset(self.gains[seen.scene]) if seen.scene in self.gains else None
        image, claim = (
            self.ctx.store.gdal(layout.SceneKeys(self.tile.name, seen.scene).image),
            seen.fade.at(rows, slice(0, width)),
        )
        return _Layer(image, seen.clear(rows, width), claim, seen.fade, gain, shift)

    def _block(
        self, files: Opened, looks: SceneStack, layers: Sequence[_Layer], window: tuple[slice, slice]
    ) -> Composite:
        rule, (rows, cols) = COMPOSITE_METHODS[self.ctx.config.composite.rule], window
        open_ = np.ones_like(layers[0].fade.whole(rows, cols)) if layers else np.zeros(0, np.bool_)
        for layer in layers:
            clear = layer.clear[:, cols]
            if not clear.any():
                looks.skip()
                continue
            files.read(layer.image, rows, cols, out=looks.place())
            shift = None if layer.shift is None else layer.shift.cut(slice(None), cols)
            complete = looks.add(clear, layer.claim.cut(slice(None), cols), layer.gain, shift)
            if rule.stops_early and complete:
                open_ &= ~layer.fade.whole(rows, cols)
                if not open_.any():
                    break
        return rule.result(looks)


STEP = TileStep(StepName.COMPOSITE, lambda tile: layout.TileKeys(tile).get_item("composite"), prepare, fingerprint, run)

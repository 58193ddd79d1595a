"""Blend step: feather a tile and the overlaps of all its neighbours into one seamless image (paper, section 2.3)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np
from odc.geo.geobox import GeoBox

from s2ops.constants import BANDS, Float32, UInt8
from s2ops.errors import InputError
from s2ops.geo.mgrs_tiles import Tile
from s2ops.mosaic.balance.correction_plane import CorrectionPlane, PlaneOffsets
from s2ops.mosaic.blend.feather_blend import (
    BlendLayer,
    apply_correction,
    blend_layers,
    correct_single_tile,
    split_columns,
)
from s2ops.mosaic.blend.low_pass import PREVIEW_SIDE, LowPassImage
from s2ops.mosaic.blend.tile_weight import TileWeight, create_valid_cells
from s2ops.pipeline.steps.balance import read_composite_item, read_corrections
from s2ops.pipeline.steps.base import TileStep
from s2ops.publishing import stac_item
from s2ops.quality.gradient_energy import GradientEnergy
from s2ops.quality.seam_metrics import EdgeLine, measure_seam, overlay_without_blending
from s2ops.raster.cog import CODES, IMAGERY
from s2ops.raster.dataset_pool import DatasetCache, DatasetPool, open_dataset_cache, open_dataset_pool
from s2ops.raster.reader import read_decimated, split_rows
from s2ops.raster.reproject import Window, find_shared_border, find_source_window, resample_to_grid
from s2ops.results import StepName, StepResult
from s2ops.run.context import RunContext
from s2ops.run.raster_writer import build_imagery_tags, open_raster_writer
from s2ops.runtime.threads import map_ordered
from s2ops.storage import layout
from s2ops.storage.done_marker import compute_fingerprint, to_json
from s2ops.telemetry import metrics

VERSION = 6


@dataclass(frozen=True)
class BlendInputs:
    """Inputs of the blend of a tile: composites and corrections of the tile and of its neighbours, by tile."""

    corrections: dict[str, CorrectionPlane]
    composites: dict[str, dict[str, Any]]
    """Properties of the composites' items."""
    res: int


def prepare(ctx: RunContext, tile: Tile) -> BlendInputs:
    """Read the composites' items and the corrections of a tile and of its neighbours."""
    corrections = read_corrections(ctx, tile)
    tiles = [one for one in (tile, *ctx.find_neighbours(tile)) if one.name in corrections]
    return BlendInputs(corrections, {one.name: read_composite_item(ctx, one)["properties"] for one in tiles}, ctx.res)


def fingerprint(inputs: BlendInputs) -> str:
    """Return the SHA-256 over the composites and the corrections."""
    facts = {
        name: (properties["s2ops:fingerprint"], inputs.corrections[name].to_json())
        for name, properties in inputs.composites.items()
    }
    return compute_fingerprint("blend", VERSION, inputs.res, facts)


class _TileSamples(NamedTuple):
    """Float images of a tile that are resampled together, by one set of kernel weights."""

    levels: Float32
    """(4, y, x) corrected levels; 0 is no data."""
    low_pass: Float32
    """(4, y, x) corrected levels of the low-pass image."""
    weight: Float32
    """(y, x) feathering weight."""

    def pack(self) -> Float32:
        """Stack all images along the first axis: (9, y, x)."""
        return np.concatenate([self.levels, self.low_pass, self.weight[None]])

    @classmethod
    def unpack(cls, packed: Float32) -> Self:
        """Split the result of `pack`, resampled, into views of the images."""
        return cls(packed[: len(BANDS)], packed[len(BANDS) : -1], packed[-1])


@dataclass(frozen=True)
class _Source:
    """Composite of the tile or of a neighbour, with everything that its blend needs."""

    ctx: RunContext
    tile: Tile
    correction: CorrectionPlane
    weight: TileWeight
    low_pass: LowPassImage
    properties: dict[str, Any]
    """Properties of the composite's item."""
    numbers: UInt8
    """(256,): number in the mosaic's list of scenes for each number in the composite's provenance."""

    @property
    def scenes(self) -> list[dict[str, str]]:
        """Scenes of the composite, in the order of its provenance."""
        scenes: list[dict[str, str]] = self.properties["s2ops:scenes"]
        return scenes

    def read_levels(self, files: DatasetCache, window: Window) -> UInt8:
        """Read (4, y, x) levels of the composite, uncorrected."""
        path = self.ctx.store.get_gdal_path(layout.TileKeys(self.tile.name).get_raster("composite", "composite"))
        return files.read(path, *window)

    def evaluate_correction(self, window: Window) -> PlaneOffsets:
        """Evaluate the correction over a window of the tile's own grid."""
        grid = self.ctx.build_geobox(self.tile)
        rows, cols = (np.arange(part.start, part.stop, dtype=np.float64) + 0.5 for part in window)
        return self.correction.evaluate(rows / grid.height * 2 - 1, cols / grid.width * 2 - 1)

    def read_samples(self, files: DatasetCache, window: Window) -> _TileSamples:
        """Read the corrected levels, the corrected low-pass image and the weight over a window of the own grid."""
        grid, offsets = self.ctx.build_geobox(self.tile), self.evaluate_correction(window)
        rows, cols = (np.arange(part.start, part.stop, dtype=np.float64) + 0.5 for part in window)
        levels = apply_correction(self.read_levels(files, window), offsets)
        low_pass = self.low_pass.sample(rows / grid.height, cols / grid.width)
        low_pass += offsets.rows[:, :, None]
        low_pass += offsets.cols[:, None, :]
        np.maximum(low_pass, 1, out=low_pass)
        return _TileSamples(levels, low_pass, self.weight.sample(rows, cols))

    def resample_samples(self, files: DatasetCache, target: GeoBox) -> _TileSamples:
        """Read the samples and resample them to the grid `target`."""

        def read_packed(window: Window) -> Float32:
            return self.read_samples(files, window).pack()

        grid = self.ctx.build_geobox(self.tile)
        return _TileSamples.unpack(resample_to_grid(read_packed, grid, target, 2 * len(BANDS) + 1, "lanczos3"))

    def read_provenance(self, files: DatasetCache, window: Window) -> UInt8:
        """Read (1, y, x) provenance: number of the scene in the mosaic's list."""
        path = self.ctx.store.get_gdal_path(layout.TileKeys(self.tile.name).get_raster("composite", "provenance"))
        return self.numbers[files.read(path, *window)]


@dataclass
class _Edge:
    """Border of a neighbour across the tile, before and after blending."""

    source: _Source
    line: EdgeLine
    before: UInt8 = field(init=False)
    after: UInt8 = field(init=False)

    def __post_init__(self) -> None:
        self.before, self.after = self.line.allocate_strip(), self.line.allocate_strip()


def run(ctx: RunContext, tile: Tile, inputs: BlendInputs) -> StepResult:
    """Write mosaic.tif and provenance.tif, then item.json."""
    geobox, keys = ctx.build_geobox(tile), layout.TileKeys(tile.name)
    sources = _prepare_sources(ctx, tile, inputs)
    own = next(source for source in sources if source.tile == tile)
    edges = [
        _Edge(source, EdgeLine.from_polyline(points))
        for source in sources
        if source is not own and (points := find_shared_border(geobox, ctx.build_geobox(source.tile))) is not None
    ]
    empty, energy = 0, GradientEnergy()
    with open_raster_writer(ctx.store, geobox) as made, open_dataset_pool() as files:
        image = made.create_file("mosaic", BANDS, IMAGERY, build_imagery_tags())
        provenance = made.create_file("provenance", ["scene"], CODES)
        blender = _TileBlender(ctx, geobox, files, own, sources, edges)
        for slab in map_ordered(blender.blend_slab, split_rows(geobox.height), ctx.threads):
            energy += slab.energy
            image.write(slab.levels)
            provenance.write(slab.provenance[None])
            empty += int(np.count_nonzero(slab.provenance == 0))
        written = {keys.get_raster("mosaic", "mosaic"): image, keys.get_raster("mosaic", "provenance"): provenance}
        image_sha256, provenance_sha256 = made.put(written, ctx.threads)
    holes = round(empty / (geobox.height * geobox.width), 6)
    scenes = [scene for source in (own, *(one for one in sources if one is not own)) for scene in source.scenes]
    assets = {
        "mosaic": stac_item.build_imagery_asset("mosaic.tif", image_sha256),
        "provenance": stac_item.build_provenance_asset(
            "provenance.tif", provenance_sha256, [one["id"] for one in scenes]
        ),
    }
    properties = {
        "s2ops:fingerprint": fingerprint(inputs),
        "s2ops:scenes": scenes,
        "s2ops:gains": list(own.correction.gains),
        "s2ops:correction": own.correction.to_json(),
        "s2ops:energy_kept": energy.kept_fraction,
        "s2ops:holes": holes,
        "s2ops:seams": [_summarize_edge(edge) for edge in edges],
        "s2ops:composites": {source.tile.name: source.properties["s2ops:fingerprint"] for source in sources},
    }
    item = stac_item.build_tile_item("mosaic", tile.name, geobox, _find_date_range(sources), assets, properties)
    ctx.store.put(keys.get_item("mosaic"), to_json(item))
    return StepResult(
        StepName.BLEND, tile.name, "done" if holes < 1 else "empty", {"edges": len(edges), "holes": holes}
    )


def _prepare_sources(ctx: RunContext, tile: Tile, inputs: BlendInputs) -> list[_Source]:
    """Prepare the tile and its neighbours, in the order of names; the mosaic lists the tile's own scenes first."""
    corrections, number = inputs.corrections, 0
    tiles, made = [ctx.tiles_by_name[name] for name in inputs.composites], []
    shapes = map_ordered(partial(_read_shape, ctx), tiles, ctx.threads)
    for one, (weight, low_pass) in zip(tiles, shapes, strict=True):
        properties = inputs.composites[one.name]
        scenes = len(properties["s2ops:scenes"])
        numbers = np.zeros(256, np.uint8)
        numbers[1 : scenes + 1] = np.arange(number + 1, number + scenes + 1)
        number += scenes
        made.append(_Source(ctx, one, corrections[one.name], weight, low_pass, properties, numbers))
    if number > 255:
        raise InputError(
            f"Cannot blend {tile.name}: it and its neighbours have {number} scenes, provenance holds at most 255; "
            "lower max_scenes."
        )
    return sorted(made, key=lambda source: source.tile.name)


def _read_shape(ctx: RunContext, tile: Tile) -> tuple[TileWeight, LowPassImage]:
    """Read a tile's feathering weight, from its own valid area, and its low-pass image; equal for all blends."""
    keys, geobox = layout.TileKeys(tile.name), ctx.build_geobox(tile)
    composite = ctx.store.get_gdal_path(keys.get_raster("composite", "composite"))
    provenance = ctx.store.get_gdal_path(keys.get_raster("composite", "provenance"))
    cells = create_valid_cells((geobox.height, geobox.width), ctx.res)
    with open_dataset_cache() as files:
        for rows in split_rows(geobox.height):
            cells.feed(files.read(provenance, rows)[0] != 0, rows.start)
    preview = read_decimated(composite, (PREVIEW_SIDE, PREVIEW_SIDE))
    return TileWeight.from_valid_cells(cells, ctx.res), LowPassImage.from_preview(preview)


class _MosaicSlab(NamedTuple):
    """Rows of the mosaic."""

    levels: UInt8
    """(4, y, x) levels; 0 is no data."""
    provenance: UInt8
    """(y, x): number of the scene with the largest weight; 0 is a hole."""
    energy: GradientEnergy


@dataclass(frozen=True)
class _TileBlender:
    """Blender of a tile's slabs."""

    ctx: RunContext
    geobox: GeoBox
    files: DatasetPool
    own: _Source
    sources: Sequence[_Source]
    edges: Sequence[_Edge]

    def blend_slab(self, rows: slice) -> _MosaicSlab:
        """Blend some rows, and sample them along the neighbours' borders."""
        shape = (rows.stop - rows.start, self.geobox.width)
        levels, provenance = np.zeros((len(BANDS), *shape), np.uint8), np.zeros(shape, np.uint8)
        windows = [
            find_source_window(self.geobox[rows, :], self.ctx.build_geobox(one.tile))
            for one in self.sources
            if one is not self.own
        ]
        others = [(window[1].start, window[1].stop) for window in windows if window is not None]
        energy = GradientEnergy()
        with self.files.check_out() as files:
            for cols, is_shared in split_columns(shape[1], others):
                if is_shared:
                    part = self._blend_overlap(files, (rows, cols))
                    levels[:, :, cols], provenance[:, cols] = part.levels, part.provenance
                    energy += part.energy
                else:
                    levels[:, :, cols], provenance[:, cols] = self._correct_own(files, (rows, cols))
            for edge in self.edges:
                self._sample_edge(files, edge, rows, levels)
        return _MosaicSlab(levels, provenance, energy)

    def _correct_own(self, files: DatasetCache, window: Window) -> tuple[UInt8, UInt8]:
        """Correct the tile's own levels, without floats in memory, where no neighbour reaches: most of a tile."""
        levels, provenance = self.own.read_levels(files, window), self.own.read_provenance(files, window)[0]
        valid = (levels != 0).all(axis=0) & (provenance != 0)
        corrected = correct_single_tile(levels, valid, self.own.evaluate_correction(window))
        return corrected, np.where(valid, provenance, np.uint8(0))

    def _blend_overlap(self, files: DatasetCache, window: Window) -> _MosaicSlab:
        """Blend all tiles that show a window."""
        target = self.geobox[window]
        shape = (target.height, target.width)
        layers, numbers = [], []
        for source in self.sources:
            grid = self.ctx.build_geobox(source.tile)
            place = find_source_window(target, grid)
            if place is None:
                continue
            part = target[place]
            samples = source.resample_samples(files, part)
            number = resample_to_grid(partial(_read_floats, source.read_provenance, files), grid, part, 1, "nearest")[0]
            number = number.astype(np.uint8)
            valid = (samples.levels != 0).all(axis=0) & (number != 0)
            levels = np.clip(samples.levels, 0, 255)
            layers.append(
                BlendLayer(
                    source.tile.name,
                    levels,
                    samples.low_pass,
                    samples.weight,
                    valid,
                    place[0].start,
                    place[1].start,
                )
            )
            numbers.append((place, number))
        blended = blend_layers(shape, layers)
        provenance = np.zeros(shape, np.uint8)
        for index, (place, number) in enumerate(numbers, 1):
            chosen = blended.dominant[place] == index
            provenance[place][chosen] = number[chosen]
        return _MosaicSlab(blended.levels, provenance, GradientEnergy.from_mosaic(blended.levels, layers))

    def _sample_edge(self, files: DatasetCache, edge: _Edge, rows: slice, mosaic: UInt8) -> None:
        """Sample both sides of an edge in these rows: of the overlaid tiles without blending, and of the mosaic."""
        along = edge.line.find_positions(rows)
        line, grid = edge.line.crop(along), self.ctx.build_geobox(edge.source.tile)
        before, after = edge.before[:, along], edge.after[:, along]
        for cols, _ in split_columns(self.geobox.width, ()):
            high = line.find_rows(rows, cols)
            if high is None:
                continue
            read = partial(_read_floats, edge.source.read_levels, files)
            seen = resample_to_grid(read, grid, self.geobox[high, cols], len(BANDS), "lanczos3")
            hard = overlay_without_blending(
                np.clip(np.rint(seen), 0, 255).astype(np.uint8), self.own.read_levels(files, (high, cols))
            )
            line.gather(hard, before, high.start, cols.start)
            inner = slice(high.start - rows.start, high.stop - rows.start)
            line.gather(mosaic[:, inner, cols], after, high.start, cols.start)


def _read_floats(read: Callable[[DatasetCache, Window], UInt8], files: DatasetCache, window: Window) -> Float32:
    return read(files, window).astype(np.float32)


def _summarize_edge(edge: _Edge) -> dict[str, object]:
    """Measure the seam of one edge, before and after blending; None where too little of it has data on both sides."""
    before, after = measure_seam(edge.before), measure_seam(edge.after)
    if before and after:
        metrics.record_seam(before.excess, after.excess)
    return {
        "neighbour": edge.source.tile.name,
        "before": before.to_json() if before else None,
        "after": after.to_json() if after else None,
    }


def _find_date_range(sources: Sequence[_Source]) -> tuple[datetime, datetime]:
    """Find the first and the last acquisition over all tiles with scenes."""
    stated = [source.properties for source in sources if source.scenes] or [sources[0].properties]
    first = min(str(one["start_datetime"]) for one in stated)
    last = max(str(one["end_datetime"]) for one in stated)
    return datetime.fromisoformat(first), datetime.fromisoformat(last)


STEP = TileStep(StepName.BLEND, lambda tile: layout.TileKeys(tile).get_item("mosaic"), prepare, fingerprint, run)

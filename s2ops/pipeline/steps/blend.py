"""Blend: a tile and the overlaps of all its neighbours become one picture without seams (paper, section 2.3)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from s2ops.constants import BANDS, Float32, UInt8
from s2ops.errors import InputError
from s2ops.geo.mgrs_tiles import Tile
from s2ops.mosaic.balance.correction_plane import CorrectionPlane, PlaneOffsets
from s2ops.mosaic.blend.feather_blend import (
    BlendLayer,
    TileWeight,
    correct_single_tile,
    blend_layers,
    apply_correction,
    split_columns,
    create_valid_cells,
)
from s2ops.mosaic.blend.low_pass import PREVIEW_SIDE, LowPassImage
from s2ops.pipeline.steps.balance import composite_item, corrections_of
from s2ops.pipeline.steps.base import TileStep
from s2ops.publishing import stac_item
from s2ops.quality.gradient_energy import GradientEnergy
from s2ops.quality.seam_metrics import EdgeLine, overlay_without_blending, measure_seam
from s2ops.raster.cog import CODES, IMAGERY
from s2ops.raster.dataset_pool import Opened, Shelf, opened, shelf
from s2ops.raster.reader import read_decimated, slabs
from s2ops.raster.reproject import Window, border_inside, onto, window_of
from s2ops.results import StepName, StepResult
from s2ops.run.context import RunContext
from s2ops.run.raster_writer import build_imagery_tags, open_raster_writer
from s2ops.runtime.threads import ordered_map
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
    corrections = corrections_of(ctx, tile)
    tiles = [one for one in (tile, *ctx.find_neighbours(tile)) if one.name in corrections]
    return BlendInputs(corrections, {one.name: composite_item(ctx, one)["properties"] for one in tiles}, ctx.res)


def fingerprint(inputs: BlendInputs) -> str:
    """Return the SHA-256 over the composites and the corrections."""
    facts = {
        name: (properties["s2ops:fingerprint"], inputs.corrections[name].to_json())
        for name, properties in inputs.composites.items()
    }
    return compute_fingerprint("blend", VERSION, inputs.res, facts)


@dataclass(frozen=True)
class _Source:
    """One tile's composite, as seen from the tile being made."""

    ctx: RunContext
    tile: Tile
    correction: CorrectionPlane
    weight: TileWeight
    afar: LowPassImage
    facts: dict[str, Any]
    """The properties of the composite's item."""
    numbers: UInt8
    """(256,): number in the mosaic's list of scenes for each number in the composite's."""

    @property
    def scenes(self) -> list[dict[str, str]]:
        """Scenes of its provenance, in its order."""
        scenes: list[dict[str, str]] = self.facts["s2ops:scenes"]
        return scenes

    def raw(self, files: Opened, window: Window) -> UInt8:
        """(4, y, x) levels as the composite has them."""
        return files.read(self.ctx.store.gdal(layout.TileKeys(self.tile.name).get_raster("composite", "composite")), *window)

    def plane(self, window: Window) -> PlaneOffsets:
        """The correction over a window of the tile's own grid."""
        grid = self.ctx.build_geobox(self.tile)
        rows, cols = (np.arange(part.start, part.stop, dtype=np.float64) + 0.5 for part in window)
        return self.correction.plane(rows / grid.height * 2 - 1, cols / grid.width * 2 - 1)

    def balanced(self, files: Opened, window: Window) -> Float32:
        """(9, y, x): corrected levels, the same as seen from afar, and the weight; 0 where there is no data."""
        grid, plane = self.ctx.build_geobox(self.tile), self.plane(window)
        rows, cols = (np.arange(part.start, part.stop, dtype=np.float64) + 0.5 for part in window)
        levels = apply_correction(self.raw(files, window), plane)
        afar = self.afar.at(rows / grid.height, cols / grid.width)
        afar += plane.rows[:, :, None]
        afar += plane.cols[:, None, :]
        np.maximum(afar, 1, out=afar)
        return np.concatenate([levels, afar, self.weight.at(rows, cols)[None]])

    def origin(self, files: Opened, window: Window) -> UInt8:
        """(1, y, x): number of the scene in the mosaic's list."""
        path = self.ctx.store.gdal(layout.TileKeys(self.tile.name).get_raster("composite", "provenance"))
        return self.numbers[files.read(path, *window)]


@dataclass
class _Edge:
    """The border of a neighbour across the tile, before and after blending."""

    source: _Source
    line: EdgeLine
    before: UInt8 = field(init=False)
    after: UInt8 = field(init=False)

    def __post_init__(self) -> None:
        self.before, self.after = self.line.allocate_strip(), self.line.allocate_strip()


def run(ctx: RunContext, tile: Tile, inputs: BlendInputs) -> StepResult:
    """Write mosaic.tif and provenance.tif, then item.json."""
    geobox = ctx.build_geobox(tile)
    sources = _sources(ctx, tile, inputs)
    own = next(source for source in sources if source.tile == tile)
    edges = [
        _Edge(source, EdgeLine.from_polyline(points))
        for source in sources
        if source is not own and (points := border_inside(geobox, ctx.build_geobox(source.tile))) is not None
    ]
    empty, energy = 0, GradientEnergy()
    with open_raster_writer(ctx.store, geobox) as made, shelf() as files:
        image = made.create_file("mosaic", BANDS, IMAGERY, build_imagery_tags())
        provenance = made.create_file("provenance", ["scene"], CODES)
        for levels, origin, found in ordered_map(
            _Mosaic(ctx, geobox, files, own, sources, edges).slab, slabs(geobox.height), ctx.threads
        ):
            energy += found
            image.write(levels)
            provenance.write(origin[None])
            empty += int(np.count_nonzero(origin == 0))
        named = partial(layout.TileKeys(tile.name).get_raster, "mosaic")
        written = {named("mosaic"): image, named("provenance"): provenance}
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
        "s2ops:seams": [_figures(edge) for edge in edges],
        "s2ops:composites": {source.tile.name: source.facts["s2ops:fingerprint"] for source in sources},
    }
    item = stac_item.build_tile_item("mosaic", tile.name, geobox, _dates(sources), assets, properties)
    ctx.store.put(layout.TileKeys(tile.name).get_item("mosaic"), to_json(item))
    return StepResult("blend", tile.name, "done" if holes < 1 else "empty", {"edges": len(edges), "holes": holes})


def _sources(ctx: RunContext, tile: Tile, inputs: BlendInputs) -> list[_Source]:
    """The tile and its neighbours, in the order of names; the scene list begins with the tile's own."""
    corrections, number = inputs.corrections, 0
    tiles, made = [ctx.tiles_by_name[name] for name in inputs.composites], []
    shapes = ordered_map(partial(_shape, ctx), tiles, ctx.threads)
    for one, (weight, afar) in zip(tiles, shapes, strict=True):
        facts = inputs.composites[one.name]
        scenes = len(facts["s2ops:scenes"])
        numbers = np.zeros(256, np.uint8)
        numbers[1 : scenes + 1] = np.arange(number + 1, number + scenes + 1)
        number += scenes
        made.append(_Source(ctx, one, corrections[one.name], weight, afar, facts, numbers))
    if number > 255:
        raise InputError(
            f"{tile.name} and its neighbours have {number} scenes, provenance counts to 255: lower max_scenes"
        )
    return sorted(made, key=lambda source: source.tile.name)


def _shape(ctx: RunContext, tile: Tile) -> tuple[TileWeight, LowPassImage]:
    """The weight that a tile's own valid area gives it, and how it looks from afar; the same whoever asks."""
    composite = ctx.store.gdal(layout.TileKeys(tile.name).get_raster("composite", "composite"))
    path = ctx.store.gdal(layout.TileKeys(tile.name).get_raster("composite", "provenance"))
    cells = create_valid_cells((ctx.build_geobox(tile).height, ctx.build_geobox(tile).width), ctx.res)
    with opened() as files:
        for rows in slabs(ctx.build_geobox(tile).height):
            cells.feed(files.read(path, rows)[0] != 0, rows.start)
    return TileWeight.of(cells, ctx.res), LowPassImage.of(read_decimated(composite, (PREVIEW_SIDE, PREVIEW_SIDE)))


@dataclass(frozen=True)
class _Mosaic:
    """What every slab of the mosaic is made from."""

    ctx: RunContext
    geobox: GeoBox
    files: Shelf
    own: _Source
    sources: Sequence[_Source]
    edges: Sequence[_Edge]

    def slab(self, rows: slice) -> tuple[UInt8, UInt8, GradientEnergy]:
        """(4, y, x) levels, (y, x) number of the scene that dominates, energy; also what lies across the edges."""
        shape = (rows.stop - rows.start, self.geobox.width)
        levels, origin = np.zeros((len(BANDS), *shape), np.uint8), np.zeros(shape, np.uint8)
        places = [
            window_of(self.geobox[rows, :], self.ctx.build_geobox(one.tile))
            for one in self.sources
            if one is not self.own
        ]
        others = [(place[1].start, place[1].stop) for place in places if place is not None]
        energy = GradientEnergy()
        with self.files.lent() as files:
            for cols, shared in split_columns(shape[1], others):
                if shared:
                    levels[:, :, cols], origin[:, cols], found = self._shared(files, (rows, cols))
                    energy += found
                else:
                    levels[:, :, cols], origin[:, cols] = self._alone(files, (rows, cols))
            for edge in self.edges:
                self._watch(files, edge, rows, levels)
        return levels, origin, energy

    def _alone(self, files: Opened, window: Window) -> tuple[UInt8, UInt8]:
        """Where no neighbour reaches, most of a tile: a table lookup."""
        levels, origin = self.own.raw(files, window), self.own.origin(files, window)[0]
        valid = (levels != 0).all(axis=0) & (origin != 0)
        return correct_single_tile(levels, valid, self.own.plane(window)), np.where(valid, origin, np.uint8(0))

    def _shared(self, files: Opened, window: Window) -> tuple[UInt8, UInt8, GradientEnergy]:
        target = self.geobox[window]
        shape = (target.height, target.width)
        layers, origins = [], []
        for source in self.sources:
            grid = self.ctx.build_geobox(source.tile)
            place = window_of(target, grid)
            if place is None:
                continue
            part = target[place]
            seen = onto(partial(source.balanced, files), grid, part, 2 * len(BANDS) + 1, "sharp")
            number = onto(partial(_floats, source.origin, files), grid, part, 1, "nearest")[0].astype(np.uint8)
            valid = (seen[: len(BANDS)] != 0).all(axis=0) & (number != 0)
            levels, afar = np.clip(seen[: len(BANDS)], 0, 255), seen[len(BANDS) : -1]
            layers.append(BlendLayer(source.tile.name, levels, afar, seen[-1], valid, place[0].start, place[1].start))
            origins.append((place, number))
        blended = blend_layers(shape, layers)
        origin = np.zeros(shape, np.uint8)
        for index, (place, number) in enumerate(origins, 1):
            chosen = blended.dominant[place] == index
            origin[place][chosen] = number[chosen]
        return blended.levels, origin, GradientEnergy.from_mosaic(blended.levels, layers)

    def _watch(self, files: Opened, edge: _Edge, rows: slice, mosaic: UInt8) -> None:
        """Collect what lies across an edge in these rows: tiles laid on one another as they are, and the mosaic."""
        along = edge.line.find_positions(rows)
        line, grid = edge.line.crop(along), self.ctx.build_geobox(edge.source.tile)
        before, after = edge.before[:, along], edge.after[:, along]
        for cols, _ in split_columns(self.geobox.width, ()):
            high = line.find_rows(rows, cols)
            if high is None:
                continue
            seen = onto(partial(_floats, edge.source.raw, files), grid, self.geobox[high, cols], len(BANDS), "sharp")
            hard = overlay_without_blending(
                np.clip(np.rint(seen), 0, 255).astype(np.uint8), self.own.raw(files, (high, cols))
            )
            line.gather(hard, before, high.start, cols.start)
            inner = slice(high.start - rows.start, high.stop - rows.start)
            line.gather(mosaic[:, inner, cols], after, high.start, cols.start)


def _floats(read: Callable[[Opened, Window], UInt8], files: Opened, window: Window) -> Float32:
    return read(files, window).astype(np.float32)


def _figures(edge: _Edge) -> dict[str, object]:
    """The seam metric of one edge, before and after; None where too little of it has data on both sides."""
    before, after = measure_seam(edge.before), measure_seam(edge.after)
    if before and after:
        metrics.seam(before.excess, after.excess)
    return {
        "neighbour": edge.source.tile.name,
        "before": before.to_json() if before else None,
        "after": after.to_json() if after else None,
    }


def _dates(sources: Sequence[_Source]) -> tuple[datetime, datetime]:
    """First and last acquisition over all tiles that contribute."""
    stated = [source.facts for source in sources if source.scenes] or [sources[0].facts]
    first = min(str(one["start_datetime"]) for one in stated)
    last = max(str(one["end_datetime"]) for one in stated)
    return datetime.fromisoformat(first), datetime.fromisoformat(last)


STEP = TileStep(StepName.BLEND, lambda tile: layout.TileKeys(tile).get_item("mosaic"), prepare, fingerprint, run)

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
from s2ops.mosaic.balance.correction_plane import Correction, Plane
from s2ops.mosaic.blend.feather_blend import Layer, TileWeight, alone, blend, corrected, spans, valid_cells
from s2ops.mosaic.blend.low_pass import SIDE, FromAfar
from s2ops.pipeline.steps.balance import composite_item, corrections_of
from s2ops.pipeline.steps.base import TileStep
from s2ops.publishing import stac_item
from s2ops.quality.gradient_energy import Energy
from s2ops.quality.seam_metrics import EdgeLine, hard_edge, measure
from s2ops.raster.cog import CODES, IMAGERY
from s2ops.raster.dataset_pool import Opened, Shelf, opened, shelf
from s2ops.raster.reader import read_decimated, slabs
from s2ops.raster.reproject import Window, border_inside, onto, window_of
from s2ops.results import StepResult
from s2ops.run.context import Job
from s2ops.run.raster_writer import imagery_tags, publisher
from s2ops.runtime.threads import in_order
from s2ops.storage import layout
from s2ops.storage.done_marker import Marker, fingerprint, to_json
from s2ops.telemetry import metrics

VERSION = 6


def marker(job: Job, tile: Tile) -> Marker:
    """Stands while the composites and the corrections of the tile and its neighbours are the same."""
    corrections = corrections_of(job, tile)
    inputs = {
        one.name: (composite_item(job, one)["properties"]["s2ops:fingerprint"], corrections[one.name].to_json())
        for one in (tile, *job.neighbours(tile))
        if one.name in corrections
    }
    return Marker(layout.item("mosaic", tile.name), fingerprint("blend", VERSION, job.res, inputs))


@dataclass(frozen=True)
class _Source:
    """One tile's composite, as seen from the tile being made."""

    job: Job
    tile: Tile
    correction: Correction
    weight: TileWeight
    afar: FromAfar
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
        return files.read(self.job.store.gdal(layout.data("composite", self.tile.name, "composite")), *window)

    def plane(self, window: Window) -> Plane:
        """The correction over a window of the tile's own grid."""
        grid = self.job.geobox(self.tile)
        rows, cols = (np.arange(part.start, part.stop, dtype=np.float64) + 0.5 for part in window)
        return self.correction.plane(rows / grid.height * 2 - 1, cols / grid.width * 2 - 1)

    def balanced(self, files: Opened, window: Window) -> Float32:
        """(9, y, x): corrected levels, the same as seen from afar, and the weight; 0 where there is no data."""
        grid, plane = self.job.geobox(self.tile), self.plane(window)
        rows, cols = (np.arange(part.start, part.stop, dtype=np.float64) + 0.5 for part in window)
        levels = corrected(self.raw(files, window), plane)
        afar = self.afar.at(rows / grid.height, cols / grid.width)
        afar += plane.rows[:, :, None]
        afar += plane.cols[:, None, :]
        np.maximum(afar, 1, out=afar)
        return np.concatenate([levels, afar, self.weight.at(rows, cols)[None]])

    def origin(self, files: Opened, window: Window) -> UInt8:
        """(1, y, x): number of the scene in the mosaic's list."""
        path = self.job.store.gdal(layout.data("composite", self.tile.name, "provenance"))
        return self.numbers[files.read(path, *window)]


@dataclass
class _Edge:
    """The border of a neighbour across the tile, before and after blending."""

    source: _Source
    line: EdgeLine
    before: UInt8 = field(init=False)
    after: UInt8 = field(init=False)

    def __post_init__(self) -> None:
        self.before, self.after = self.line.empty(), self.line.empty()


def run(job: Job, tile: Tile) -> StepResult:
    """Write mosaic.tif and provenance.tif, then item.json."""
    mark, geobox = marker(job, tile), job.geobox(tile)
    sources = _sources(job, tile)
    own = next(source for source in sources if source.tile == tile)
    edges = [
        _Edge(source, EdgeLine.along(points))
        for source in sources
        if source is not own and (points := border_inside(geobox, job.geobox(source.tile))) is not None
    ]
    empty, energy = 0, Energy()
    with publisher(job.store, geobox) as made, shelf() as files:
        image = made.file("mosaic", BANDS, IMAGERY, imagery_tags())
        provenance = made.file("provenance", ["scene"], CODES)
        for levels, origin, found in in_order(
            _Mosaic(job, geobox, files, own, sources, edges).slab, slabs(geobox.height), job.threads
        ):
            energy += found
            image.write(levels)
            provenance.write(origin[None])
            empty += int(np.count_nonzero(origin == 0))
        named = partial(layout.data, "mosaic", tile.name)
        written = {named("mosaic"): image, named("provenance"): provenance}
        image_sha256, provenance_sha256 = made.put(written, job.threads)
    holes = round(empty / (geobox.height * geobox.width), 6)
    scenes = [scene for source in (own, *(one for one in sources if one is not own)) for scene in source.scenes]
    assets = {
        "mosaic": stac_item.imagery_asset("mosaic.tif", image_sha256),
        "provenance": stac_item.provenance_asset("provenance.tif", provenance_sha256, [one["id"] for one in scenes]),
    }
    properties = {
        "s2ops:fingerprint": mark.fingerprint,
        "s2ops:scenes": scenes,
        "s2ops:gains": list(own.correction.gains),
        "s2ops:correction": own.correction.to_json(),
        "s2ops:energy_kept": energy.kept,
        "s2ops:holes": holes,
        "s2ops:seams": [_figures(edge) for edge in edges],
        "s2ops:composites": {source.tile.name: source.facts["s2ops:fingerprint"] for source in sources},
    }
    item = stac_item.tile_item("mosaic", tile.name, geobox, _dates(sources), assets, properties)
    job.store.put(mark.key, to_json(item))
    return StepResult("blend", tile.name, "done" if holes < 1 else "empty", {"edges": len(edges), "holes": holes})


def _sources(job: Job, tile: Tile) -> list[_Source]:
    """The tile and its neighbours, in the order of names; the scene list begins with the tile's own."""
    corrections, number = corrections_of(job, tile), 0
    tiles, made = [tile, *(one for one in job.neighbours(tile) if one.name in corrections)], []
    shapes = in_order(partial(_shape, job), tiles, job.threads)
    for one, (weight, afar) in zip(tiles, shapes, strict=True):
        facts = composite_item(job, one)["properties"]
        scenes = len(facts["s2ops:scenes"])
        numbers = np.zeros(256, np.uint8)
        numbers[1 : scenes + 1] = np.arange(number + 1, number + scenes + 1)
        number += scenes
        made.append(_Source(job, one, corrections[one.name], weight, afar, facts, numbers))
    if number > 255:
        raise InputError(
            f"{tile.name} and its neighbours have {number} scenes, provenance counts to 255: lower max_scenes"
        )
    return sorted(made, key=lambda source: source.tile.name)


def _shape(job: Job, tile: Tile) -> tuple[TileWeight, FromAfar]:
    """The weight that a tile's own valid area gives it, and how it looks from afar; the same whoever asks."""
    composite = job.store.gdal(layout.data("composite", tile.name, "composite"))
    path = job.store.gdal(layout.data("composite", tile.name, "provenance"))
    cells = valid_cells((job.geobox(tile).height, job.geobox(tile).width), job.res)
    with opened() as files:
        for rows in slabs(job.geobox(tile).height):
            cells.feed(files.read(path, rows)[0] != 0, rows.start)
    return TileWeight.of(cells, job.res), FromAfar.of(read_decimated(composite, (SIDE, SIDE)))


@dataclass(frozen=True)
class _Mosaic:
    """What every slab of the mosaic is made from."""

    job: Job
    geobox: GeoBox
    files: Shelf
    own: _Source
    sources: Sequence[_Source]
    edges: Sequence[_Edge]

    def slab(self, rows: slice) -> tuple[UInt8, UInt8, Energy]:
        """(4, y, x) levels, (y, x) number of the scene that dominates, energy; also what lies across the edges."""
        shape = (rows.stop - rows.start, self.geobox.width)
        levels, origin = np.zeros((len(BANDS), *shape), np.uint8), np.zeros(shape, np.uint8)
        places = [
            window_of(self.geobox[rows, :], self.job.geobox(one.tile)) for one in self.sources if one is not self.own
        ]
        others = [(place[1].start, place[1].stop) for place in places if place is not None]
        energy = Energy()
        with self.files.lent() as files:
            for cols, shared in spans(shape[1], others):
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
        return alone(levels, valid, self.own.plane(window)), np.where(valid, origin, np.uint8(0))

    def _shared(self, files: Opened, window: Window) -> tuple[UInt8, UInt8, Energy]:
        target = self.geobox[window]
        shape = (target.height, target.width)
        layers, origins = [], []
        for source in self.sources:
            grid = self.job.geobox(source.tile)
            place = window_of(target, grid)
            if place is None:
                continue
            part = target[place]
            seen = onto(partial(source.balanced, files), grid, part, 2 * len(BANDS) + 1, "sharp")
            number = onto(partial(_floats, source.origin, files), grid, part, 1, "nearest")[0].astype(np.uint8)
            valid = (seen[: len(BANDS)] != 0).all(axis=0) & (number != 0)
            levels, afar = np.clip(seen[: len(BANDS)], 0, 255), seen[len(BANDS) : -1]
            layers.append(Layer(source.tile.name, levels, afar, seen[-1], valid, place[0].start, place[1].start))
            origins.append((place, number))
        blended = blend(shape, layers)
        origin = np.zeros(shape, np.uint8)
        for index, (place, number) in enumerate(origins, 1):
            chosen = blended.dominant[place] == index
            origin[place][chosen] = number[chosen]
        return blended.levels, origin, Energy.of(blended.levels, layers)

    def _watch(self, files: Opened, edge: _Edge, rows: slice, mosaic: UInt8) -> None:
        """Collect what lies across an edge in these rows: tiles laid on one another as they are, and the mosaic."""
        along = edge.line.along_in(rows)
        line, grid = edge.line.cut(along), self.job.geobox(edge.source.tile)
        before, after = edge.before[:, along], edge.after[:, along]
        for cols, _ in spans(self.geobox.width, ()):
            high = line.rows_in(rows, cols)
            if high is None:
                continue
            seen = onto(partial(_floats, edge.source.raw, files), grid, self.geobox[high, cols], len(BANDS), "sharp")
            hard = hard_edge(np.clip(np.rint(seen), 0, 255).astype(np.uint8), self.own.raw(files, (high, cols)))
            line.gather(hard, before, high.start, cols.start)
            inner = slice(high.start - rows.start, high.stop - rows.start)
            line.gather(mosaic[:, inner, cols], after, high.start, cols.start)


def _floats(read: Callable[[Opened, Window], UInt8], files: Opened, window: Window) -> Float32:
    return read(files, window).astype(np.float32)


def _figures(edge: _Edge) -> dict[str, object]:
    """The seam metric of one edge, before and after; None where too little of it has data on both sides."""
    before, after = measure(edge.before), measure(edge.after)
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


STEP = TileStep("blend", partial(layout.item, "mosaic"), marker, run)

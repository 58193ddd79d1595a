"""Blend: a tile and the overlaps of all its neighbours become one picture without seams (paper, section 2.3)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from odc.geo.geobox import GeoBox

from s2ops import keys, stac
from s2ops.blend import Blended, Layer, TileWeight, blend, valid_cells
from s2ops.codes import BANDS, Float32, UInt8
from s2ops.cog import CODES, IMAGERY
from s2ops.errors import InputError
from s2ops.gains import Gains, corrected, gain_tables
from s2ops.grid import Tile
from s2ops.job import Job, StepResult
from s2ops.marker import Marker, fingerprint, to_json
from s2ops.outputs import imagery_tags, publisher
from s2ops.overlap import Window, border_inside, onto, window_of
from s2ops.raster import read_window, slabs
from s2ops.seams import EdgeLine, hard_edge, measure
from s2ops.steps.balance import composite_item, gains_of
from s2ops.steps.base import TileStep

VERSION = 1


def marker(job: Job, tile: Tile) -> Marker:
    """Stands while the composites and gains of the tile and its neighbours are the same."""
    gains = gains_of(job)
    inputs = {
        one.name: (composite_item(job, one)["properties"]["s2ops:fingerprint"], gains[one.name])
        for one in (tile, *job.neighbours(tile))
    }
    return Marker(keys.item("mosaic", tile.name), fingerprint("blend", VERSION, job.res, inputs))


@dataclass(frozen=True)
class _Source:
    """One tile's composite, as seen from the tile being made."""

    job: Job
    tile: Tile
    gains: Gains
    weight: TileWeight
    scenes: tuple[dict[str, str], ...]
    """Scenes of its provenance, in its order."""
    numbers: UInt8
    """(256,): number in the mosaic's list of scenes for each number in the composite's."""

    def raw(self, window: Window) -> Float32:
        """(4, y, x) levels as the composite has them."""
        path = self.job.store.gdal(keys.data("composite", self.tile.name, "composite"))
        return read_window(path, *window).astype(np.float32)

    def balanced(self, window: Window) -> Float32:
        """(5, y, x): corrected levels and the weight."""
        path = self.job.store.gdal(keys.data("composite", self.tile.name, "composite"))
        levels, tables = read_window(path, *window), gain_tables(self.gains)
        rows, cols = (np.arange(part.start, part.stop, dtype=np.float64) + 0.5 for part in window)
        bands = [corrected(levels[band], tables[band]) for band in range(len(BANDS))]
        weight = np.where((levels != 0).all(axis=0), self.weight.at(rows, cols), np.float32(0))
        return np.stack([*bands, weight])

    def origin(self, window: Window) -> Float32:
        """(1, y, x): number of the scene in the mosaic's list."""
        path = self.job.store.gdal(keys.data("composite", self.tile.name, "provenance"))
        return self.numbers[read_window(path, *window)].astype(np.float32)


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
    empty = 0
    with publisher(job.store, geobox) as made:
        image = made.file("mosaic", BANDS, IMAGERY, imagery_tags())
        provenance = made.file("provenance", ["scene"], CODES)
        for rows in slabs(geobox.height):
            blended, origin = _slab(job, geobox, sources, rows)
            image.write(blended.levels)
            provenance.write(origin[None])
            empty += int(np.count_nonzero(blended.dominant == 0))
            _watch(job, geobox, own, edges, rows, blended.levels)
        image_sha256 = made.put(keys.data("mosaic", tile.name, "mosaic"), image)
        provenance_sha256 = made.put(keys.data("mosaic", tile.name, "provenance"), provenance)
    holes = round(empty / (geobox.height * geobox.width), 6)
    scenes = [scene for source in (own, *(one for one in sources if one is not own)) for scene in source.scenes]
    assets = {
        "mosaic": stac.imagery_asset("mosaic.tif", image_sha256),
        "provenance": stac.provenance_asset("provenance.tif", provenance_sha256, [one["id"] for one in scenes]),
    }
    properties = {
        "s2ops:fingerprint": mark.fingerprint,
        "s2ops:scenes": scenes,
        "s2ops:gains": list(own.gains),
        "s2ops:holes": holes,
        "s2ops:seams": [_figures(edge) for edge in edges],
        "s2ops:composites": {
            source.tile.name: composite_item(job, source.tile)["properties"]["s2ops:fingerprint"] for source in sources
        },
    }
    item = stac.tile_item("mosaic", tile.name, geobox, _dates(job, sources), assets, properties)
    job.store.put(mark.key, to_json(item))
    return StepResult("blend", tile.name, "done" if holes < 1 else "empty", {"edges": len(edges), "holes": holes})


def _sources(job: Job, tile: Tile) -> list[_Source]:
    """The tile and its neighbours, in the order of names; the scene list begins with the tile's own."""
    gains, number = gains_of(job), 0
    made = []
    for one in (tile, *job.neighbours(tile)):
        item = composite_item(job, one)
        scenes = tuple(item["properties"]["s2ops:scenes"])
        numbers = np.zeros(256, np.uint8)
        numbers[1 : len(scenes) + 1] = np.arange(number + 1, number + len(scenes) + 1)
        number += len(scenes)
        made.append(_Source(job, one, gains[one.name], _weight(job, one), scenes, numbers))
    if number > 255:
        raise InputError(
            f"{tile.name} and its neighbours have {number} scenes, provenance counts to 255: lower max_scenes"
        )
    return sorted(made, key=lambda source: source.tile.name)


def _weight(job: Job, tile: Tile) -> TileWeight:
    """The weight that a tile's own valid area gives it; the same whoever asks."""
    path = job.store.gdal(keys.data("composite", tile.name, "provenance"))
    cells = valid_cells((job.geobox(tile).height, job.geobox(tile).width), job.res)
    for rows in slabs(job.geobox(tile).height):
        cells.feed(read_window(path, rows)[0] != 0, rows.start)
    return TileWeight.of(cells, job.res)


def _slab(job: Job, geobox: GeoBox, sources: Sequence[_Source], rows: slice) -> tuple[Blended, UInt8]:
    """Blended rows of the tile, and the number of the scene that dominates each pixel."""
    shape = (rows.stop - rows.start, geobox.width)
    layers, origins = [], []
    for source in sources:
        grid = job.geobox(source.tile)
        place = window_of(geobox[rows, :], grid)
        if place is None:
            continue
        part = geobox[rows, :][place]
        seen = onto(source.balanced, grid, part, len(BANDS) + 1)
        number = onto(source.origin, grid, part, 1, "nearest")[0].astype(np.uint8)
        valid = (seen[: len(BANDS)] != 0).all(axis=0) & (number != 0)
        layers.append(Layer(source.tile.name, seen[: len(BANDS)], seen[-1], valid, place[0].start, place[1].start))
        origins.append((place, number))
    blended = blend(shape, layers)
    origin = np.zeros(shape, np.uint8)
    for index, (place, number) in enumerate(origins, 1):
        chosen = blended.dominant[place] == index
        origin[place][chosen] = number[chosen]
    return blended, origin


def _watch(job: Job, geobox: GeoBox, own: _Source, edges: Sequence[_Edge], rows: slice, mosaic: UInt8) -> None:
    """Collect what lies across each edge in these rows: tiles laid on one another as they are, and the mosaic."""
    inner: UInt8 | None = None
    for edge in edges:
        if not ((edge.line.rows >= rows.start) & (edge.line.rows < rows.stop)).any():
            continue
        if inner is None:
            inner = own.raw((rows, slice(0, geobox.width))).astype(np.uint8)
        grid = job.geobox(edge.source.tile)
        other = np.rint(onto(edge.source.raw, grid, geobox[rows, :], len(BANDS))).astype(np.uint8)
        edge.line.gather(hard_edge(other, inner), edge.before, rows.start)
        edge.line.gather(mosaic, edge.after, rows.start)


def _figures(edge: _Edge) -> dict[str, object]:
    """The seam metric of one edge, before and after; None where too little of it has data on both sides."""
    before, after = measure(edge.before), measure(edge.after)
    return {
        "neighbour": edge.source.tile.name,
        "before": before.to_json() if before else None,
        "after": after.to_json() if after else None,
    }


def _dates(job: Job, sources: Sequence[_Source]) -> tuple[datetime, datetime]:
    """First and last acquisition over all tiles that contribute."""
    stated = [composite_item(job, source.tile)["properties"] for source in sources if source.scenes]
    stated = stated or [composite_item(job, sources[0].tile)["properties"]]
    first = min(str(one["start_datetime"]) for one in stated)
    last = max(str(one["end_datetime"]) for one in stated)
    return datetime.fromisoformat(first), datetime.fromisoformat(last)


STEP = TileStep("blend", marker, run)

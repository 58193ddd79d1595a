"""Landcover: a network of three heads on each clear date, fused over dates to six classes (paper, section 2.4)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from s2ops.constants import Bool, Float32, Mask, UInt8
from s2ops.errors import MissingInput
from s2ops.geo.mgrs_tiles import Tile
from s2ops.inference.sliding_window import segment_slabs
from s2ops.landcover.date_fusion import Fusion, class_areas, date_weight, ramp_px
from s2ops.models.registry import LANDCOVER, split_by_head
from s2ops.pipeline.steps.acquire import acquired
from s2ops.pipeline.steps.base import TileStep
from s2ops.publishing import stac_item
from s2ops.raster.cog import CLASSES, PERCENT
from s2ops.raster.halo import FRAME, Placed, framed
from s2ops.raster.reader import read_window
from s2ops.records import AcquiredScene
from s2ops.results import StepResult
from s2ops.run.context import RunContext
from s2ops.run.raster_writer import find_date_range, open_raster_writer
from s2ops.storage import layout
from s2ops.storage.done_marker import DoneMarker, compute_fingerprint, read_json, to_json
from s2ops.telemetry import metrics

VERSION = 6


def marker(ctx: RunContext, tile: Tile) -> DoneMarker:
    """Stands while the classified images, what frames them, and the networks are the same."""
    images = [(look.own, look.frame) for look in _looks(ctx, tile)]
    facts = compute_fingerprint("landcover", VERSION, ctx.res, images, ctx.load_weights_info(LANDCOVER).sha256)
    return DoneMarker(layout.item("landcover", tile.name), facts)


@dataclass(frozen=True)
class _Look:
    """One image to classify: its key, its mask's (None: valid wherever it shows something), and its neighbours'."""

    name: str
    own: tuple[str, str]
    """Key and SHA-256."""
    mask: str | None
    frame: tuple[tuple[str, str, str], ...]
    """(tile, key, SHA-256) of the neighbours' images of the same date, where they have one."""


def _looks(ctx: RunContext, tile: Tile) -> list[_Look]:
    """The dates in their order; the mosaic last, when it is asked for or the dates leave holes."""
    looks = (
        [] if ctx.config.landcover.source == "mosaic" else [_scene_look(ctx, tile, one) for one in _dates(ctx, tile)]
    )
    if not looks or acquired(ctx, tile).holes > 0:
        looks.append(_mosaic_look(ctx, tile))
    return looks


def _dates(ctx: RunContext, tile: Tile) -> tuple[AcquiredScene, ...]:
    record = acquired(ctx, tile)
    return record.scenes + record.series


def _scene_look(ctx: RunContext, tile: Tile, scene: AcquiredScene) -> _Look:
    frame = tuple(
        (other.name, layout.image(other.name, one.id), one.image_sha256)
        for other in ctx.find_neighbours(tile)
        for one in _dates_of_neighbour(ctx, other)
        if one.date == scene.date and one.platform == scene.platform
    )
    own = (layout.image(tile.name, scene.id), scene.image_sha256)
    return _Look(scene.id, own, layout.mask(tile.name, scene.id), frame)


def _dates_of_neighbour(ctx: RunContext, tile: Tile) -> tuple[AcquiredScene, ...]:
    """None where acquire failed for the neighbour: its record says so, and the frame lacks it."""
    try:
        return _dates(ctx, tile)
    except MissingInput:
        return ()


def _mosaic_look(ctx: RunContext, tile: Tile) -> _Look:
    def named(one: Tile) -> tuple[str, str] | None:
        item = read_json(ctx.store, layout.item("mosaic", one.name))
        if item is None:
            return None
        return layout.data("mosaic", one.name, "mosaic"), str(item["assets"]["mosaic"]["file:checksum"])

    own = named(tile)
    if own is None:
        raise MissingInput(f"{ctx.config.out} has no mosaic of {tile.name}: run the step blend for it first")
    frame = tuple((other.name, *found) for other in ctx.find_neighbours(tile) if (found := named(other)) is not None)
    return _Look("mosaic", own, None, frame)


def run(ctx: RunContext, tile: Tile) -> StepResult:
    """Write landcover.tif and confidence.tif, then item.json."""
    mark, geobox, looks = marker(ctx, tile), ctx.build_geobox(tile), _looks(ctx, tile)
    counts: dict[str, float] = {}
    with open_raster_writer(ctx.store, geobox) as made:
        class_file = made.file("landcover", ["class"], CLASSES)
        percent_file = made.file("confidence", ["confidence"], PERCENT)
        for classes, confidence in _maps(ctx, tile, looks):
            class_file.write(classes[None])
            percent_file.write(confidence[None])
            for name, area in class_areas(classes, ctx.res).items():
                counts[name] = round(counts.get(name, 0.0) + area, 6)
        named = partial(layout.data, "landcover", tile.name)
        files = {named("landcover"): class_file, named("confidence"): percent_file}
        classes_sha256, percent_sha256 = made.put(files, ctx.threads)
    assets = {
        "landcover": stac_item.build_landcover_asset("landcover.tif", classes_sha256),
        "confidence": stac_item.build_confidence_asset("confidence.tif", percent_sha256),
    }
    metrics.areas(counts)
    properties = {
        "s2ops:fingerprint": mark.fingerprint,
        "s2ops:dates": [look.name for look in looks],
        "s2ops:areas_km2": counts,
        "s2ops:weights": {LANDCOVER: ctx.load_weights_info(LANDCOVER).sha256},
    }
    dates = find_date_range(_dates(ctx, tile), ctx.config)
    ctx.store.put(mark.key, to_json(stac_item.build_tile_item("landcover", tile.name, geobox, dates, assets, properties)))
    return StepResult("landcover", tile.name, "done" if any(counts.values()) else "empty", {"dates": len(looks)})


def _maps(ctx: RunContext, tile: Tile, looks: Sequence[_Look]) -> Iterator[tuple[UInt8, UInt8]]:
    """Classes and confidence of the tile, (rows, x) slabs from top to bottom."""
    geobox = ctx.build_geobox(tile)
    streams = [_stream(ctx, tile, look, _unseen(ctx, tile, looks) if look.mask is None else None) for look in looks]
    top = 0
    while top < geobox.height:
        fusion: Fusion | None = None
        for look, stream in zip(looks, streams, strict=True):  # one look at a time: each has 40 MB of answers
            rows, (water, vegetation, building) = next(stream)
            fusion = fusion or Fusion((rows.stop - rows.start, geobox.width))
            weight = _weight(ctx, tile, look, rows)
            if look.mask is None:
                weight = np.where(fusion.weight > 0, np.float32(0), weight)  # the mosaic fills only what no date shows
            fusion.feed(water, vegetation, building, weight)
            top = rows.stop
            del water, vegetation, building
        if fusion is None:
            raise RuntimeError(f"{tile.name} has nothing to classify")  # the mosaic stands in where no date does
        yield fusion.decide()


def _unseen(ctx: RunContext, tile: Tile, looks: Sequence[_Look]) -> Callable[[int, int], Bool] | None:
    """Where no date shows the ground, in rows of the framed image; None where there are no dates."""
    masks = [ctx.store.gdal(look.mask) for look in looks if look.mask is not None]
    height, width = ctx.build_geobox(tile).shape

    def unseen(top: int, end: int) -> Bool:
        rows = slice(max(top - FRAME, 0), min(end - FRAME, height))
        out = np.zeros((end - top, width + 2 * FRAME), np.bool_)
        if rows.start < rows.stop:
            clear = np.logical_or.reduce([read_window(mask, rows)[0] == Mask.CLEAR for mask in masks])
            first = rows.start + FRAME - top
            out[first : first + len(clear), FRAME:-FRAME] = ~clear
        return out

    return unseen if masks else None


def _stream(
    ctx: RunContext, tile: Tile, look: _Look, wanted: Callable[[int, int], Bool] | None
) -> Iterator[tuple[slice, list[UInt8]]]:
    """Rows of the tile and the probabilities of each head there, where they are `wanted`."""
    height, width = ctx.build_geobox(tile).shape
    tiles = {one.name: one for one in ctx.tiles}
    others = [Placed(ctx.store.gdal(key), ctx.build_geobox(tiles[name])) for name, key, _ in look.frame]
    read = framed(Placed(ctx.store.gdal(look.own[0]), ctx.build_geobox(tile)), others)
    network = ctx.open_segmenter(LANDCOVER)
    for top, end, probs in segment_slabs(network, read, height + 2 * FRAME, width + 2 * FRAME, wanted):
        rows = slice(max(top - FRAME, 0), min(end - FRAME, height))
        if rows.start < rows.stop:
            inner = slice(rows.start + FRAME - top, rows.stop + FRAME - top)
            yield rows, split_by_head(LANDCOVER, probs[:, inner, FRAME:-FRAME])


def _weight(ctx: RunContext, tile: Tile, look: _Look, rows: slice) -> Float32:
    """How much the look counts at each pixel of these rows."""
    if look.mask is None:
        shown: Float32 = (read_window(ctx.store.gdal(look.own[0]), rows, bands=[1])[0] != 0).astype(np.float32)
        return shown
    reach, height = ramp_px(ctx.res), ctx.build_geobox(tile).height
    around = slice(max(rows.start - reach, 0), min(rows.stop + reach, height))
    mask = read_window(ctx.store.gdal(look.mask), around)[0]
    weight = date_weight(mask, ctx.res)
    return weight[rows.start - around.start : rows.stop - around.start]


def _wanted(ctx: RunContext) -> bool:
    return ctx.config.landcover.enabled


STEP = TileStep("landcover", partial(layout.item, "landcover"), marker, run, wanted=_wanted)

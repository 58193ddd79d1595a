"""Landcover: a network of three heads on each clear date, fused over dates to six classes (paper, section 2.4)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from s2ops.constants import Bool, Float32, Mask, UInt8
from s2ops.errors import NotMade
from s2ops.geo.mgrs_tiles import Tile
from s2ops.inference.sliding_window import segment_slabs
from s2ops.landcover.date_fusion import Fusion, class_areas, date_weight, ramp_px
from s2ops.models.registry import LANDCOVER, by_head
from s2ops.pipeline.steps.acquire import acquired
from s2ops.pipeline.steps.base import TileStep
from s2ops.publishing import stac_item
from s2ops.raster.cog import CLASSES, PERCENT
from s2ops.raster.halo import FRAME, Placed, framed
from s2ops.raster.reader import read_window
from s2ops.records import AcquiredScene
from s2ops.results import StepResult
from s2ops.run.context import Job
from s2ops.run.raster_writer import dates_of, publisher
from s2ops.storage import layout
from s2ops.storage.done_marker import Marker, fingerprint, read_json, to_json
from s2ops.telemetry import metrics

VERSION = 6


def marker(job: Job, tile: Tile) -> Marker:
    """Stands while the classified images, what frames them, and the networks are the same."""
    images = [(look.own, look.frame) for look in _looks(job, tile)]
    facts = fingerprint("landcover", VERSION, job.res, images, job.model(LANDCOVER).sha256)
    return Marker(layout.item("landcover", tile.name), facts)


@dataclass(frozen=True)
class _Look:
    """One image to classify: its key, its mask's (None: valid wherever it shows something), and its neighbours'."""

    name: str
    own: tuple[str, str]
    """Key and SHA-256."""
    mask: str | None
    frame: tuple[tuple[str, str, str], ...]
    """(tile, key, SHA-256) of the neighbours' images of the same date, where they have one."""


def _looks(job: Job, tile: Tile) -> list[_Look]:
    """The dates in their order; the mosaic last, when it is asked for or the dates leave holes."""
    looks = (
        [] if job.config.landcover.source == "mosaic" else [_scene_look(job, tile, one) for one in _dates(job, tile)]
    )
    if not looks or acquired(job, tile).holes > 0:
        looks.append(_mosaic_look(job, tile))
    return looks


def _dates(job: Job, tile: Tile) -> tuple[AcquiredScene, ...]:
    record = acquired(job, tile)
    return record.scenes + record.series


def _scene_look(job: Job, tile: Tile, scene: AcquiredScene) -> _Look:
    frame = tuple(
        (other.name, layout.image(other.name, one.id), one.image_sha256)
        for other in job.neighbours(tile)
        for one in _dates_of_neighbour(job, other)
        if one.date == scene.date and one.platform == scene.platform
    )
    own = (layout.image(tile.name, scene.id), scene.image_sha256)
    return _Look(scene.id, own, layout.mask(tile.name, scene.id), frame)


def _dates_of_neighbour(job: Job, tile: Tile) -> tuple[AcquiredScene, ...]:
    """None where acquire failed for the neighbour: its record says so, and the frame lacks it."""
    try:
        return _dates(job, tile)
    except NotMade:
        return ()


def _mosaic_look(job: Job, tile: Tile) -> _Look:
    def named(one: Tile) -> tuple[str, str] | None:
        item = read_json(job.store, layout.item("mosaic", one.name))
        if item is None:
            return None
        return layout.data("mosaic", one.name, "mosaic"), str(item["assets"]["mosaic"]["file:checksum"])

    own = named(tile)
    if own is None:
        raise NotMade(f"{job.config.out} has no mosaic of {tile.name}: run the step blend for it first")
    frame = tuple((other.name, *found) for other in job.neighbours(tile) if (found := named(other)) is not None)
    return _Look("mosaic", own, None, frame)


def run(job: Job, tile: Tile) -> StepResult:
    """Write landcover.tif and confidence.tif, then item.json."""
    mark, geobox, looks = marker(job, tile), job.geobox(tile), _looks(job, tile)
    counts: dict[str, float] = {}
    with publisher(job.store, geobox) as made:
        class_file = made.file("landcover", ["class"], CLASSES)
        percent_file = made.file("confidence", ["confidence"], PERCENT)
        for classes, confidence in _maps(job, tile, looks):
            class_file.write(classes[None])
            percent_file.write(confidence[None])
            for name, area in class_areas(classes, job.res).items():
                counts[name] = round(counts.get(name, 0.0) + area, 6)
        named = partial(layout.data, "landcover", tile.name)
        files = {named("landcover"): class_file, named("confidence"): percent_file}
        classes_sha256, percent_sha256 = made.put(files, job.threads)
    assets = {
        "landcover": stac_item.landcover_asset("landcover.tif", classes_sha256),
        "confidence": stac_item.confidence_asset("confidence.tif", percent_sha256),
    }
    metrics.areas(counts)
    properties = {
        "s2ops:fingerprint": mark.fingerprint,
        "s2ops:dates": [look.name for look in looks],
        "s2ops:areas_km2": counts,
        "s2ops:weights": {LANDCOVER: job.model(LANDCOVER).sha256},
    }
    dates = dates_of(_dates(job, tile), job.config)
    job.store.put(mark.key, to_json(stac_item.tile_item("landcover", tile.name, geobox, dates, assets, properties)))
    return StepResult("landcover", tile.name, "done" if any(counts.values()) else "empty", {"dates": len(looks)})


def _maps(job: Job, tile: Tile, looks: Sequence[_Look]) -> Iterator[tuple[UInt8, UInt8]]:
    """Classes and confidence of the tile, (rows, x) slabs from top to bottom."""
    geobox = job.geobox(tile)
    streams = [_stream(job, tile, look, _unseen(job, tile, looks) if look.mask is None else None) for look in looks]
    top = 0
    while top < geobox.height:
        fusion: Fusion | None = None
        for look, stream in zip(looks, streams, strict=True):  # one look at a time: each has 40 MB of answers
            rows, (water, vegetation, building) = next(stream)
            fusion = fusion or Fusion((rows.stop - rows.start, geobox.width))
            weight = _weight(job, tile, look, rows)
            if look.mask is None:
                weight = np.where(fusion.weight > 0, np.float32(0), weight)  # the mosaic fills only what no date shows
            fusion.feed(water, vegetation, building, weight)
            top = rows.stop
            del water, vegetation, building
        if fusion is None:
            raise RuntimeError(f"{tile.name} has nothing to classify")  # the mosaic stands in where no date does
        yield fusion.decide()


def _unseen(job: Job, tile: Tile, looks: Sequence[_Look]) -> Callable[[int, int], Bool] | None:
    """Where no date shows the ground, in rows of the framed image; None where there are no dates."""
    masks = [job.store.gdal(look.mask) for look in looks if look.mask is not None]
    height, width = job.geobox(tile).shape

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
    job: Job, tile: Tile, look: _Look, wanted: Callable[[int, int], Bool] | None
) -> Iterator[tuple[slice, list[UInt8]]]:
    """Rows of the tile and the probabilities of each head there, where they are `wanted`."""
    height, width = job.geobox(tile).shape
    tiles = {one.name: one for one in job.tiles}
    others = [Placed(job.store.gdal(key), job.geobox(tiles[name])) for name, key, _ in look.frame]
    read = framed(Placed(job.store.gdal(look.own[0]), job.geobox(tile)), others)
    network = job.segmenter(LANDCOVER)
    for top, end, probs in segment_slabs(network, read, height + 2 * FRAME, width + 2 * FRAME, wanted):
        rows = slice(max(top - FRAME, 0), min(end - FRAME, height))
        if rows.start < rows.stop:
            inner = slice(rows.start + FRAME - top, rows.stop + FRAME - top)
            yield rows, by_head(LANDCOVER, probs[:, inner, FRAME:-FRAME])


def _weight(job: Job, tile: Tile, look: _Look, rows: slice) -> Float32:
    """How much the look counts at each pixel of these rows."""
    if look.mask is None:
        shown: Float32 = (read_window(job.store.gdal(look.own[0]), rows, bands=[1])[0] != 0).astype(np.float32)
        return shown
    reach, height = ramp_px(job.res), job.geobox(tile).height
    around = slice(max(rows.start - reach, 0), min(rows.stop + reach, height))
    mask = read_window(job.store.gdal(look.mask), around)[0]
    weight = date_weight(mask, job.res)
    return weight[rows.start - around.start : rows.stop - around.start]


def _wanted(job: Job) -> bool:
    return job.config.landcover.enabled


STEP = TileStep("landcover", partial(layout.item, "landcover"), marker, run, wanted=_wanted)

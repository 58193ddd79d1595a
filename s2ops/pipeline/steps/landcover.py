"""Landcover step (land-cover classification): networks classify each clear date, fused over dates to six classes.

Paper, section 2.4.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from s2ops.constants import Bool, Float32, Mask, UInt8
from s2ops.errors import MissingInput
from s2ops.geo.mgrs_tiles import Tile
from s2ops.inference.sliding_window import segment_slabs
from s2ops.landcover.date_fusion import DateFusion, compute_class_areas, compute_date_weight, compute_ramp_px
from s2ops.models.registry import LANDCOVER, LANDCOVER_NETWORKS, split_by_head
from s2ops.pipeline.steps.acquire import read_acquired
from s2ops.pipeline.steps.base import TileStep
from s2ops.publishing import stac_item
from s2ops.raster.cog import CLASSES, PERCENT
from s2ops.raster.halo import HALO_PX, GriddedFile, read_with_halo
from s2ops.raster.reader import read_window
from s2ops.records import AcquiredScene, AcquireRecord
from s2ops.results import StepName, StepResult
from s2ops.run.context import RunContext
from s2ops.run.raster_writer import find_date_range, open_raster_writer
from s2ops.storage import layout
from s2ops.storage.done_marker import compute_fingerprint, read_json, to_json
from s2ops.telemetry import metrics

VERSION = 7


@dataclass(frozen=True)
class _SourceImage:
    """An image to classify: an acquired scene (one date) or the mosaic."""

    name: str
    key: str
    sha256: str
    mask: str | None
    """Key of the scene's mask; None for the mosaic, which is valid wherever it has data."""
    neighbours: tuple[tuple[str, str, str], ...]
    """Tile name, key and SHA-256 of the neighbours' images of the same date, which fill the halo."""


@dataclass(frozen=True)
class LandcoverInputs:
    """Inputs of landcover: the images to classify and the networks."""

    images: list[_SourceImage]
    record: AcquireRecord | None
    """Acquired scenes of the tile; None if the mosaic alone is classified."""
    res: int
    weights: dict[str, str]
    """SHA-256 of the weights of each network."""


def prepare(ctx: RunContext, tile: Tile) -> LandcoverInputs:
    """List the images of a tile: its dates in their order, and the mosaic if it is wanted or the dates leave holes."""
    record = None if ctx.config.landcover.source == "mosaic" else read_acquired(ctx, tile)
    images = [] if record is None else _list_scene_images(ctx, tile, record)
    if not images or record is None or record.holes > 0:
        images.append(_find_mosaic_image(ctx, tile))
    networks = LANDCOVER_NETWORKS[ctx.config.landcover.networks]
    weights = {name: ctx.load_weights_info(name).sha256 for name in networks}
    return LandcoverInputs(images, record, ctx.res, weights)


def fingerprint(inputs: LandcoverInputs) -> str:
    """Return the SHA-256 over the classified images, the neighbours' images in their halo, and the networks."""
    images = [((image.key, image.sha256), image.neighbours) for image in inputs.images]
    return compute_fingerprint("landcover", VERSION, inputs.res, images, inputs.weights)


def _list_dates(record: AcquireRecord) -> tuple[AcquiredScene, ...]:
    return record.scenes + record.series


def _list_scene_images(ctx: RunContext, tile: Tile, record: AcquireRecord) -> list[_SourceImage]:
    dates = _list_dates(record)
    neighbours = [(other.name, _list_neighbour_dates(ctx, other)) for other in ctx.find_neighbours(tile) if dates]
    return [
        _SourceImage(
            scene.id,
            layout.SceneKeys(tile.name, scene.id).image,
            scene.image_sha256,
            layout.SceneKeys(tile.name, scene.id).mask,
            tuple(
                (other, layout.SceneKeys(other, one.id).image, one.image_sha256)
                for other, scenes in neighbours
                for one in scenes
                if one.date == scene.date and one.platform == scene.platform
            ),
        )
        for scene in dates
    ]


def _list_neighbour_dates(ctx: RunContext, tile: Tile) -> tuple[AcquiredScene, ...]:
    """List the dates of a neighbour; none if acquire failed for it (its failure record states that)."""
    try:
        return _list_dates(read_acquired(ctx, tile))
    except MissingInput:
        return ()


def _find_mosaic_image(ctx: RunContext, tile: Tile) -> _SourceImage:
    def find(one: Tile) -> tuple[str, str] | None:
        item = read_json(ctx.store, layout.TileKeys(one.name).get_item("mosaic"))
        if item is None:
            return None
        return layout.TileKeys(one.name).get_raster("mosaic", "mosaic"), str(item["assets"]["mosaic"]["file:checksum"])

    own = find(tile)
    if own is None:
        raise MissingInput(f"{ctx.config.out} has no mosaic of {tile.name}; run the step blend for it first.")
    neighbours = [(other.name, find(other)) for other in ctx.find_neighbours(tile)]
    return _SourceImage("mosaic", *own, None, tuple((name, *found) for name, found in neighbours if found is not None))


def run(ctx: RunContext, tile: Tile, inputs: LandcoverInputs) -> StepResult:
    """Write landcover.tif and confidence.tif, then item.json."""
    geobox, images = ctx.build_geobox(tile), inputs.images
    areas_km2: dict[str, float] = {}
    with open_raster_writer(ctx.store, geobox) as writer:
        class_file = writer.create_file("landcover", ["class"], CLASSES)
        confidence_file = writer.create_file("confidence", ["confidence"], PERCENT)
        for classes, confidence in _classify(ctx, tile, images):
            class_file.write(classes[None])
            confidence_file.write(confidence[None])
            for name, area in compute_class_areas(classes, ctx.res).items():
                areas_km2[name] = round(areas_km2.get(name, 0.0) + area, 6)
        get_key = partial(layout.TileKeys(tile.name).get_raster, "landcover")
        files = {get_key("landcover"): class_file, get_key("confidence"): confidence_file}
        class_sha256, confidence_sha256 = writer.put(files, ctx.threads)
    assets = {
        "landcover": stac_item.build_landcover_asset("landcover.tif", class_sha256),
        "confidence": stac_item.build_confidence_asset("confidence.tif", confidence_sha256),
    }
    metrics.count_areas(areas_km2)
    networks = ctx.config.landcover.networks
    has_dates = any(image.mask is not None for image in images)
    properties = {
        "processing:lineage": stac_item.describe_landcover_lineage(networks, has_dates=has_dates),
        "s2ops:fingerprint": fingerprint(inputs),
        "s2ops:dates": [image.name for image in images],
        "s2ops:areas_km2": areas_km2,
        "s2ops:weights": inputs.weights,
    }
    dates = find_date_range(_list_dates(inputs.record or read_acquired(ctx, tile)), ctx.config)
    item = stac_item.build_tile_item("landcover", tile.name, geobox, dates, assets, properties)
    ctx.store.put(layout.TileKeys(tile.name).get_item("landcover"), to_json(item))
    facts = {"dates": len(images), "networks": networks}
    return StepResult(StepName.LANDCOVER, tile.name, "done" if any(areas_km2.values()) else "empty", facts)


def _classify(ctx: RunContext, tile: Tile, images: Sequence[_SourceImage]) -> Iterator[tuple[UInt8, UInt8]]:
    """Yield classes and confidence of a tile in slabs (rows, x) from top to bottom."""
    geobox = ctx.build_geobox(tile)
    streams = [
        _predict(ctx, tile, image, _build_hole_reader(ctx, tile, images) if image.mask is None else None)
        for image in images
    ]
    top = 0
    while top < geobox.height:
        fusion: DateFusion | None = None
        for image, stream in zip(images, streams, strict=True):  # one image at a time: each takes 40 MB
            rows, (water, vegetation, building) = next(stream)
            fusion = fusion or DateFusion((rows.stop - rows.start, geobox.width))
            weight = _read_weight(ctx, tile, image, rows)
            if image.mask is None:
                weight = np.where(fusion.weight > 0, np.float32(0), weight)  # the mosaic fills only the dates' holes
            fusion.feed(water, vegetation, building, weight)
            top = rows.stop
            del water, vegetation, building
        if fusion is None:
            raise RuntimeError(f"{tile.name} has nothing to classify")  # without dates the mosaic is classified
        yield fusion.decide()


def _build_hole_reader(
    ctx: RunContext, tile: Tile, images: Sequence[_SourceImage]
) -> Callable[[int, int], Bool] | None:
    """Build a function that returns the pixels without a clear date, in rows of the image with halo.

    Returns:
        None if there are no dates, so that the whole mosaic is classified.
    """
    masks = [ctx.store.get_gdal_path(image.mask) for image in images if image.mask is not None]
    height, width = ctx.build_geobox(tile).shape

    def read_holes(top: int, end: int) -> Bool:
        rows = slice(max(top - HALO_PX, 0), min(end - HALO_PX, height))
        out = np.zeros((end - top, width + 2 * HALO_PX), np.bool_)
        if rows.start < rows.stop:
            clear = np.logical_or.reduce([read_window(mask, rows)[0] == Mask.CLEAR for mask in masks])
            first = rows.start + HALO_PX - top
            out[first : first + len(clear), HALO_PX:-HALO_PX] = ~clear
        return out

    return read_holes if masks else None


def _predict(
    ctx: RunContext, tile: Tile, image: _SourceImage, is_wanted: Callable[[int, int], Bool] | None
) -> Iterator[tuple[slice, list[UInt8]]]:
    """Yield rows of the tile and the probabilities of each head there, for the wanted pixels only."""
    height, width = ctx.build_geobox(tile).shape
    others = [
        GriddedFile(ctx.store.get_gdal_path(key), ctx.build_geobox(ctx.tiles_by_name[name]))
        for name, key, _ in image.neighbours
    ]
    read = read_with_halo(GriddedFile(ctx.store.get_gdal_path(image.key), ctx.build_geobox(tile)), others)
    network = ctx.open_landcover_segmenter()
    for top, end, probs in segment_slabs(network, read, height + 2 * HALO_PX, width + 2 * HALO_PX, is_wanted):
        rows = slice(max(top - HALO_PX, 0), min(end - HALO_PX, height))
        if rows.start < rows.stop:
            inner = slice(rows.start + HALO_PX - top, rows.stop + HALO_PX - top)
            yield rows, split_by_head(LANDCOVER, probs[:, inner, HALO_PX:-HALO_PX])


def _read_weight(ctx: RunContext, tile: Tile, image: _SourceImage, rows: slice) -> Float32:
    """Read the weight (y, x) of an image in the fusion, for some rows: 0 where it is not valid."""
    if image.mask is None:
        valid: Float32 = (read_window(ctx.store.get_gdal_path(image.key), rows, bands=[1])[0] != 0).astype(np.float32)
        return valid
    reach, height = compute_ramp_px(ctx.res), ctx.build_geobox(tile).height
    around = slice(max(rows.start - reach, 0), min(rows.stop + reach, height))
    mask = read_window(ctx.store.get_gdal_path(image.mask), around)[0]
    weight = compute_date_weight(mask, ctx.res)
    return weight[rows.start - around.start : rows.stop - around.start]


def _is_wanted(ctx: RunContext) -> bool:
    return ctx.config.landcover.enabled


STEP = TileStep(
    StepName.LANDCOVER,
    lambda tile: layout.TileKeys(tile).get_item("landcover"),
    prepare,
    fingerprint,
    run,
    is_wanted=_is_wanted,
)

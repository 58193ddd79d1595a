"""Publish step: STAC catalog, virtual mosaics (VRT, GTI, MosaicJSON) over all tiles, and the report.

Tiles that the run could not make are left out and listed in the catalog, so that the other tiles can be used.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from s2ops.constants import BANDS
from s2ops.errors import MissingInput
from s2ops.geo.mgrs_tiles import Tile
from s2ops.pipeline.steps import blend, landcover
from s2ops.pipeline.steps.base import TileStep, WholeStep
from s2ops.publishing import stac_collection, stac_item, vrt
from s2ops.publishing.mosaicjson import build_mosaicjson
from s2ops.publishing.tile_index import build_tile_index
from s2ops.report import build_report
from s2ops.results import RUN_TARGET, StepName, StepResult
from s2ops.run import missing_tiles
from s2ops.run.context import RunContext
from s2ops.runtime.threads import map_ordered
from s2ops.storage import layout
from s2ops.storage.done_marker import compute_fingerprint, read_fingerprint, to_json

VERSION = 3

_READER_THREADS = 16
"""Threads that read items; they only wait for the store."""

_COLLECTION_PROPERTIES = ("start_datetime", "end_datetime", "gsd", "proj:code", "s2ops:fingerprint")
"""Properties of an item that a collection summarizes; a whole item takes 40 kB of memory, and there may be 40,000."""

_LAYERS: Final[dict[stac_item.Product, dict[str, tuple[str, ...]]]] = {
    "mosaic": {"mosaic": BANDS},
    "landcover": {"landcover": ("class",), "confidence": ("confidence",)},
}
"""Rasters of each product that get an index over all zones, with their bands."""

_NODATA: Final = {"mosaic": 0, "landcover": 0, "confidence": 255}

Items = dict[str, dict[str, Any]]
"""Items of a product by tile, with the properties of `_COLLECTION_PROPERTIES` only."""


@dataclass(frozen=True)
class PublishInputs:
    """Inputs of publish: the items of each product, and the tiles that are missing."""

    products: dict[stac_item.Product, Items]
    missing: dict[str, str]
    """Tile -> reason."""


def prepare(ctx: RunContext) -> PublishInputs:
    """Read the items of all tiles; a tile that lacks a product is missing in all, so that the maps show equal tiles."""
    products: dict[stac_item.Product, Items] = {"mosaic": _read_items(ctx, blend.STEP)}
    if ctx.config.landcover.enabled:
        products["landcover"] = _read_items(ctx, landcover.STEP)
    complete = set.intersection(*(set(items) for items in products.values()))
    products = {kind: {tile: items[tile] for tile in sorted(complete)} for kind, items in products.items()}
    missing = missing_tiles.read_reasons(ctx, [tile.name for tile in ctx.tiles if tile.name not in complete])
    return PublishInputs(products, missing)


def _read_items(ctx: RunContext, step: TileStep[Any]) -> Items:
    """Read the items that a step made from current inputs."""

    def read_item(tile: Tile) -> dict[str, Any] | None:
        item = step.load_if_current(ctx, tile)
        if item is None:
            return None
        return {"bbox": item["bbox"], "properties": {name: item["properties"][name] for name in _COLLECTION_PROPERTIES}}

    items = zip(ctx.tiles, map_ordered(read_item, ctx.tiles, _READER_THREADS), strict=True)
    return {tile.name: item for tile, item in items if item is not None}


def fingerprint(inputs: PublishInputs) -> str:
    """Return the SHA-256 over the fingerprints of all items, and over the missing tiles."""
    items = {
        kind: {tile: read_fingerprint(item) for tile, item in items.items()} for kind, items in inputs.products.items()
    }
    return compute_fingerprint("publish", VERSION, items, inputs.missing)


def run(ctx: RunContext, inputs: PublishInputs) -> StepResult:
    """Write the virtual mosaics, collections and report, then catalog.json; raise MissingInput if no tile is there."""
    products, missing = inputs.products, inputs.missing
    ctx.store.put(layout.REPORT, build_report(ctx.store, [tile.name for tile in ctx.tiles]).encode())
    if len(missing) == len(ctx.tiles):
        tile, reason = next(iter(missing.items()))
        raise MissingInput(f"{ctx.config.out} has no finished tile to publish: {tile} ({reason})")
    index_files = {kind: _write_index_files(ctx, kind, items) for kind, items in products.items()}
    files = stac_collection.build_catalog(products["mosaic"], products.get("landcover", {}), index_files)
    root = json.loads(files.pop(layout.CATALOG))
    for key, data in files.items():
        ctx.store.put(key, data)
    stated = {missing_tiles.MISSING_FIELD: missing} if missing else {}
    ctx.store.put(layout.CATALOG, to_json({**root, **stated, "s2ops:fingerprint": fingerprint(inputs)}))
    facts = {"tiles": len(products["mosaic"]), "missing": len(missing)}
    return StepResult(StepName.PUBLISH, RUN_TARGET, "done", facts)


def _write_index_files(
    ctx: RunContext, kind: stac_item.Product, items: Items
) -> list[stac_collection.ProductIndexFile]:
    """Write the files that show all tiles of a product at once, and describe them."""
    tiles = [tile for tile in ctx.tiles if tile.name in items]
    written = []
    for key, data, title, media_type in _build_index_files(ctx, kind, tiles):
        ctx.store.put(key, data)
        checksum = hashlib.sha256(data).hexdigest()
        written.append(stac_collection.ProductIndexFile(key, checksum, len(data), title, media_type))
    return written


def _build_index_files(
    ctx: RunContext, kind: stac_item.Product, tiles: list[Tile]
) -> Iterator[tuple[str, bytes, str, str]]:
    """Yield key, bytes, title and media type of each file over all tiles of a product."""
    title = stac_item.TITLES[kind]
    for epsg in sorted({tile.epsg for tile in tiles}):
        text = _build_vrt(ctx, kind, [tile for tile in tiles if tile.epsg == epsg])
        yield (
            layout.get_vrt_key(kind, epsg),
            text.encode(),
            f"{title}, UTM zone {epsg % 100}, for GDAL",
            "application/xml",
        )
    for layer, bands in _LAYERS[kind].items():
        keys = {tile: layout.TileKeys(tile.name).get_raster(kind, layer) for tile in tiles}
        palette = stac_collection.LANDCOVER_PALETTE if layer == "landcover" else None
        index = build_tile_index(keys, ctx.res, bands, _NODATA[layer], layer != "landcover", palette)
        index_title = f"{layer}, all zones, for GDAL 3.9 or later"
        yield layout.get_tile_index_key(layer), index, index_title, "application/geopackage+sqlite3"
        document = to_json(build_mosaicjson(keys, ctx.res, layer, palette))
        yield (
            layout.get_mosaicjson_key(layer),
            document,
            f"{layer}, all zones, as MosaicJSON",
            stac_item.JSON_MEDIA_TYPE,
        )


def _build_vrt(ctx: RunContext, kind: stac_item.Product, tiles: list[Tile]) -> str:
    sources = [
        vrt.VrtSource(layout.TileKeys(tile.name).get_raster(kind, kind), ctx.build_geobox(tile)) for tile in tiles
    ]
    if kind == "landcover":
        return vrt.build_vrt(sources, ["class"], colour_table=vrt.LANDCOVER_COLOURS)
    return vrt.build_vrt(sources, BANDS)


STEP = WholeStep(StepName.PUBLISH, layout.CATALOG, prepare, fingerprint, run)

"""Publish: the STAC catalog, virtual mosaics over all tiles, and the report to look at.

A tile that the run could not make is left out and named in the catalog, so that the others can be used.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final

from s2ops.constants import BANDS
from s2ops.errors import MissingInput
from s2ops.geo.mgrs_tiles import Tile
from s2ops.pipeline.steps import blend, landcover
from s2ops.pipeline.steps.base import TileStep, WholeStep
from s2ops.publishing import stac_collection, stac_item, vrt
from s2ops.publishing.mosaicjson import build_mosaicjson, get_mosaicjson_key
from s2ops.publishing.tile_index import get_tile_index_key, build_tile_index
from s2ops.report import build_report
from s2ops.results import StepResult
from s2ops.run import missing_tiles
from s2ops.run.context import RunContext
from s2ops.runtime.threads import ordered_map
from s2ops.storage import layout
from s2ops.storage.done_marker import DoneMarker, compute_fingerprint, read_fingerprint, to_json

VERSION = 3

_READERS = 16
"""Threads that read items: they only wait for the store."""

_KEPT = ("start_datetime", "end_datetime", "gsd", "proj:code", "s2ops:fingerprint")
"""Properties of an item that a collection sums up; a whole one takes 40 kB of memory, and there may be 40,000."""

_LAYERS: Final[dict[stac_item.Product, dict[str, tuple[str, ...]]]] = {
    "mosaic": {"mosaic": BANDS},
    "landcover": {"landcover": ("class",), "confidence": ("confidence",)},
}
"""The rasters of each product that get an index over all zones, and their bands."""

_NODATA: Final = {"mosaic": 0, "landcover": 0, "confidence": 255}

Items = dict[str, dict[str, Any]]


def _items(ctx: RunContext, step: TileStep) -> Items:
    """What collections need of the items that the step has made of today's inputs, by tile."""

    def item(tile: Tile) -> dict[str, Any] | None:
        found = step.load_if_current(ctx, tile)
        if found is None:
            return None
        return {"bbox": found["bbox"], "properties": {name: found["properties"][name] for name in _KEPT}}

    found = zip(ctx.tiles, ordered_map(item, ctx.tiles, _READERS), strict=True)
    return {tile.name: one for tile, one in found if one is not None}


def _products(ctx: RunContext) -> dict[stac_item.Product, Items]:
    """Each product's items; a tile that lacks one counts in neither, so that both maps show the same tiles."""
    products: dict[stac_item.Product, Items] = {"mosaic": _items(ctx, blend.STEP)}
    if ctx.config.landcover.enabled:
        products["landcover"] = _items(ctx, landcover.STEP)
    complete = set.intersection(*(set(items) for items in products.values()))
    return {kind: {tile: items[tile] for tile in sorted(complete)} for kind, items in products.items()}


def _missing(ctx: RunContext, products: dict[stac_item.Product, Items]) -> dict[str, str]:
    return missing_tiles.read_reasons(ctx, [tile.name for tile in ctx.tiles if tile.name not in products["mosaic"]])


def _mark(products: dict[stac_item.Product, Items], missing: dict[str, str]) -> DoneMarker:
    found = {kind: {tile: read_fingerprint(item) for tile, item in items.items()} for kind, items in products.items()}
    return DoneMarker(layout.CATALOG, compute_fingerprint("publish", VERSION, found, missing))


def _look(ctx: RunContext) -> tuple[dict[stac_item.Product, Items], dict[str, str]]:
    """The products, and what is missing."""
    products = _products(ctx)
    return products, _missing(ctx, products)


def marker(ctx: RunContext) -> DoneMarker:
    """Stands while all items, and what is missing, are the same. What was read is handed on to `run`."""
    found = ctx.handed_on["publish"] = _look(ctx)
    return _mark(*found)


def run(ctx: RunContext) -> StepResult:
    """Write the virtual mosaics, collections and report, then catalog.json. NotMade where there is no tile at all."""
    products, missing = ctx.handed_on.pop("publish", None) or _look(ctx)
    mark = _mark(products, missing)
    ctx.store.put(layout.REPORT, build_report(ctx.store, [tile.name for tile in ctx.tiles]).encode())
    if len(missing) == len(ctx.tiles):
        tile, why = next(iter(missing.items()))
        raise MissingInput(f"{ctx.config.out} has no finished tile to publish: {tile} ({why})")
    wholes = {kind: _put_wholes(ctx, kind, items) for kind, items in products.items()}
    files = stac_collection.build_catalog(products["mosaic"], products.get("landcover", {}), wholes)
    root = json.loads(files.pop(layout.CATALOG))
    for key, data in files.items():
        ctx.store.put(key, data)
    stated = {missing_tiles.MISSING_FIELD: missing} if missing else {}
    ctx.store.put(layout.CATALOG, to_json({**root, **stated, "s2ops:fingerprint": mark.fingerprint}))
    return StepResult("publish", "all", "done", {"tiles": len(products["mosaic"]), "missing": len(missing)})


def _put_wholes(ctx: RunContext, kind: stac_item.Product, items: Items) -> list[stac_collection.ProductIndexFile]:
    """Write what shows all tiles of a product at once, and say what was written."""
    tiles = [tile for tile in ctx.tiles if tile.name in items]
    made = []
    for key, data, title, media_type in _wholes(ctx, kind, tiles):
        ctx.store.put(key, data)
        made.append(stac_collection.ProductIndexFile(key, hashlib.sha256(data).hexdigest(), len(data), title, media_type))
    return made


def _wholes(ctx: RunContext, kind: stac_item.Product, tiles: list[Tile]) -> Iterator[tuple[str, bytes, str, str]]:
    """Key, bytes, title and media type of each file over all tiles of a product."""
    named = stac_item.TITLES[kind]
    for epsg in sorted({tile.epsg for tile in tiles}):
        text = _vrt(ctx, kind, [tile for tile in tiles if tile.epsg == epsg])
        yield vrt.get_vrt_key(kind, epsg), text.encode(), f"{named}, UTM zone {epsg % 100}, for GDAL", "application/xml"
    for layer, bands in _LAYERS[kind].items():
        located = {tile: layout.data(kind, tile.name, layer) for tile in tiles}
        palette = stac_collection.LANDCOVER_PALETTE if layer == "landcover" else None
        index = build_tile_index(located, ctx.res, bands, _NODATA[layer], layer != "landcover", palette)
        yield get_tile_index_key(layer), index, f"{layer}, all zones, for GDAL 3.9 or later", "application/geopackage+sqlite3"
        squares = to_json(build_mosaicjson(located, ctx.res, layer, palette))
        yield get_mosaicjson_key(layer), squares, f"{layer}, all zones, as MosaicJSON", stac_item.JSON_MEDIA_TYPE


def _vrt(ctx: RunContext, kind: stac_item.Product, tiles: list[Tile]) -> str:
    sources = [vrt.VrtSource(layout.data(kind, tile.name, kind), ctx.build_geobox(tile)) for tile in tiles]
    if kind == "landcover":
        return vrt.build_vrt(sources, ["class"], colour_table=vrt.LANDCOVER_COLOURS)
    return vrt.build_vrt(sources, BANDS)


STEP = WholeStep("publish", marker, run)

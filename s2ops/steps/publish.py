"""Publish: the STAC catalog, virtual mosaics over all tiles, and the report to look at."""

import json
from typing import Any

from s2ops import keys, stac, virtual
from s2ops.codes import BANDS
from s2ops.errors import InputError
from s2ops.job import Job, StepResult
from s2ops.marker import Marker, fingerprint, fingerprint_in, read_json, to_json
from s2ops.report import build
from s2ops.steps.base import WholeStep

VERSION = 1


def _items(job: Job, product: stac.Kind) -> dict[str, dict[str, Any]]:
    """The product's items by tile; InputError where one is missing."""
    items = {}
    for tile in job.tiles:
        key = keys.item(product, tile.name)
        item = read_json(job.store, key)
        if item is None:
            raise InputError(f"{job.config.out} has no {key}: run the steps before publish for {tile.name} first")
        items[tile.name] = item
    return items


def _products(job: Job) -> dict[stac.Kind, dict[str, dict[str, Any]]]:
    kinds: tuple[stac.Kind, ...] = ("mosaic", "landcover") if job.config.landcover.enabled else ("mosaic",)
    return {kind: _items(job, kind) for kind in kinds}


def marker(job: Job) -> Marker:
    """Stands while all items are the same."""
    found = {
        kind: {tile: fingerprint_in(item) for tile, item in items.items()} for kind, items in _products(job).items()
    }
    return Marker(keys.CATALOG, fingerprint("publish", VERSION, found))


def run(job: Job) -> StepResult:
    """Write the virtual mosaics, collections and report, then catalog.json."""
    mark, products = marker(job), _products(job)
    for kind in products:
        for epsg in sorted({tile.epsg for tile in job.tiles}):
            job.store.put(virtual.vrt_key(kind, epsg), _vrt(job, kind, epsg).encode())
    files = stac.catalog(products.get("mosaic", {}), products.get("landcover", {}))
    root = json.loads(files.pop(keys.CATALOG))
    for key, data in files.items():
        job.store.put(key, data)
    job.store.put(keys.REPORT, build(job.store, [tile.name for tile in job.tiles]).encode())
    job.store.put(keys.CATALOG, to_json({**root, "s2ops:fingerprint": mark.fingerprint}))
    return StepResult("publish", "all", "done", {"tiles": len(job.tiles)})


def _vrt(job: Job, kind: stac.Kind, epsg: int) -> str:
    sources = [
        virtual.VrtSource(keys.data(kind, tile.name, kind), job.geobox(tile)) for tile in job.tiles if tile.epsg == epsg
    ]
    if kind == "landcover":
        return virtual.vrt(sources, ["class"], colour_table=virtual.LANDCOVER_COLOURS)
    return virtual.vrt(sources, BANDS)


STEP = WholeStep("publish", marker, run)

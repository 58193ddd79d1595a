"""Balance: one radiometry for the whole region, from what neighbouring composites show of their common ground."""

from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from s2ops import keys
from s2ops.balance import Overlap, solve
from s2ops.codes import BANDS, Float32, UInt8
from s2ops.errors import InputError
from s2ops.gains import Gains, PairCounts
from s2ops.grid import Tile
from s2ops.job import Job, StepResult
from s2ops.marker import Marker, fingerprint, fingerprint_in, read_json, to_json
from s2ops.overlap import Window, onto, window_of
from s2ops.raster import read_decimated
from s2ops.steps.base import WholeStep

VERSION = 1

_RES = 120
"""Metres a pixel of the rasters that tiles are compared on: many pixels an overlap, and small registration errors."""


def marker(job: Job) -> Marker:
    """Stands while all composites are the same."""
    composites = {tile.name: composite_item(job, tile)["properties"]["s2ops:fingerprint"] for tile in job.tiles}
    return Marker(keys.BALANCE, fingerprint("balance", VERSION, composites))


def composite_item(job: Job, tile: Tile) -> dict[str, Any]:
    """The composite's item; InputError where composite has not run."""
    key = keys.item("composite", tile.name)
    item = read_json(job.store, key)
    if item is None or fingerprint_in(item) is None:
        raise InputError(f"{job.config.out} has no {key}: run the step composite for {tile.name} first")
    return item


def run(job: Job) -> StepResult:
    """Measure every overlap, solve for all gains at once, write balance/balance.json."""
    mark = marker(job)
    overlaps = [
        overlap
        for tile in job.tiles
        for other in job.neighbours(tile)
        if tile.name < other.name and (overlap := _measure(job, tile, other)) is not None
    ]
    gains = solve([tile.name for tile in job.tiles], overlaps)
    record = {
        "bands": list(BANDS),
        "gains": {name: list(values) for name, values in gains.items()},
        "overlaps": [{**overlap.to_json(), "remaining": list(overlap.remaining(gains))} for overlap in overlaps],
        "fingerprint": mark.fingerprint,
    }
    job.store.put(mark.key, to_json(record))
    return StepResult("balance", "all", "done", {"tiles": len(job.tiles), "overlaps": len(overlaps)})


def _measure(job: Job, a: Tile, b: Tile) -> Overlap | None:
    """What the composites of `a` and `b` show of their common ground; None where that is too little."""
    grid_a, grid_b = (_coarse(job, tile) for tile in (a, b))
    window = window_of(grid_a, grid_b)
    if window is None:
        return None
    first = _levels(job, a, grid_a)[:, window[0], window[1]]
    whole = _levels(job, b, grid_b).astype(np.float32)

    def read(part: Window) -> Float32:
        return whole[:, part[0], part[1]]

    second: UInt8 = np.rint(onto(read, grid_b, grid_a[window], len(BANDS))).astype(np.uint8)
    valid = (first != 0).all(axis=0) & (second != 0).all(axis=0)
    return Overlap.measured(a.name, b.name, PairCounts().feed(first, second, valid))


def _coarse(job: Job, tile: Tile) -> GeoBox:
    return tile.geobox(max(_RES, job.res))


def _levels(job: Job, tile: Tile, grid: GeoBox) -> UInt8:
    height, width = grid.shape
    return read_decimated(job.store.gdal(keys.data("composite", tile.name, "composite")), (height, width))


def gains_of(job: Job) -> dict[str, Gains]:
    """The gains that balance wrote; InputError where it has not run."""
    record = read_json(job.store, keys.BALANCE)
    if record is None:
        raise InputError(f"{job.config.out} has no {keys.BALANCE}: run the step balance first")
    return {name: tuple(values) for name, values in record["gains"].items()}


STEP = WholeStep("balance", marker, run)

"""Balance: one radiometry for the whole region, from what neighbouring composites show of their common ground.

What was measured is kept (balance/overlaps.json), so that a composite that is new or changed costs its own overlaps
only. Each tile gets a small file with the corrections of itself and its neighbours: what blending depends on.
"""

from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
from odc.geo.geobox import GeoBox

from s2ops.constants import BANDS, Float32, UInt8
from s2ops.errors import NotMade
from s2ops.geo.mgrs_tiles import Tile
from s2ops.mosaic.balance.color_balance import balance
from s2ops.mosaic.balance.correction_plane import Correction
from s2ops.mosaic.balance.illumination_gradient import Land, Light
from s2ops.mosaic.balance.overlap_statistics import Overlap, Piece, Place, compare
from s2ops.pipeline.steps.base import WholeStep
from s2ops.raster.reader import read_decimated
from s2ops.raster.reproject import Window, onto, pixels_in, window_of
from s2ops.results import StepResult
from s2ops.run.context import Job
from s2ops.runtime.threads import in_order
from s2ops.storage import layout
from s2ops.storage.done_marker import Marker, fingerprint, fingerprint_in, read_json, to_json

VERSION = 2

_RES = 120
"""Metres a pixel of the rasters that tiles are compared on: many pixels an overlap, and small registration errors."""

_HELD = 32
"""Decimated composites in memory, 3 MB each: the neighbours of a few tiles."""

_WRITERS = 16
"""Threads that write small files: they only wait for the store."""


def marker(job: Job) -> Marker:
    """Stands while all composites are the same; for a refresh also what was solved for them without freezing."""
    composites = _composites(job)
    solved = fingerprint("balance", VERSION, composites)
    if job.config.since is not None and Marker(layout.BALANCE, solved).stands_in(job.store):
        return Marker(layout.BALANCE, solved)
    return Marker(layout.BALANCE, fingerprint("balance", VERSION, composites, "freeze") if _freezes(job) else solved)


def _freezes(job: Job) -> bool:
    """Whether tiles that are balanced keep their corrections; else a refresh would change every tile a little."""
    return job.config.freeze or job.config.since is not None


def composite_item(job: Job, tile: Tile) -> dict[str, Any]:
    """The composite's item; NotMade where composite has not run."""
    key = layout.item("composite", tile.name)
    item = read_json(job.store, key)
    if item is None or fingerprint_in(item) is None:
        raise NotMade(f"{job.config.out} has no {key}: run the step composite for {tile.name} first")
    return item


def _composites(job: Job) -> dict[str, str]:
    """The fingerprint of each tile's composite; a tile that has none is left out. NotMade where none has one."""

    def found(tile: Tile) -> str | None:
        return fingerprint_in(read_json(job.store, layout.item("composite", tile.name)))

    each = zip(job.tiles, in_order(found, job.tiles, _WRITERS), strict=True)
    there = {tile.name: one for tile, one in each if one is not None}
    if not there:
        raise NotMade(f"{job.config.out} has no composite of any tile: run the step composite first")
    return there


class _Before(NamedTuple):
    """What an earlier run left: of it counts what was made from composites that are still the same."""

    balance: dict[str, Any]
    measured: dict[str, Any]

    def frozen(self, composites: Mapping[str, str]) -> dict[str, Correction]:
        """Corrections of tiles whose composite has not changed."""
        return {
            name: Correction.read(stored)
            for name, stored in self.balance.get("corrections", {}).items()
            if composites.get(name) == stored["composite"]
        }

    def land(self, name: str, composite: str) -> Land | None:
        """The plane of a tile's land."""
        stored = self.measured.get("lands", {}).get(name)
        return Land.read(stored) if stored is not None and stored["composite"] == composite else None

    def overlaps(self) -> dict[tuple[str, str, str, str], Overlap]:
        """By the two tiles and the fingerprints of their composites."""
        stored = self.measured.get("overlaps", [])
        return {(one["a"], one["b"], *one["composites"]): Overlap.read(one) for one in stored}


def run(job: Job) -> StepResult:
    """Measure new overlaps, solve for all corrections, write balance/T.json of all tiles, then balance.json."""
    mark, composites, before = marker(job), _composites(job), _before(job)
    lands, overlaps = _measured(job, composites, before)
    frozen = before.frozen(composites) if _freezes(job) else {}
    light = Light(*before.balance["light"]) if frozen else None
    made = balance(composites, overlaps, lands, frozen, light)
    measured = {
        "version": VERSION,
        "lands": {name: {**asdict(land), "composite": composites[name]} for name, land in lands.items()},
        "overlaps": [{**one.to_json(), "composites": [composites[one.a], composites[one.b]]} for one in overlaps],
    }
    job.store.put(layout.OVERLAPS, to_json(measured))
    tiles = [tile for tile in job.tiles if tile.name in composites]
    for _ in in_order(partial(_put, job, made.corrections), tiles, _WRITERS):
        pass
    record = {
        "bands": list(BANDS),
        "corrections": {
            name: {**one.to_json(), "composite": composites[name]} for name, one in made.corrections.items()
        },
        "light": list(made.light),
        "frozen": sorted(frozen),
        "overlaps": [
            {"a": one.a, "b": one.b, "pixels": one.pixels, "remaining": list(one.remaining(made.corrections))}
            for one in overlaps
        ],
        "fingerprint": mark.fingerprint,
    }
    job.store.put(mark.key, to_json(record))
    facts = {"tiles": len(tiles), "overlaps": len(overlaps), "frozen": len(frozen)}
    return StepResult("balance", "all", "done", facts)


def _before(job: Job) -> _Before:
    measured = read_json(job.store, layout.OVERLAPS) or {}
    return _Before(
        read_json(job.store, layout.BALANCE) or {}, measured if measured.get("version") == VERSION else {}
    )  # fmt: skip


def _put(job: Job, corrections: Mapping[str, Correction], tile: Tile) -> None:
    """Write what blending a tile needs, where it has changed."""
    names = sorted(one.name for one in (tile, *job.neighbours(tile)) if one.name in corrections)
    data = to_json({"corrections": {name: corrections[name].to_json() for name in names}})
    if job.store.get(layout.corrections(tile.name)) != data:
        job.store.put(layout.corrections(tile.name), data)


def _measured(job: Job, composites: Mapping[str, str], before: _Before) -> tuple[dict[str, Land], list[Overlap]]:
    """The plane of every tile's land, and every overlap that says something; measured where not known already."""
    levels = lru_cache(maxsize=_HELD)(partial(_levels, job))
    known = before.overlaps()

    def land(tile: Tile) -> Land:
        return before.land(tile.name, composites[tile.name]) or Land.of(levels(tile))

    tiles = [tile for tile in job.tiles if tile.name in composites]
    lands = dict(zip([tile.name for tile in tiles], in_order(land, tiles, job.threads), strict=True))
    pairs = [
        (tile, other)
        for tile in tiles
        for other in job.neighbours(tile)
        if tile.name < other.name and other.name in composites
    ]

    def overlap(pair: tuple[Tile, Tile]) -> Overlap:
        a, b = pair
        found = known.get((a.name, b.name, composites[a.name], composites[b.name]))
        if found is not None:
            return found
        usual = (np.array(lands[a.name].levels) + np.array(lands[b.name].levels)) / 2
        grids = _coarse(job, a), _coarse(job, b)
        window = window_of(*grids)
        if window is None:
            return Overlap(a.name, b.name, ())
        first = levels(a)[:, window[0], window[1]]
        whole = levels(b)

        def read(part: Window) -> Float32:
            return whole[:, part[0], part[1]].astype(np.float32)

        second: UInt8 = np.rint(onto(read, grids[1], grids[0][window], len(BANDS))).astype(np.uint8)
        pieces = []
        for one in compare(first, second, grids[0].height, usual):
            y, x = one.y + window[0].start, one.x + window[1].start
            there = pixels_in(grids[1], grids[0], np.array([y]), np.array([x]))
            places = (_place(grids[0], y, x), _place(grids[1], float(there[0][0, 0]), float(there[1][0, 0])))
            pieces.append(Piece(*places, one.levels, one.weights, one.pixels))
        return Overlap(a.name, b.name, tuple(pieces))

    return lands, [one for one in in_order(overlap, pairs, job.threads) if one.pieces]


def _place(grid: GeoBox, y: float, x: float) -> Place:
    return Place(round(2 * y / grid.height - 1, 4), round(2 * x / grid.width - 1, 4))


def _coarse(job: Job, tile: Tile) -> GeoBox:
    return tile.geobox(max(_RES, job.res))


def _levels(job: Job, tile: Tile) -> UInt8:
    height, width = _coarse(job, tile).shape
    return read_decimated(job.store.gdal(layout.data("composite", tile.name, "composite")), (height, width))


def corrections_of(job: Job, tile: Tile) -> dict[str, Correction]:
    """What balance wrote for the tile and those neighbours that have a composite; NotMade where it has not run."""
    key = layout.corrections(tile.name)
    stored = (read_json(job.store, key) or {}).get("corrections", {})
    known = sorted({one.name for one in (tile, *job.neighbours(tile))} & set(stored))
    if tile.name not in known:
        raise NotMade(f"{job.config.out} has no {key}: run the step balance for the region first")
    return {name: Correction.read(stored[name]) for name in known}


STEP = WholeStep("balance", marker, run)

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
from s2ops.errors import MissingInput
from s2ops.geo.mgrs_tiles import Tile
from s2ops.mosaic.balance.color_balance import balance_colors
from s2ops.mosaic.balance.correction_plane import CorrectionPlane
from s2ops.mosaic.balance.illumination_gradient import LandTrend, IlluminationGradient
from s2ops.mosaic.balance.overlap_statistics import Overlap, Piece, TilePosition, measure_overlap
from s2ops.pipeline.steps.base import WholeStep
from s2ops.raster.reader import read_decimated
from s2ops.raster.reproject import Window, onto, pixels_in, window_of
from s2ops.results import StepName, StepResult
from s2ops.run.context import RunContext
from s2ops.runtime.threads import ordered_map
from s2ops.storage import layout
from s2ops.storage.done_marker import DoneMarker, compute_fingerprint, read_fingerprint, read_json, to_json

VERSION = 2

_RES = 120
"""Metres a pixel of the rasters that tiles are compared on: many pixels an overlap, and small registration errors."""

_HELD = 32
"""Decimated composites in memory, 3 MB each: the neighbours of a few tiles."""

_WRITERS = 16
"""Threads that write small files: they only wait for the store."""


class BalanceInputs(NamedTuple):
    """Inputs of balance: the composites of all tiles, and what a refresh solves for."""

    composites: dict[str, str]
    """Fingerprint of each tile's composite."""
    is_freeze_marked: bool
    """True if the marker says that corrections were frozen."""


def prepare(ctx: RunContext) -> BalanceInputs:
    """Read the fingerprints of all composites; a refresh accepts what was solved for them without freezing."""
    inputs = BalanceInputs(_composites(ctx), is_freeze_marked=False)
    if ctx.config.since is not None and DoneMarker(layout.BALANCE, fingerprint(inputs)).is_current(ctx.store):
        return inputs
    return inputs._replace(is_freeze_marked=_freezes(ctx))


def fingerprint(inputs: BalanceInputs) -> str:
    """Return the SHA-256 over all composites."""
    marks = ("freeze",) if inputs.is_freeze_marked else ()
    return compute_fingerprint("balance", VERSION, inputs.composites, *marks)


def _freezes(ctx: RunContext) -> bool:
    """Whether tiles that are balanced keep their corrections; else a refresh would change every tile a little."""
    return ctx.config.freeze or ctx.config.since is not None


def composite_item(ctx: RunContext, tile: Tile) -> dict[str, Any]:
    """The composite's item; NotMade where composite has not run."""
    key = layout.TileKeys(tile.name).get_item("composite")
    item = read_json(ctx.store, key)
    if item is None or read_fingerprint(item) is None:
        raise MissingInput(f"{ctx.config.out} has no {key}: run the step composite for {tile.name} first")
    return item


def _composites(ctx: RunContext) -> dict[str, str]:
    """The fingerprint of each tile's composite; a tile that has none is left out. NotMade where none has one."""

    def found(tile: Tile) -> str | None:
        return read_fingerprint(read_json(ctx.store, layout.TileKeys(tile.name).get_item("composite")))

    each = zip(ctx.tiles, ordered_map(found, ctx.tiles, _WRITERS), strict=True)
    there = {tile.name: one for tile, one in each if one is not None}
    if not there:
        raise MissingInput(f"{ctx.config.out} has no composite of any tile: run the step composite first")
    return there


class _Before(NamedTuple):
    """What an earlier run left: of it counts what was made from composites that are still the same."""

    balance: dict[str, Any]
    measured: dict[str, Any]

    def frozen(self, composites: Mapping[str, str]) -> dict[str, CorrectionPlane]:
        """Corrections of tiles whose composite has not changed."""
        return {
            name: CorrectionPlane.read(stored)
            for name, stored in self.balance.get("corrections", {}).items()
            if composites.get(name) == stored["composite"]
        }

    def land(self, name: str, composite: str) -> LandTrend | None:
        """The plane of a tile's land."""
        stored = self.measured.get("lands", {}).get(name)
        return LandTrend.read(stored) if stored is not None and stored["composite"] == composite else None

    def overlaps(self) -> dict[tuple[str, str, str, str], Overlap]:
        """By the two tiles and the fingerprints of their composites."""
        stored = self.measured.get("overlaps", [])
        return {(one["a"], one["b"], *one["composites"]): Overlap.read(one) for one in stored}


def run(ctx: RunContext, inputs: BalanceInputs) -> StepResult:
    """Measure new overlaps, solve for all corrections, write balance/T.json of all tiles, then balance.json."""
    composites, before = inputs.composites, _before(ctx)
    lands, overlaps = _measured(ctx, composites, before)
    frozen = before.frozen(composites) if _freezes(ctx) else {}
    light = IlluminationGradient(*before.balance["light"]) if frozen else None
    made = balance_colors(composites, overlaps, lands, frozen, light)
    measured = {
        "version": VERSION,
        "lands": {name: {**asdict(land), "composite": composites[name]} for name, land in lands.items()},
        "overlaps": [{**one.to_json(), "composites": [composites[one.a], composites[one.b]]} for one in overlaps],
    }
    ctx.store.put(layout.OVERLAPS, to_json(measured))
    tiles = [tile for tile in ctx.tiles if tile.name in composites]
    for _ in ordered_map(partial(_put, ctx, made.corrections), tiles, _WRITERS):
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
        "fingerprint": fingerprint(inputs),
    }
    ctx.store.put(layout.BALANCE, to_json(record))
    facts = {"tiles": len(tiles), "overlaps": len(overlaps), "frozen": len(frozen)}
    return StepResult("balance", "all", "done", facts)


def _before(ctx: RunContext) -> _Before:
    measured = read_json(ctx.store, layout.OVERLAPS) or {}
    return _Before(
        read_json(ctx.store, layout.BALANCE) or {}, measured if measured.get("version") == VERSION else {}
    )  # fmt: skip


def _put(ctx: RunContext, corrections: Mapping[str, CorrectionPlane], tile: Tile) -> None:
    """Write what blending a tile needs, where it has changed."""
    names = sorted(one.name for one in (tile, *ctx.find_neighbours(tile)) if one.name in corrections)
    data = to_json({"corrections": {name: corrections[name].to_json() for name in names}})
    if ctx.store.get(layout.TileKeys(tile.name).corrections) != data:
        ctx.store.put(layout.TileKeys(tile.name).corrections, data)


def _measured(
    ctx: RunContext, composites: Mapping[str, str], before: _Before
) -> tuple[dict[str, LandTrend], list[Overlap]]:
    """The plane of every tile's land, and every overlap that says something; measured where not known already."""
    levels = lru_cache(maxsize=_HELD)(partial(_levels, ctx))
    known = before.overlaps()

    def land(tile: Tile) -> LandTrend:
        return before.land(tile.name, composites[tile.name]) or LandTrend.of(levels(tile))

    tiles = [tile for tile in ctx.tiles if tile.name in composites]
    lands = dict(zip([tile.name for tile in tiles], ordered_map(land, tiles, ctx.threads), strict=True))
    pairs = [
        (tile, other)
        for tile in tiles
        for other in ctx.find_neighbours(tile)
        if tile.name < other.name and other.name in composites
    ]

    def overlap(pair: tuple[Tile, Tile]) -> Overlap:
        a, b = pair
        found = known.get((a.name, b.name, composites[a.name], composites[b.name]))
        if found is not None:
            return found
        usual = (np.array(lands[a.name].levels) + np.array(lands[b.name].levels)) / 2
        grids = _coarse(ctx, a), _coarse(ctx, b)
        window = window_of(*grids)
        if window is None:
            return Overlap(a.name, b.name, ())
        first = levels(a)[:, window[0], window[1]]
        whole = levels(b)

        def read(part: Window) -> Float32:
            return whole[:, part[0], part[1]].astype(np.float32)

        second: UInt8 = np.rint(onto(read, grids[1], grids[0][window], len(BANDS))).astype(np.uint8)
        pieces = []
        for one in measure_overlap(first, second, grids[0].height, usual):
            y, x = one.y + window[0].start, one.x + window[1].start
            there = pixels_in(grids[1], grids[0], np.array([y]), np.array([x]))
            places = (_place(grids[0], y, x), _place(grids[1], float(there[0][0, 0]), float(there[1][0, 0])))
            pieces.append(Piece(*places, one.levels, one.weights, one.pixels))
        return Overlap(a.name, b.name, tuple(pieces))

    return lands, [one for one in ordered_map(overlap, pairs, ctx.threads) if one.pieces]


def _place(grid: GeoBox, y: float, x: float) -> TilePosition:
    return TilePosition(round(2 * y / grid.height - 1, 4), round(2 * x / grid.width - 1, 4))


def _coarse(ctx: RunContext, tile: Tile) -> GeoBox:
    return tile.build_geobox(max(_RES, ctx.res))


def _levels(ctx: RunContext, tile: Tile) -> UInt8:
    height, width = _coarse(ctx, tile).shape
    return read_decimated(ctx.store.gdal(layout.TileKeys(tile.name).get_raster("composite", "composite")), (height, width))


def corrections_of(ctx: RunContext, tile: Tile) -> dict[str, CorrectionPlane]:
    """What balance wrote for the tile and those neighbours that have a composite; NotMade where it has not run."""
    key = layout.TileKeys(tile.name).corrections
    stored = (read_json(ctx.store, key) or {}).get("corrections", {})
    known = sorted({one.name for one in (tile, *ctx.find_neighbours(tile))} & set(stored))
    if tile.name not in known:
        raise MissingInput(f"{ctx.config.out} has no {key}: run the step balance for the region first")
    return {name: CorrectionPlane.read(stored[name]) for name in known}


STEP = WholeStep(StepName.BALANCE, layout.BALANCE, prepare, fingerprint, run)

"""Balance step: colour balance of the whole region, from overlaps of neighbouring composites.

Measurements are stored (balance/overlaps.json), so that a new or changed composite costs its own overlaps only. Each
tile gets a small file with the corrections of itself and its neighbours, on which its blend depends.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
from odc.geo.geobox import GeoBox

from s2ops.constants import BANDS, Float32, UInt8
from s2ops.errors import MissingInput
from s2ops.geo.mgrs_tiles import Tile
from s2ops.mosaic.balance.color_balance import balance_colors
from s2ops.mosaic.balance.correction_plane import CorrectionPlane
from s2ops.mosaic.balance.illumination_gradient import IlluminationGradient, LandTrend
from s2ops.mosaic.balance.overlap_statistics import Overlap, Piece, TilePosition, measure_overlap
from s2ops.pipeline.steps.base import WholeStep
from s2ops.raster.reader import read_decimated
from s2ops.raster.reproject import Window, find_source_window, project_pixels, resample_to_grid
from s2ops.results import RUN_TARGET, StepName, StepResult
from s2ops.run.context import RunContext
from s2ops.runtime.threads import map_ordered
from s2ops.storage import layout
from s2ops.storage.done_marker import DoneMarker, compute_fingerprint, read_fingerprint, read_json, to_json

VERSION = 2

_RES_M = 120
"""Pixel size in metres of the rasters on which tiles are compared: there are many pixels per overlap, and registration
errors are small."""

_CACHED_TILES = 32
"""Decimated composites in memory, 3 MB each: the neighbours of a few tiles."""

_STORE_THREADS = 16
"""Threads that read and write small files: they only wait for the store."""


class BalanceInputs(NamedTuple):
    """Inputs of balance: the composites of all tiles, and what a refresh solves for."""

    composites: dict[str, str]
    """Fingerprint of each tile's composite."""
    is_freeze_marked: bool
    """True if the marker states that corrections were frozen."""


def prepare(ctx: RunContext) -> BalanceInputs:
    """Read the fingerprints of all composites; a refresh accepts corrections that were solved without freezing."""
    inputs = BalanceInputs(_read_composites(ctx), is_freeze_marked=False)
    if ctx.config.since is not None and DoneMarker(layout.BALANCE, fingerprint(inputs)).is_current(ctx.store):
        return inputs
    return inputs._replace(is_freeze_marked=_should_freeze(ctx))


def fingerprint(inputs: BalanceInputs) -> str:
    """Return the SHA-256 over all composites."""
    marks = ("freeze",) if inputs.is_freeze_marked else ()
    return compute_fingerprint("balance", VERSION, inputs.composites, *marks)


def _should_freeze(ctx: RunContext) -> bool:
    """Return True if balanced tiles keep their corrections: otherwise a refresh would change every tile a little."""
    return ctx.config.freeze or ctx.config.since is not None


def read_composite_item(ctx: RunContext, tile: Tile) -> dict[str, Any]:
    """Read the STAC item of a tile's composite; raise MissingInput if composite has not run."""
    key = layout.TileKeys(tile.name).get_item("composite")
    item = read_json(ctx.store, key)
    if item is None or read_fingerprint(item) is None:
        raise MissingInput(
            f"Cannot read the composite of {tile.name}: {ctx.config.out} has no {key}; run the step composite for "
            f"{tile.name} first."
        )
    return item


def _read_composites(ctx: RunContext) -> dict[str, str]:
    """Read the fingerprint of each tile's composite, without tiles that have none; raise MissingInput if none has."""

    def read_tile(tile: Tile) -> str | None:
        return read_fingerprint(read_json(ctx.store, layout.TileKeys(tile.name).get_item("composite")))

    each = zip(ctx.tiles, map_ordered(read_tile, ctx.tiles, _STORE_THREADS), strict=True)
    known = {tile.name: one for tile, one in each if one is not None}
    if not known:
        raise MissingInput(
            f"Cannot balance the region: {ctx.config.out} has no composite of any tile; run the step composite first."
        )
    return known


@dataclass(frozen=True)
class _EarlierResults:
    """Results of an earlier run; those that were made from composites that have not changed since are used again."""

    balance: dict[str, Any]
    """Content of balance.json."""
    measured: dict[str, Any]
    """Content of balance/overlaps.json."""

    @classmethod
    def from_store(cls, ctx: RunContext) -> "_EarlierResults":
        """Read them; they are empty if there are none, or measured by another version."""
        measured = read_json(ctx.store, layout.OVERLAPS) or {}
        return cls(
            read_json(ctx.store, layout.BALANCE) or {}, measured if measured.get("version") == VERSION else {}
        )  # fmt: skip

    def select_frozen(self, composites: Mapping[str, str]) -> dict[str, CorrectionPlane]:
        """Select the corrections of tiles whose composite has not changed."""
        return {
            name: CorrectionPlane.from_json(stored)
            for name, stored in self.balance.get("corrections", {}).items()
            if composites.get(name) == stored["composite"]
        }

    def get_trend(self, name: str, composite: str) -> LandTrend | None:
        """Return the plane through a tile's land, if it was fitted to this composite."""
        stored = self.measured.get("lands", {}).get(name)
        return LandTrend.from_json(stored) if stored is not None and stored["composite"] == composite else None

    def index_overlaps(self) -> dict[tuple[str, str, str, str], Overlap]:
        """Index the overlaps by their two tiles and the fingerprints of the tiles' composites."""
        stored = self.measured.get("overlaps", [])
        return {(one["a"], one["b"], *one["composites"]): Overlap.from_json(one) for one in stored}


def run(ctx: RunContext, inputs: BalanceInputs) -> StepResult:
    """Measure new overlaps, solve for all corrections, write balance/T.json of all tiles, then balance.json."""
    composites, earlier = inputs.composites, _EarlierResults.from_store(ctx)
    trends, overlaps = _measure_region(ctx, composites, earlier)
    frozen = earlier.select_frozen(composites) if _should_freeze(ctx) else {}
    gradient = IlluminationGradient(*earlier.balance["light"]) if frozen else None
    result = balance_colors(composites, overlaps, trends, frozen, gradient)
    measured = {
        "version": VERSION,
        "lands": {name: {**asdict(trend), "composite": composites[name]} for name, trend in trends.items()},
        "overlaps": [{**one.to_json(), "composites": [composites[one.a], composites[one.b]]} for one in overlaps],
    }
    ctx.store.put(layout.OVERLAPS, to_json(measured))
    tiles = [tile for tile in ctx.tiles if tile.name in composites]
    for _ in map_ordered(partial(_write_corrections, ctx, result.corrections), tiles, _STORE_THREADS):
        pass
    record = {
        "bands": list(BANDS),
        "corrections": {
            name: {**one.to_json(), "composite": composites[name]} for name, one in result.corrections.items()
        },
        "light": list(result.gradient),
        "frozen": sorted(frozen),
        "overlaps": [
            {"a": one.a, "b": one.b, "pixels": one.pixels, "remaining": list(one.compute_residual(result.corrections))}
            for one in overlaps
        ],
        "fingerprint": fingerprint(inputs),
    }
    ctx.store.put(layout.BALANCE, to_json(record))
    facts = {"tiles": len(tiles), "overlaps": len(overlaps), "frozen": len(frozen)}
    return StepResult(StepName.BALANCE, RUN_TARGET, "done", facts)


def _write_corrections(ctx: RunContext, corrections: Mapping[str, CorrectionPlane], tile: Tile) -> None:
    """Write the corrections on which the blend of a tile depends, if they have changed."""
    key = layout.TileKeys(tile.name).corrections
    names = sorted(one.name for one in (tile, *ctx.find_neighbours(tile)) if one.name in corrections)
    data = to_json({"corrections": {name: corrections[name].to_json() for name in names}})
    if ctx.store.get(key) != data:
        ctx.store.put(key, data)


def _measure_region(
    ctx: RunContext, composites: Mapping[str, str], earlier: _EarlierResults
) -> tuple[dict[str, LandTrend], list[Overlap]]:
    """Measure the plane through every tile's land, and every overlap with usable pieces, unless known already."""
    levels = lru_cache(maxsize=_CACHED_TILES)(partial(_read_levels, ctx))
    known = earlier.index_overlaps()

    def measure_trend(tile: Tile) -> LandTrend:
        return earlier.get_trend(tile.name, composites[tile.name]) or LandTrend.from_image(levels(tile))

    tiles = [tile for tile in ctx.tiles if tile.name in composites]
    trends = dict(zip([tile.name for tile in tiles], map_ordered(measure_trend, tiles, ctx.threads), strict=True))
    pairs = [
        (tile, other)
        for tile in tiles
        for other in ctx.find_neighbours(tile)
        if tile.name < other.name and other.name in composites
    ]

    def measure_pair(pair: tuple[Tile, Tile]) -> Overlap:
        a, b = pair
        found = known.get((a.name, b.name, composites[a.name], composites[b.name]))
        if found is not None:
            return found
        reference = (np.array(trends[a.name].levels) + np.array(trends[b.name].levels)) / 2
        grids = _build_coarse_geobox(ctx, a), _build_coarse_geobox(ctx, b)
        window = find_source_window(*grids)
        if window is None:
            return Overlap(a.name, b.name, ())
        first = levels(a)[:, window[0], window[1]]
        whole = levels(b)

        def read_window(part: Window) -> Float32:
            return whole[:, part[0], part[1]].astype(np.float32)

        second: UInt8 = np.rint(resample_to_grid(read_window, grids[1], grids[0][window], len(BANDS))).astype(np.uint8)
        pieces = []
        for one in measure_overlap(first, second, grids[0].height, reference):
            y, x = one.y + window[0].start, one.x + window[1].start
            there = project_pixels(grids[1], grids[0], np.array([y]), np.array([x]))
            places = (
                _locate_in_tile(grids[0], y, x),
                _locate_in_tile(grids[1], float(there[0][0, 0]), float(there[1][0, 0])),
            )
            pieces.append(Piece(*places, one.levels, one.weights, one.pixels))
        return Overlap(a.name, b.name, tuple(pieces))

    return trends, [one for one in map_ordered(measure_pair, pairs, ctx.threads) if one.pieces]


def _locate_in_tile(grid: GeoBox, y: float, x: float) -> TilePosition:
    """Convert a position in pixels to a position in the tile, -1 to 1."""
    return TilePosition(round(2 * y / grid.height - 1, 4), round(2 * x / grid.width - 1, 4))


def _build_coarse_geobox(ctx: RunContext, tile: Tile) -> GeoBox:
    """Build the pixel grid on which a tile is compared."""
    return tile.build_geobox(max(_RES_M, ctx.res))


def _read_levels(ctx: RunContext, tile: Tile) -> UInt8:
    """Read a tile's composite, decimated: (4, y, x) levels."""
    height, width = _build_coarse_geobox(ctx, tile).shape
    path = ctx.store.get_gdal_path(layout.TileKeys(tile.name).get_raster("composite", "composite"))
    return read_decimated(path, (height, width))


def read_corrections(ctx: RunContext, tile: Tile) -> dict[str, CorrectionPlane]:
    """Read the corrections of a tile and its neighbours; raise MissingInput if balance has not run."""
    key = layout.TileKeys(tile.name).corrections
    stored = (read_json(ctx.store, key) or {}).get("corrections", {})
    known = sorted({one.name for one in (tile, *ctx.find_neighbours(tile))} & set(stored))
    if tile.name not in known:
        raise MissingInput(
            f"Cannot blend {tile.name}: {ctx.config.out} has no {key}; run the step balance for the region first."
        )
    return {name: CorrectionPlane.from_json(stored[name]) for name in known}


STEP = WholeStep(StepName.BALANCE, layout.BALANCE, prepare, fingerprint, run)

"""What a plan knows of its region before anything is read: tiles, overlaps, area, and the scenes that each may have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from s2ops.cost.acquisition_model import Sight, sights
from s2ops.cost.rates import Rates
from s2ops.cost.scene_model import Scenes, expected
from s2ops.geo.equal_area import compute_covered_km2
from s2ops.geo.mgrs_tiles import Tile, TileIndex
from s2ops.run.context import RunContext

Basis: TypeAlias = Literal["catalog", "sample", "model"]


@dataclass(frozen=True)
class Region:
    """Tiles with what is expected of each."""

    tiles: tuple[Tile, ...]
    edges: Mapping[str, int]
    """By tile: how many of the others overlap it."""
    km2: float
    """Of all tiles together, overlaps once."""
    scenes: Mapping[str, Scenes]
    """By tile."""
    basis: Basis
    """catalog: all tiles were searched. sample: some were, and the model is scaled by them. model: none was."""
    searched: int


def look_at(ctx: RunContext, rates: Rates, search: int) -> Region:
    """The region of a run; the catalog is asked for at most `search` tiles, evenly spread over the list."""
    picked = sample(ctx.tiles, search)
    found = {tile.name: expected(of_catalog(ctx, tile), ctx.config) for tile in picked}
    whole = len(picked) == len(ctx.tiles)
    factor = rates.correction(ctx.config.catalog, searched=bool(picked))
    if whole:
        scenes = {name: one * factor for name, one in found.items()}
    else:
        modelled = _modelled(ctx)
        if picked:
            total = sum(found.values(), Scenes())
            factor = factor * total.over(sum((modelled[name] for name in found), Scenes()))
        scenes = {name: one * factor for name, one in modelled.items()}
    basis: Basis = "catalog" if whole else "sample" if picked else "model"
    return Region(
        ctx.tiles, TileIndex(ctx.tiles).count_neighbours(), compute_covered_km2(ctx.tiles), scenes, basis, len(picked)
    )


def sample(tiles: Sequence[Tile], count: int) -> list[Tile]:
    """At most `count` tiles at even steps through the list, which is sorted by zone and latitude."""
    if count <= 0:
        return []
    step = max(len(tiles) / count, 1.0)
    return [tiles[int((number + 0.5) * step)] for number in range(min(count, len(tiles)))]


def of_catalog(ctx: RunContext, tile: Tile) -> list[Sight]:
    """The catalog's scenes of the tile; one that does not say how much its swath misses is taken as whole."""
    return [Sight(one.cloud_cover / 100, (one.nodata or 0.0) / 100) for one in ctx.find_scenes(tile).scenes]


def latitude(tile: Tile) -> float:
    """Of the tile's middle, to half a degree: tiles of one row share what is computed for it."""
    _, south, _, north = tile.footprint.bounds
    return round(south + north) / 2


def _modelled(ctx: RunContext) -> dict[str, Scenes]:
    config, known = ctx.config, dict[float, Scenes]()
    out = {}
    for tile in ctx.tiles:
        lat = latitude(tile)
        if lat not in known:
            known[lat] = expected(sights(lat, config.dates.start, config.dates.end, config.max_cloud), config)
        out[tile.name] = known[lat]
    return out

"""What a plan knows of its region before anything is read: tiles, overlaps, area, and the scenes that each may have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from s2ops.cost.acquisition_model import Sight, sights
from s2ops.cost.rates import Rates
from s2ops.cost.scene_model import Scenes, expected
from s2ops.geo.equal_area import covered_km2
from s2ops.geo.mgrs_tiles import Tile, TileIndex
from s2ops.run.context import Job

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


def look_at(job: Job, rates: Rates, search: int) -> Region:
    """The region of a run; the catalog is asked for at most `search` tiles, evenly spread over the list."""
    picked = sample(job.tiles, search)
    found = {tile.name: expected(of_catalog(job, tile), job.config) for tile in picked}
    whole = len(picked) == len(job.tiles)
    factor = rates.correction(job.config.catalog, searched=bool(picked))
    if whole:
        scenes = {name: one * factor for name, one in found.items()}
    else:
        modelled = _modelled(job)
        if picked:
            total = sum(found.values(), Scenes())
            factor = factor * total.over(sum((modelled[name] for name in found), Scenes()))
        scenes = {name: one * factor for name, one in modelled.items()}
    basis: Basis = "catalog" if whole else "sample" if picked else "model"
    return Region(job.tiles, TileIndex(job.tiles).edges(), covered_km2(job.tiles), scenes, basis, len(picked))


def sample(tiles: Sequence[Tile], count: int) -> list[Tile]:
    """At most `count` tiles at even steps through the list, which is sorted by zone and latitude."""
    if count <= 0:
        return []
    step = max(len(tiles) / count, 1.0)
    return [tiles[int((number + 0.5) * step)] for number in range(min(count, len(tiles)))]


def of_catalog(job: Job, tile: Tile) -> list[Sight]:
    """The catalog's scenes of the tile; one that does not say how much its swath misses is taken as whole."""
    return [Sight(one.cloud_cover / 100, (one.nodata or 0.0) / 100) for one in job.scenes(tile).scenes]


def latitude(tile: Tile) -> float:
    """Of the tile's middle, to half a degree: tiles of one row share what is computed for it."""
    _, south, _, north = tile.footprint.bounds
    return round(south + north) / 2


def _modelled(job: Job) -> dict[str, Scenes]:
    config, known = job.config, dict[float, Scenes]()
    out = {}
    for tile in job.tiles:
        lat = latitude(tile)
        if lat not in known:
            known[lat] = expected(sights(lat, config.dates.start, config.dates.end, config.max_cloud), config)
        out[tile.name] = known[lat]
    return out

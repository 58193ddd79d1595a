"""Region summary for cost estimation: tiles, overlaps, area, and the expected number of scenes per tile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from s2ops.cost.acquisition_model import ExpectedScene, predict_scenes
from s2ops.cost.rates import Rates
from s2ops.cost.scene_model import SceneCounts, predict_scene_counts
from s2ops.geo.equal_area import compute_covered_km2
from s2ops.geo.mgrs_tiles import Tile, TileIndex
from s2ops.run.context import RunContext

ScenesBasis: TypeAlias = Literal["catalog", "sample", "model"]


@dataclass(frozen=True)
class RegionSummary:
    """Tiles of a run with the scene counts expected for each of them."""

    tiles: tuple[Tile, ...]
    neighbour_counts: Mapping[str, int]
    """Number of other tiles that overlap each tile."""
    km2: float
    """Area of all tiles together; overlaps count once."""
    scenes: Mapping[str, SceneCounts]
    """Expected scene counts by tile."""
    basis: ScenesBasis
    """catalog: all tiles were searched. sample: the model is scaled by a search of some tiles. model: no search."""
    searched: int
    """Number of tiles searched in the catalog."""


def summarize_region(ctx: RunContext, rates: Rates, search: int) -> RegionSummary:
    """Summarize the region of a run.

    Args:
        ctx: Run whose tiles are summarized.
        rates: Measured rates, which contain the correction of the scene count model.
        search: Maximum number of tiles to search in the catalog, evenly spread over the list.
    """
    picked = sample_tiles(ctx.tiles, search)
    found = {tile.name: predict_scene_counts(search_scenes(ctx, tile), ctx.config) for tile in picked}
    whole = len(picked) == len(ctx.tiles)
    factor = rates.compute_scene_correction(ctx.config.catalog, searched=bool(picked))
    if whole:
        scenes = {name: one * factor for name, one in found.items()}
    else:
        modelled = _predict_scene_counts(ctx)
        if picked:
            total = sum(found.values(), SceneCounts())
            factor = factor * total.divide(sum((modelled[name] for name in found), SceneCounts()))
        scenes = {name: one * factor for name, one in modelled.items()}
    basis: ScenesBasis = "catalog" if whole else "sample" if picked else "model"
    return RegionSummary(
        ctx.tiles, TileIndex(ctx.tiles).count_neighbours(), compute_covered_km2(ctx.tiles), scenes, basis, len(picked)
    )


def sample_tiles(tiles: Sequence[Tile], count: int) -> list[Tile]:
    """Sample at most `count` tiles at equal steps from a list that is sorted by zone and latitude."""
    if count <= 0:
        return []
    step = max(len(tiles) / count, 1.0)
    return [tiles[int((number + 0.5) * step)] for number in range(min(count, len(tiles)))]


def search_scenes(ctx: RunContext, tile: Tile) -> list[ExpectedScene]:
    """Search the catalog for the tile's scenes; a scene without a nodata percentage counts as complete."""
    return [ExpectedScene(one.cloud_cover / 100, (one.nodata or 0.0) / 100) for one in ctx.find_scenes(tile).scenes]


def compute_centre_latitude(tile: Tile) -> float:
    """Compute the latitude of the tile's centre to half a degree, so that tiles of one row share modelled counts."""
    _, south, _, north = tile.footprint.bounds
    return round(south + north) / 2


def _predict_scene_counts(ctx: RunContext) -> dict[str, SceneCounts]:
    config, known = ctx.config, dict[float, SceneCounts]()
    out = {}
    for tile in ctx.tiles:
        lat = compute_centre_latitude(tile)
        if lat not in known:
            known[lat] = predict_scene_counts(
                predict_scenes(lat, config.dates.start, config.dates.end, config.max_cloud), config
            )
        out[tile.name] = known[lat]
    return out

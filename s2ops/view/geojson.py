"""GeoJSON of a run: tile outlines with their status, and tile borders with their seam metrics."""

from collections.abc import Iterator
from typing import Any, Final

import shapely
from shapely.geometry import MultiPolygon
from shapely.geometry.base import BaseGeometry

from s2ops.constants import Json
from s2ops.geo.footprint import merge_bboxes
from s2ops.geo.mgrs_tiles import Tile
from s2ops.view.facts import TileSeam, TileSummary
from s2ops.view.run import ViewedRun

MAX_SEAMS: Final = 20_000
"""Maximum number of seams in one document, worst first; a browser still draws them fluently."""

_DECIMALS: Final = 5
"""Decimals of coordinates in degrees: about 1 m."""

_TOLERANCE_DEG: Final = 0.0002
"""Simplification tolerance: 20 m, which is invisible at zooms that show whole tiles."""

_INSET_DEG: Final = 0.0005
"""Distance from the tile's own border within which seams are not drawn: 50 m."""

_ANTIMERIDIANS: Final = shapely.MultiLineString([((-180, -90), (-180, 90)), ((180, -90), (180, 90))])


def build_tiles(run: ViewedRun) -> Json:
    """Build the outlines of all tiles with their status."""
    state = run.state
    unread = "its records have not been read yet"
    return _build_collection(
        _build_feature(
            one.footprint, _describe_tile(state.tiles.get(one.name) or TileSummary(one.name, "waiting", unread))
        )
        for one in run.tiles
    )


def build_seams(run: ViewedRun) -> Json:
    """Build the measured seams, worst after blending first; `left_out` is the number of those left out."""
    found = [
        (facts, edge)
        for facts in run.state.tiles.values()
        for edge in facts.edges
        if edge.before is not None or edge.after is not None
    ]
    found.sort(key=lambda one: (-(one[1].after or 0.0), one[0].name, one[1].neighbour))
    shown = (_build_seam(run, facts.name, edge) for facts, edge in found[:MAX_SEAMS])
    return {**_build_collection(one for one in shown if one is not None), "left_out": max(len(found) - MAX_SEAMS, 0)}


def compute_bounds(run: ViewedRun) -> tuple[float, float, float, float]:
    """Compute west, south, east, north of all tiles; west is greater than east across the antimeridian."""
    boxes = [part.bounds for one in run.tiles for part in shapely.get_parts(one.footprint)]
    return merge_bboxes(boxes)


def _describe_tile(facts: TileSummary) -> Json:
    """Describe a tile as GeoJSON properties."""
    worst = max((edge.after for edge in facts.edges if edge.after is not None), default=None)
    return {
        "tile": facts.name, "status": facts.status, "reason": facts.reason,
        "holes": facts.holes, "worst": worst, "newest": facts.dates[-1] if facts.dates else None,
    }  # fmt: skip


def _build_seam(run: ViewedRun, name: str, edge: TileSeam) -> Json | None:
    """Build the line along which a seam was measured: the neighbour's border inside the tile; None if there is none."""
    inner, outer = run.get_tile(name), run.get_tile(edge.neighbour)
    if inner is None or outer is None:
        return None
    line = _get_border(outer) & inner.footprint.buffer(-_INSET_DEG)  # without the part along the tile's own border
    facts = {"tile": name, "neighbour": edge.neighbour, "before": edge.before, "after": edge.after}
    return None if line.is_empty else _build_feature(line, facts)


def _get_border(tile: Tile) -> BaseGeometry:
    """Get the border of a tile, without the cut along the antimeridian."""
    shape = tile.footprint
    return shape.boundary - _ANTIMERIDIANS if isinstance(shape, MultiPolygon) else shape.boundary


def _build_feature(shape: BaseGeometry, properties: Json) -> Json:
    """Build a GeoJSON feature with simplified geometry."""
    plain = shapely.simplify(shape, _TOLERANCE_DEG)
    geometry = shapely.geometry.mapping(plain)
    if geometry["type"] == "GeometryCollection":  # lines that touch a corner: the points are dropped
        lines = [part for part in shapely.get_parts(plain) if part.geom_type == "LineString"]
        geometry = shapely.geometry.mapping(shapely.MultiLineString(lines))
    return {
        "type": "Feature",
        "geometry": {"type": geometry["type"], "coordinates": _round_coordinates(geometry["coordinates"])},
        "properties": properties,
    }


def _round_coordinates(value: Any) -> Any:
    """Round all numbers of nested coordinates."""
    return round(value, _DECIMALS) if isinstance(value, float) else [_round_coordinates(each) for each in value]


def _build_collection(features: Iterator[Json]) -> Json:
    """Build a GeoJSON feature collection."""
    return {"type": "FeatureCollection", "features": list(features)}

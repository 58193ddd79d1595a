"""Point query (identify, pixel inspection): the tile and pixel at a point, with all values of the run."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import rasterio
import shapely
from pyproj import Transformer
from rasterio.errors import RasterioError
from rasterio.windows import Window

from s2ops.constants import BANDS, CLASS_COLOURS, CLASS_NAMES, Json, LandCover
from s2ops.geo.mgrs_tiles import Tile
from s2ops.geo.tile_ownership import compute_border_distance
from s2ops.imaging.rendering import format_hex_colour
from s2ops.imaging.tone_curve import build_reflectance_table
from s2ops.raster.gdal_env import configure_gdal
from s2ops.records import AcquireRecord, LeftOut, SelectRecord
from s2ops.selection.explain import sort_candidates
from s2ops.storage import layout
from s2ops.view.facts import TileSummary
from s2ops.view.run import ViewedRun

_NOT_READ: Final = TileSummary("", "waiting", "its records have not been read yet")


@dataclass(frozen=True, slots=True)
class _Pixel:
    """Pixel of a tile's grid."""

    tile: Tile
    row: int
    column: int
    depth: float
    """Distance to the border of the tile in metres (`geo/tile_ownership.py`)."""


def query_point(run: ViewedRun, lon: float, lat: float) -> Json:
    """Query the pixel at a point in WGS 84. Blocks while files are read. `tile` is None outside the run."""
    tiles = run.index.find_overlapping(shapely.Point(lon, lat))
    found = [pixel for tile in tiles if (pixel := _locate_pixel(run, tile, lon, lat)) is not None]
    pixels = sorted(found, key=lambda pixel: (-pixel.depth, pixel.tile.name))
    answer: Json = {"lon": lon, "lat": lat, "tile": None, "overlap": [pixel.tile.name for pixel in pixels]}
    for pixel in pixels:  # the first tile with data is the one that the map shows
        answer |= {"tile": pixel.tile.name, "row": pixel.row, "column": pixel.column} | _read_values(run, pixel)
        if answer["levels"] is not None:
            break
    return answer


def describe_tile(run: ViewedRun, name: str) -> Json:
    """Describe a tile: status, metrics, and the scene list with all reasons. Blocks while records are read."""
    facts = run.state.tiles.get(name) or _NOT_READ
    chosen, acquired = (
        run.read_record(layout.TileKeys(name).selection, SelectRecord),
        run.read_acquired(name, run.state.tag),
    )
    used = {scene.id: scene for scene in acquired.scenes} if acquired else {}
    series = {scene.id for scene in acquired.series} if acquired else set()
    return {
        "tile": name, "status": facts.status, "reason": facts.reason, "holes": facts.holes,
        "areas": dict(facts.areas),
        "seams": [{"neighbour": e.neighbour, "before": e.before, "after": e.after} for e in facts.edges],
        "covered": chosen.covered if chosen else None,
        "proof": _describe_proof(chosen) if chosen else None,
        "scenes": [
            {
                "id": one.id, "date": one.date, "decision": one.decision, "rank": one.rank, "reason": one.reason,
                "cloud": one.cloud, "haze": one.haze, "covers": one.coverage,
                "use": "mosaic" if one.id in used else "land cover" if one.id in series else None,
                "added": used[one.id].added if one.id in used else None,
            }
            for one in (sort_candidates(chosen) if chosen else ())
        ],
        "left_out": [{"id": one.id, "reason": one.reason} for one in _list_left_out(chosen, acquired)],
    }  # fmt: skip


def _list_left_out(chosen: SelectRecord | None, acquired: AcquireRecord | None) -> list[LeftOut]:
    """List the scenes that select and acquire left out."""
    return [one for record in (chosen, acquired) if record is not None for one in record.left_out]


def _describe_proof(record: SelectRecord) -> str:
    """Describe whether the scene list is proven to be optimal."""
    return "proven optimal list" if record.status == "optimal" else f"{record.status}, gap {100 * record.gap:.1f} %"


def _locate_pixel(run: ViewedRun, tile: Tile, lon: float, lat: float) -> _Pixel | None:
    """Locate a point in the grid of a tile; None if it is outside."""
    x, y = Transformer.from_crs(4326, tile.epsg, always_xy=True).transform(lon, lat)
    left, bottom, right, top = tile.bounds
    if not (left <= x < right and bottom < y <= top):
        return None
    return _Pixel(tile, int((top - y) / run.res), int((x - left) / run.res), float(compute_border_distance(tile, x, y)))


def _read_values(run: ViewedRun, pixel: _Pixel) -> Json:
    """Read levels, reflectance, class, source and share of a pixel."""
    name = pixel.tile.name
    levels = _read_pixel(run, pixel, "mosaic", "mosaic")
    number = _get_first(_read_pixel(run, pixel, "mosaic", "provenance"))
    code = _get_first(_read_pixel(run, pixel, "landcover", "landcover"))
    sure = _get_first(_read_pixel(run, pixel, "landcover", "confidence"))
    seen = levels is not None and any(levels)
    scenes = (run.state.tiles.get(name) or _NOT_READ).scenes
    source = scenes[number - 1] if number and number <= len(scenes) else None
    reflectance = build_reflectance_table()
    return {
        "levels": dict(zip(BANDS, levels, strict=True)) if levels and seen else None,
        "reflectance": {b: round(float(reflectance[v]), 4) for b, v in zip(BANDS, levels, strict=True)}
        if levels and seen
        else None,
        "class": _describe_class(code, sure),
        "source": {"id": source.id, "date": source.date, "tile": source.tile} if source else None,
        "hole": number == 0,
        "share": _read_scene_share(run, pixel, source.id) if source and source.tile == name else None,
    }


def _describe_class(code: int | None, sure: int | None) -> Json | None:
    """Describe the land-cover class of a pixel; None without a class."""
    if code not in {int(one) for one in LandCover if one}:
        return None
    known = LandCover(code)
    confidence = sure if sure is not None and sure <= 100 else None
    return {
        "code": code,
        "name": CLASS_NAMES[known],
        "colour": format_hex_colour(CLASS_COLOURS[known]),
        "confidence": confidence,
    }


def _read_scene_share(run: ViewedRun, pixel: _Pixel, scene: str) -> int | None:
    """Read the share (percent) of a scene in a composite's pixel; None if another scene dominates there."""
    number = _get_first(_read_pixel(run, pixel, "composite", "provenance"))
    own = [one.id for one in (run.state.tiles.get(pixel.tile.name) or _NOT_READ).scenes if one.tile == pixel.tile.name]
    if not number or number > len(own) or own[number - 1] != scene:
        return None
    return _get_first(_read_pixel(run, pixel, "composite", "weight"))


def _get_first(values: list[int] | None) -> int | None:
    """Get the value of a single-band raster."""
    return values[0] if values else None


def _read_pixel(run: ViewedRun, pixel: _Pixel, product: str, file: str) -> list[int] | None:
    """Read all bands of one pixel; None if the file is missing or damaged."""
    key = layout.TileKeys(pixel.tile.name).get_raster(product, file)
    if product != "composite" and key not in run.state.versions:
        return None
    path = run.store.get_gdal_path(key)
    try:
        with configure_gdal(), rasterio.Env(CPL_VSIL_CURL_NON_CACHED=path), rasterio.open(path) as src:
            values = np.asarray(src.read(window=Window(pixel.column, pixel.row, 1, 1))).ravel()
    except RasterioError:
        run.note(f"{key} cannot be read: it is missing or damaged; run s2ops verify for details")
        return None
    return [int(value) for value in values] or None

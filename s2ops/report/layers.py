"""Images of the report: map layers with legends, magnified seams, and preview strips (contact sheets)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import rasterio
import shapely
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from s2ops.constants import CLASS_COLOURS, CLASS_NAMES, LandCover, UInt8
from s2ops.geo.mgrs_tiles import Tile, parse_tiles
from s2ops.imaging import rendering
from s2ops.raster.gdal_env import configure_gdal
from s2ops.report.gather import RunFacts, SeamRecord, TileRecords
from s2ops.report.maps import Canvas, find_border_midpoint
from s2ops.selection.explain import draw_mask_overlay, sort_candidates
from s2ops.storage import layout
from s2ops.storage.object_store import Store

CLOSE_UP_SIDE_PX: Final = 380
"""Side of a magnified seam in pixels of the run's resolution."""

THUMBNAIL_PX: Final = 150
"""Side of a preview in a strip."""

MAX_STRIP_PREVIEWS: Final = 18
"""Maximum number of previews per tile."""

_PERIODS: Final = {10: "day", 7: "month", 4: "year"}
"""Name of the period by the number of characters of an ISO date."""


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """Line of a legend, with its area if the layer has areas."""

    colour: str
    label: str
    km2: float | None = None
    percent: float | None = None


@dataclass(frozen=True, slots=True)
class ReportLayer:
    """Layer of the map: an image with its description and legend."""

    id: str
    label: str
    uri: str
    """Image as data URI."""
    alt: str
    """Alternative text of the image."""
    note: str
    legend: tuple[LegendEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class TileOutline:
    """Outline of a tile on the map: SVG points, and the position of its name in pixels."""

    name: str
    points: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class SeamCloseUp:
    """Magnified image of an edge before and after blending."""

    seam: SeamRecord
    before: str
    """Image as data URI."""
    after: str
    """Image as data URI."""
    km: float
    """Side of the image in kilometres."""


def draw_map_layers(store: Store, facts: RunFacts, canvas: Canvas) -> list[ReportLayer]:
    """Draw mosaic, composites, land cover, confidence and dates; layers without data are left out."""
    tiles = [one.tile for one in facts.tiles]
    made = [_draw_imagery_layer(store, tiles, canvas, "mosaic"), _draw_imagery_layer(store, tiles, canvas, "composite")]
    made += [
        _draw_landcover_layer(store, tiles, canvas),
        _draw_confidence_layer(store, tiles, canvas),
        _draw_dates_layer(store, facts, canvas),
    ]
    return [layer for layer in made if layer is not None]


def project_outlines(tiles: Sequence[Tile], canvas: Canvas) -> list[TileOutline]:
    """Project the outlines of tiles onto the canvas; two for a tile across the antimeridian."""
    project = Transformer.from_crs(4326, str(canvas.geobox.crs), always_xy=True)
    found = []
    for tile in tiles:
        for part in shapely.get_parts(tile.footprint):
            x, y = project.transform(*shapely.get_coordinates(part).T)
            columns, rows = ~canvas.geobox.transform @ (np.asarray(x), np.asarray(y))
            corners = [f"{c:.0f},{r:.0f}" for c, r in zip(columns, rows, strict=True)]
            points = " ".join(
                dict.fromkeys(corners)
            )  # an SVG polygon is closed; on a map of a large region many corners coincide
            found.append(TileOutline(tile.name, points, float(np.mean(columns[:-1])), float(np.mean(rows[:-1]))))
    return found


def draw_seam_close_ups(store: Store, facts: RunFacts, res: int, most: int = 3) -> list[SeamCloseUp]:
    """Draw the (at most `most`) edges with the largest step before blending, magnified; each pair of tiles once."""
    found: list[SeamCloseUp] = []
    seen: set[frozenset[str]] = set()
    for seam in facts.edges.worst:
        pair = frozenset((seam.tile, seam.neighbour))
        if len(found) == most or pair in seen:
            continue
        seen.add(pair)
        above, below = parse_tiles([seam.neighbour])[0], parse_tiles([seam.tile])[0]
        place = find_border_midpoint(above, below)
        if place is None or seam.before is None:
            continue
        canvas = Canvas.from_center(*place, res, CLOSE_UP_SIDE_PX)
        before, after = (
            _draw_true_colour(canvas, store, [above, below], product, 90) for product in ("composite", "mosaic")
        )
        if before and after:
            found.append(SeamCloseUp(seam, before, after, CLOSE_UP_SIDE_PX * res / 1000))
    return found


def draw_preview_strip(store: Store, facts: TileRecords) -> list[tuple[str, str, str, str]]:
    """Draw the previews of a tile's candidates, cloud in red: (data URI, date, decision, scene) of each."""
    if facts.select is None or not facts.select.candidates:
        return []
    try:
        with configure_gdal(), rasterio.open(store.get_gdal_path(layout.TileKeys(facts.tile.name).previews)) as src:
            small = src.read(out_shape=(src.count, THUMBNAIL_PX, THUMBNAIL_PX), resampling=Resampling.nearest)
    except RasterioError:
        return []
    if len(small) != 4 * len(facts.select.candidates):
        return []
    stack: UInt8 = small.reshape(-1, 4, THUMBNAIL_PX, THUMBNAIL_PX)
    places = {one.id: number for number, one in enumerate(facts.select.candidates)}
    strip: list[tuple[str, str, str, str]] = []
    for one in sort_candidates(facts.select)[:MAX_STRIP_PREVIEWS]:
        data = rendering.encode_image(draw_mask_overlay(stack[places[one.id]]), "jpeg", 76)
        strip.append((rendering.build_data_uri(data, "jpeg"), one.date, one.decision, one.id))
    return strip


def _list_files(tiles: Sequence[Tile], product: str, name: str) -> list[tuple[Tile, str]]:
    """List the tiles with the keys of their files."""
    return [(tile, layout.TileKeys(tile.name).get_raster(product, name)) for tile in tiles]


def _draw_true_colour(canvas: Canvas, store: Store, tiles: Sequence[Tile], product: str, quality: int) -> str | None:
    """Draw a product in true colour as data URI (JPEG); None if there is no data."""
    levels = canvas.paint(store, _list_files(tiles, product, product), (1, 2, 3))
    if not levels.any():
        return None
    return rendering.build_data_uri(
        rendering.encode_image(rendering.render_true_colour(levels), "jpeg", quality), "jpeg"
    )


def _draw_imagery_layer(
    store: Store, tiles: Sequence[Tile], canvas: Canvas, product: Literal["mosaic", "composite"]
) -> ReportLayer | None:
    """Draw the mosaic or the composites in true colour; None if there is no data."""
    uri = _draw_true_colour(canvas, store, tiles, product, 85)
    if uri is None:
        return None
    if product == "mosaic":
        note = "Red, green and blue after balancing and blending. Grey: no data."
        return ReportLayer("mosaic", "Mosaic", uri, "Cloud-free true-colour mosaic of the region", note)
    note = "Tiles before balancing and blending, side by side; seams are visible here."
    return ReportLayer("before", "Before blending", uri, "The same region from unblended composites", note)


def _draw_landcover_layer(store: Store, tiles: Sequence[Tile], canvas: Canvas) -> ReportLayer | None:
    """Draw the land cover with the area of each class; None if there is no data."""
    codes = canvas.paint(store, _list_files(tiles, "landcover", "landcover"), (1,))[0]
    counts = np.bincount(codes.ravel(), minlength=7)
    total = int(counts[1:7].sum())
    if not total:
        return None
    legend = tuple(
        LegendEntry(
            rendering.format_hex_colour(CLASS_COLOURS[code]),
            CLASS_NAMES[code],
            float(counts[code]) * canvas.km2,
            100 * float(counts[code]) / total,
        )
        for code in LandCover
        if code is not LandCover.NODATA
    )
    uri = rendering.build_data_uri(rendering.encode_image(rendering.render_land_cover(codes), "png"), "png")
    note = "Six classes. Areas are counted on this map, overlaps of tiles once."
    return ReportLayer("landcover", "Land cover", uri, "Land-cover map of the region in six classes", note, legend)


def _draw_confidence_layer(store: Store, tiles: Sequence[Tile], canvas: Canvas) -> ReportLayer | None:
    """Draw the probability of the land-cover class; None if there is no data."""
    percent = canvas.paint(store, _list_files(tiles, "landcover", "confidence"), (1,), nodata=255)[0]
    valid = percent[percent <= 100]
    if not valid.size:
        return None
    legend = tuple(
        LegendEntry(
            rendering.format_hex_colour(rendering.pick_confidence_colour((low + min(high, 100)) / 2)),
            f"{low} to {min(high, 100)} %",
            float(((valid >= low) & (valid < high)).sum()) * canvas.km2,
            100 * float(((valid >= low) & (valid < high)).mean()),
        )
        for low, high in ((90, 101), (75, 90), (60, 75), (40, 60), (0, 40))
    )
    uri = rendering.build_data_uri(rendering.encode_image(rendering.render_confidence(percent), "png"), "png")
    note = f"Probability of the class shown; on average {valid.mean():.0f} %."
    return ReportLayer("confidence", "Confidence", uri, "Probability of the land-cover class", note, legend)


def _draw_dates_layer(store: Store, facts: RunFacts, canvas: Canvas) -> ReportLayer | None:
    """Draw the acquisition date of each pixel from the provenance; None if there is no data."""
    days = {one.tile.name: [str(scene["date"]) for scene in one.scenes] for one in facts.tiles}
    length = rendering.choose_date_length([day for some in days.values() for day in some])
    periods = {name: [day[:length] for day in some] for name, some in days.items()}
    colours = rendering.assign_date_colours([period for some in periods.values() for period in some])
    numbers = {period: number for number, period in enumerate(colours, start=1)}

    def recode(tile: Tile, part: UInt8) -> UInt8:
        table = np.zeros(256, np.uint8)
        own = periods[tile.name]
        table[1 : len(own) + 1] = [numbers[period] for period in own]
        out: UInt8 = table[part]
        return out

    tiles = [one.tile for one in facts.tiles]
    source = canvas.paint(store, _list_files(tiles, "mosaic", "provenance"), (1,), recode=recode)[0]
    counts = np.bincount(source.ravel(), minlength=len(numbers) + 1)
    total = int(counts[1:].sum())
    if not total:
        return None
    legend = tuple(
        LegendEntry(
            rendering.format_hex_colour(colours[label]),
            label,
            float(counts[n]) * canvas.km2,
            100 * float(counts[n]) / total,
        )
        for label, n in reversed(numbers.items())
        if counts[n]
    )
    rgba = rendering.render_provenance(source, list(colours.values()))
    uri = rendering.build_data_uri(rendering.encode_image(rgba, "png"), "png")
    note = f"The {_PERIODS[length]} in which most of each pixel was acquired."
    return ReportLayer("dates", "Dates", uri, "Acquisition date of each pixel", note, legend)

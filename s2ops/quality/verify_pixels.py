"""Pixel verification (validation) of a run: COG structure, band metadata, and rules for all pixels, in row slabs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from s2ops.constants import BANDS, CLASS_COLOURS, Bool, Json, LandCover, UInt8
from s2ops.quality.findings import Finding, make_error
from s2ops.raster.gdal_env import configure_gdal
from s2ops.raster.reader import split_rows
from s2ops.storage import layout
from s2ops.storage.object_store import Store

Pixels: TypeAlias = Mapping[str, UInt8]
"""Slab `(band, row, x)` of each raster by name. The composite of the tile is absent if it does not exist."""

LEVELS_TAG: Final = "S2OPS_LEVELS"
"""GeoTIFF tag with the table that converts levels to reflectance."""


@dataclass(frozen=True, slots=True)
class RasterSpec:
    """Required band layout of one kind of raster."""

    bands: int
    nodata: int
    names: tuple[str, ...] | None = None
    """Band descriptions."""
    levels: bool = False
    """True if the raster must carry `LEVELS_TAG`."""
    colours: bool = False
    """True if the raster must have the colour table of the classes."""


RASTER_SPECS: Final[dict[str, RasterSpec]] = {
    "composite": RasterSpec(4, 0, BANDS, levels=True),
    "mosaic": RasterSpec(4, 0, BANDS, levels=True),
    "provenance": RasterSpec(1, 0),
    "weight": RasterSpec(1, 0),
    "landcover": RasterSpec(1, 0, colours=True),
    "confidence": RasterSpec(1, 255),
}


@dataclass(frozen=True, slots=True)
class PixelRule:
    """Rule that holds for all pixels of a raster."""

    raster: str
    """Name of the raster that a violation is reported for."""
    message: str
    """Predicate of the sentence "n pixels ..."."""
    find_violations: Callable[[Pixels], Bool]
    """Function that marks the pixels `(row, x)` that violate the rule."""
    needs: tuple[str, ...]
    """Names of the rasters that the rule compares."""


def _compute_valid_mask(image: UInt8) -> Bool:
    """Return the pixels that have data in all bands."""
    out: Bool = np.all(image, axis=0)
    return out


def build_imagery_rules(name: str, scenes: int) -> tuple[PixelRule, ...]:
    """Build the rules of a composite or mosaic whose item lists `scenes` scenes."""
    both = (name, "provenance")
    return (
        PixelRule(
            "provenance",
            f"have a provenance number above the item's {scenes} scenes",
            lambda p: p["provenance"][0] > scenes,
            both,
        ),
        PixelRule(
            name,
            "have no data, but provenance names a scene",
            lambda p: (p["provenance"][0] > 0) & ~p[name].any(0),
            both,
        ),
        PixelRule(
            name,
            "have data, but provenance marks a hole",
            lambda p: (p["provenance"][0] == 0) & p[name].any(0),
            both,
        ),
        PixelRule(
            name,
            "have data in some bands only",
            lambda p: p[name].any(0) & ~_compute_valid_mask(p[name]),
            (name,),
        ),
    )


WEIGHT_RULE: Final = PixelRule(
    "weight",
    "are above 100 percent, or differ from provenance on what is a hole",
    lambda p: (p["weight"][0] > 100) | ((p["weight"][0] == 0) != (p["provenance"][0] == 0)),
    ("weight", "provenance"),
)
COVERAGE_RULE: Final = PixelRule(
    "mosaic",
    "have no data, but the composite of the tile covers them",
    lambda p: _compute_valid_mask(p["composite"]) & ~p["mosaic"].any(0),
    ("mosaic", "composite"),
)
LANDCOVER_RULES: Final = (
    PixelRule("landcover", "have a class code above 6", lambda p: p["landcover"][0] > max(LandCover), ("landcover",)),
    PixelRule(
        "confidence",
        "are outside 0 to 100 percent (255 is no data)",
        lambda p: (p["confidence"][0] > 100) & (p["confidence"][0] != 255),
        ("confidence",),
    ),
    PixelRule(
        "confidence",
        "differ from the land cover on what is no data",
        lambda p: (p["landcover"][0] == 0) != (p["confidence"][0] == 255),
        ("landcover", "confidence"),
    ),
    PixelRule(
        "landcover",
        "have no class, but the mosaic covers them",
        lambda p: (p["landcover"][0] == 0) & _compute_valid_mask(p["mosaic"]),
        ("landcover", "mosaic"),
    ),
)


def check_pixels(store: Store, product: str, tile: str, item: Json) -> Iterator[Finding]:
    """Yield the findings about the rasters of an item.

    Args:
        store: Store of the run.
        product: Product of the item: composite, mosaic or landcover.
        tile: Name of the tile.
        item: The parsed item.
    """
    rasters = {"landcover": ("landcover", "confidence"), "composite": ("composite", "provenance", "weight")}.get(
        product, (product, "provenance")
    )
    keys = {name: layout.TileKeys(tile).get_raster(product, name) for name in rasters}
    sound = True
    for name in rasters:
        found = list(_check_file(store, keys[name], RASTER_SPECS[name], item))
        sound = sound and not found
        yield from found
    if not sound:
        return  # rasters with different grids or bands cannot be compared pixel by pixel
    source = {"mosaic": "composite", "landcover": "mosaic"}.get(product)
    if source and store.has_key(layout.TileKeys(tile).get_raster(source, source)):
        keys[source] = layout.TileKeys(tile).get_raster(source, source)
    properties = item["properties"]
    scenes = len(properties.get("s2ops:scenes", []))
    rules = (
        LANDCOVER_RULES
        if product == "landcover"
        else (*build_imagery_rules(product, scenes), WEIGHT_RULE, COVERAGE_RULE)
    )
    try:
        yield from check_rules(store, keys, [rule for rule in rules if all(name in keys for name in rule.needs)])
        if product != "landcover":
            yield from _check_holes(store, keys["provenance"], properties.get("s2ops:holes"))
    except RasterioError as broken:
        yield make_error(
            layout.TileKeys(tile).get_item(product),
            f"belongs to a raster that cannot be decoded ({broken}): delete the item and run again",
        )


@dataclass
class RuleViolations:
    """Number of pixels that violate a rule, and the position of the first."""

    count: int = 0
    first: tuple[int, int] = (0, 0)
    """Row and column in the raster."""

    def add(self, bad: Bool, top: int) -> None:
        """Add the marked pixels `(row, x)` of a slab that begins at row `top`."""
        if not self.count and bad.any():
            row, column = divmod(int(bad.argmax()), bad.shape[1])
            self.first = (row + top, column)
        self.count += int(bad.sum())


def check_rules(store: Store, keys: Mapping[str, str], rules: Sequence[PixelRule]) -> Iterator[Finding]:
    """Yield a finding for each rule that some pixel violates.

    Args:
        store: Store of the run.
        keys: Key of each raster by name.
        rules: Rules that these rasters must satisfy.
    """
    tallies = [RuleViolations() for _ in rules]
    with configure_gdal(), ExitStack() as stack:
        opened = {name: stack.enter_context(rasterio.open(store.get_gdal_path(key))) for name, key in keys.items()}
        shapes = {name: src.shape for name, src in opened.items()}
        height, width = next(iter(shapes.values()))
        if set(shapes.values()) != {(height, width)}:
            yield make_error(
                next(iter(keys.values())), f"differs in size from the rasters that it is compared with: {shapes}"
            )
            return
        for rows in split_rows(height):
            window = Window(0, rows.start, width, rows.stop - rows.start)
            pixels = {name: src.read(window=window) for name, src in opened.items()}
            for tally, rule in zip(tallies, rules, strict=True):
                tally.add(rule.find_violations(pixels), rows.start)
    for tally, rule in zip(tallies, rules, strict=True):
        if tally.count:
            share = 100 * tally.count / (height * width)
            where = f"the first at row {tally.first[0]}, column {tally.first[1]}"
            yield make_error(keys[rule.raster], f"{tally.count} pixels ({share:.2g} %) {rule.message}; {where}")


def _check_holes(store: Store, key: str, stated: float | None) -> Iterator[Finding]:
    """Compare the fraction of holes with the one that the item states."""
    with configure_gdal(), rasterio.open(store.get_gdal_path(key)) as src:
        windows = (Window(0, rows.start, src.width, rows.stop - rows.start) for rows in split_rows(src.height))
        part = sum(int((src.read(1, window=window) == 0).sum()) for window in windows) / (src.height * src.width)
    if stated is None or abs(part - stated) > 1e-6:
        yield make_error(key, f"has holes in {part:.6g} of the tile, but its item states {stated}")


def _check_file(store: Store, key: str, expected: RasterSpec, item: Json) -> Iterator[Finding]:
    """Validate structure and metadata of one raster."""
    from rio_cogeo.cogeo import cog_validate  # noqa: PLC0415 -- as in s2ops/raster/cog.py

    path = store.get_gdal_path(key)
    try:
        with configure_gdal():
            valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
            if not valid:
                yield make_error(key, f"is not a valid cloud-optimised GeoTIFF: {'; '.join([*errors, *warnings])}")
            with rasterio.open(path) as src:
                yield from (make_error(key, message) for message in _check_metadata(src, expected, item["properties"]))
    except RasterioError as broken:
        yield make_error(key, f"cannot be opened as a raster: {broken}")


def _check_metadata(src: DatasetReader, expected: RasterSpec, properties: Json) -> Iterator[str]:
    """Yield the differences between a raster and both its item and the requirements of its kind."""
    if set(src.dtypes) != {"uint8"} or src.count != expected.bands:
        yield f"has {src.count} bands of {', '.join(sorted(set(src.dtypes)))}, not {expected.bands} of uint8"
        return
    if src.nodata != expected.nodata:
        yield f"has the no-data value {src.nodata}, not {expected.nodata}"
    if expected.names and src.descriptions != expected.names:
        yield f"has the band names {src.descriptions}, not {expected.names}"
    if ColorInterp.alpha in src.colorinterp:
        yield "declares an alpha band, so that viewers would use the near infrared as transparency"
    if expected.levels and LEVELS_TAG not in src.tags():
        yield f"lacks the tag {LEVELS_TAG}, which converts levels to reflectance"
    if expected.colours and _read_colour_table(src) != {int(code): CLASS_COLOURS[code] for code in LandCover}:
        yield "lacks the colour table of the six classes"
    if [src.height, src.width] != properties.get("proj:shape"):
        yield f"has {src.height} x {src.width} pixels, but its item states {properties.get('proj:shape')}"
    if list(src.transform)[:6] != properties.get("proj:transform"):
        yield f"has the transform {list(src.transform)[:6]}, but its item states {properties.get('proj:transform')}"
    code = f"EPSG:{src.crs.to_epsg()}" if src.crs else None
    if code != properties.get("proj:code"):
        yield f"is in {code}, but its item states {properties.get('proj:code')}"


def _read_colour_table(src: DatasetReader) -> dict[int, tuple[int, int, int]]:
    """Read the RGB colour of each class; empty if the raster has no colour table."""
    if src.colorinterp[0] is not ColorInterp.palette:
        return {}
    table = src.colormap(1)
    return {int(code): table[int(code)][:3] for code in LandCover}

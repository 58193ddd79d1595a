"""The pixel side of verify: COG structure, band facts, and rules that hold for every pixel, read in row slabs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from s2ops.constants import BANDS, CLASS_COLOURS, Bool, LandCover, UInt8
from s2ops.quality.findings import Finding, make_error
from s2ops.raster.gdal_env import configure_gdal
from s2ops.raster.reader import slabs
from s2ops.storage.object_store import Store

Json: TypeAlias = dict[str, Any]
Pixels: TypeAlias = Mapping[str, UInt8]
"""(band, rows, x) of each raster by name; an own composite that is not there is absent."""

LEVELS_TAG: Final = "S2OPS_LEVELS"


@dataclass(frozen=True, slots=True)
class RasterSpec:
    """What one kind of raster must be."""

    bands: int
    nodata: int
    names: tuple[str, ...] | None = None
    levels: bool = False
    colours: bool = False


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
    """A law of all pixels: `breaks` marks those that break it."""

    raster: str
    message: str
    breaks: Callable[[Pixels], Bool]
    needs: tuple[str, ...]


def _compute_valid_mask(image: UInt8) -> Bool:
    out: Bool = np.all(image, axis=0)
    return out


def build_imagery_rules(name: str, scenes: int) -> tuple[PixelRule, ...]:
    """Laws of a composite or mosaic whose provenance counts `scenes` scenes."""
    both = (name, "provenance")
    return (
        PixelRule(
            "provenance",
            f"name a scene beyond the item's list of {scenes}",
            lambda p: p["provenance"][0] > scenes,
            both,
        ),
        PixelRule(
            name,
            "are no data although provenance names a scene",
            lambda p: (p["provenance"][0] > 0) & ~p[name].any(0),
            both,
        ),
        PixelRule(
            name,
            "hold data although provenance calls them a hole",
            lambda p: (p["provenance"][0] == 0) & p[name].any(0),
            both,
        ),
        PixelRule(
            name,
            "hold data in some bands and none in others",
            lambda p: p[name].any(0) & ~_compute_valid_mask(p[name]),
            (name,),
        ),
    )


WEIGHT_RULE: Final = PixelRule(
    "weight",
    "are above 100 percent, or disagree with provenance on what is a hole",
    lambda p: (p["weight"][0] > 100) | ((p["weight"][0] == 0) != (p["provenance"][0] == 0)),
    ("weight", "provenance"),
)
COVERAGE_RULE: Final = PixelRule(
    "mosaic",
    "are no data although the tile's own composite covers them",
    lambda p: _compute_valid_mask(p["composite"]) & ~p["mosaic"].any(0),
    ("mosaic", "composite"),
)
LANDCOVER_RULES: Final = (
    PixelRule("landcover", "hold a class code above 6", lambda p: p["landcover"][0] > max(LandCover), ("landcover",)),
    PixelRule(
        "confidence",
        "lie outside 0 to 100 percent (255 is no data)",
        lambda p: (p["confidence"][0] > 100) & (p["confidence"][0] != 255),
        ("confidence",),
    ),
    PixelRule(
        "confidence",
        "disagree with the land cover on what is no data",
        lambda p: (p["landcover"][0] == 0) != (p["confidence"][0] == 255),
        ("landcover", "confidence"),
    ),
    PixelRule(
        "landcover",
        "have no class although the mosaic covers them",
        lambda p: (p["landcover"][0] == 0) & _compute_valid_mask(p["mosaic"]),
        ("landcover", "mosaic"),
    ),
)


def check_pixels(store: Store, key: str, kind: str, item: Json) -> Iterator[Finding]:
    """Findings of the rasters beside the item at `key`; `kind` is composite, mosaic or landcover."""
    folder = key.removesuffix("/item.json")
    tile = folder.split("/")[1]
    rasters = {"landcover": ("landcover", "confidence"), "composite": ("composite", "provenance", "weight")}.get(
        kind, (kind, "provenance")
    )
    keys = {name: f"{folder}/{name}.tif" for name in rasters}
    sound = True
    for name in rasters:
        found = list(_check_file(store, keys[name], RASTER_SPECS[name], item))
        sound = sound and not found
        yield from found
    if not sound:
        return  # grids or bands that differ cannot be compared pixel by pixel
    beside = {"mosaic": "composite", "landcover": "mosaic"}.get(kind)
    if beside and store.exists(f"{beside}/{tile}/{beside}.tif"):
        keys[beside] = f"{beside}/{tile}/{beside}.tif"
    properties = item["properties"]
    scenes = len(properties.get("s2ops:scenes", []))
    rules = LANDCOVER_RULES if kind == "landcover" else (*build_imagery_rules(kind, scenes), WEIGHT_RULE, COVERAGE_RULE)
    try:
        yield from find_violations(store, keys, [rule for rule in rules if all(name in keys for name in rule.needs)])
        if kind != "landcover":
            yield from _check_holes(store, keys["provenance"], properties.get("s2ops:holes"))
    except RasterioError as broken:
        yield make_error(key, f"has pixels beside it that cannot be decoded: {broken}")


@dataclass
class RuleViolations:
    """How many pixels a rule catches, and the first."""

    count: int = 0
    first: tuple[int, int] = (0, 0)

    def add(self, bad: Bool, top: int) -> None:
        """Add the rows that begin at row `top`."""
        if not self.count and bad.any():
            row, column = divmod(int(bad.argmax()), bad.shape[1])
            self.first = (row + top, column)
        self.count += int(bad.sum())


def find_violations(store: Store, keys: Mapping[str, str], rules: Sequence[PixelRule]) -> Iterator[Finding]:
    """One finding for each rule that some pixel breaks: how many, and where the first is."""
    tallies = [RuleViolations() for _ in rules]
    with configure_gdal(), ExitStack() as stack:
        opened = {name: stack.enter_context(rasterio.open(store.gdal(key))) for name, key in keys.items()}
        shapes = {name: src.shape for name, src in opened.items()}
        height, width = next(iter(shapes.values()))
        if set(shapes.values()) != {(height, width)}:
            yield make_error(next(iter(keys.values())), f"differs in size from what it is compared with: {shapes}")
            return
        for rows in slabs(height):
            window = Window(0, rows.start, width, rows.stop - rows.start)
            pixels = {name: src.read(window=window) for name, src in opened.items()}
            for tally, rule in zip(tallies, rules, strict=True):
                tally.add(rule.breaks(pixels), rows.start)
    for tally, rule in zip(tallies, rules, strict=True):
        if tally.count:
            share = 100 * tally.count / (height * width)
            where = f"the first at row {tally.first[0]}, column {tally.first[1]}"
            yield make_error(keys[rule.raster], f"{tally.count} pixels ({share:.2g} %) {rule.message}; {where}")


def _check_holes(store: Store, key: str, stated: float | None) -> Iterator[Finding]:
    with configure_gdal(), rasterio.open(store.gdal(key)) as src:
        windows = (Window(0, rows.start, src.width, rows.stop - rows.start) for rows in slabs(src.height))
        part = sum(int((src.read(1, window=window) == 0).sum()) for window in windows) / (src.height * src.width)
    if stated is None or abs(part - stated) > 1e-6:
        yield make_error(key, f"has holes in {part:.6g} of the tile, its item says {stated}")


def _check_file(store: Store, key: str, expected: RasterSpec, item: Json) -> Iterator[Finding]:
    from rio_cogeo.cogeo import cog_validate  # noqa: PLC0415 -- as in s2ops/raster/cog.py

    path = store.gdal(key)
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
    """What differs from what the item says and the kind demands."""
    if set(src.dtypes) != {"uint8"} or src.count != expected.bands:
        yield f"has {src.count} bands of {', '.join(sorted(set(src.dtypes)))}, not {expected.bands} of uint8"
        return
    if src.nodata != expected.nodata:
        yield f"states no data as {src.nodata}, not {expected.nodata}"
    if expected.names and src.descriptions != expected.names:
        yield f"names its bands {src.descriptions}, not {expected.names}"
    if ColorInterp.alpha in src.colorinterp:
        yield "declares an alpha band: viewers would hide the near infrared"
    if expected.levels and LEVELS_TAG not in src.tags():
        yield f"lacks the metadata {LEVELS_TAG}, which turns levels into reflectance"
    if expected.colours and _read_colour_table(src) != {int(code): CLASS_COLOURS[code] for code in LandCover}:
        yield "lacks the colour table of the six classes"
    if [src.height, src.width] != properties.get("proj:shape"):
        yield f"has {src.height} x {src.width} pixels, its item says {properties.get('proj:shape')}"
    if list(src.transform)[:6] != properties.get("proj:transform"):
        yield f"lies at {list(src.transform)[:6]}, its item says {properties.get('proj:transform')}"
    code = f"EPSG:{src.crs.to_epsg()}" if src.crs else None
    if code != properties.get("proj:code"):
        yield f"is in {code}, its item says {properties.get('proj:code')}"


def _read_colour_table(src: DatasetReader) -> dict[int, tuple[int, int, int]]:
    if src.colorinterp[0] is not ColorInterp.palette:
        return {}
    table = src.colormap(1)
    return {int(code): table[int(code)][:3] for code in LandCover}

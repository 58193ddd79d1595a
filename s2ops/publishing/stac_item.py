"""STAC items and assets of a run (collections: `stac_collection.py`). Pure builders: equal input gives equal bytes.

STAC 1.1 with the extensions projection, raster, eo, classification, file, processing and grid. Links and hrefs are
relative, so that a run can be copied. An item contains the acquisition times of its scenes, but no creation time: a
second run must give the same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final, Literal, TypeAlias

from odc.geo.geobox import GeoBox

from s2ops.config import NetworkChoice
from s2ops.constants import BANDS, CLASS_COLOURS, CLASS_NAMES, Json, LandCover
from s2ops.geo import mgrs_tiles
from s2ops.geo.footprint import compute_bbox, to_geojson
from s2ops.imaging.tone_curve import list_level_reflectances

Product: TypeAlias = Literal["composite", "mosaic", "landcover"]

STAC_VERSION: Final = "1.1.0"
COG_MEDIA_TYPE: Final = "image/tiff; application=geotiff; profile=cloud-optimized"
GEOJSON_MEDIA_TYPE: Final = "application/geo+json"
JSON_MEDIA_TYPE: Final = "application/json"

SCHEMA_BASE_URL: Final = "https://stac-extensions.github.io"
ITEM_EXTENSIONS: Final = tuple(
    f"{SCHEMA_BASE_URL}/{name}/schema.json"
    for name in (
        "projection/v2.0.0",
        "raster/v2.0.0",
        "classification/v2.0.0",
        "file/v2.1.0",
        "processing/v1.2.0",
        "grid/v1.1.0",
    )
)
EO_EXTENSION: Final = f"{SCHEMA_BASE_URL}/eo/v2.0.0/schema.json"
"""Schema of the eo extension, for imagery only: it rejects items without an eo: field."""

TITLES: Final[dict[Product, str]] = {
    "composite": "Cloud-free composite",
    "mosaic": "Cloud-free mosaic",
    "landcover": "Land cover",
}
LINEAGES: Final[dict[Product, str]] = {
    "composite": "Scenes masked for cloud and shadow, fused per pixel, recent first, with cross-faded patch borders.",
    "mosaic": "Composite balanced over the whole region, then blended with the overlaps of all neighbouring tiles.",
}
"""Processing of the products that is equal in every run; that of land cover depends on its networks."""

_LANDCOVER_NETWORKS: Final[dict[NetworkChoice, str]] = {
    "separate": "Three networks (water, vegetation, buildings)",
    "shared": "One network with three heads (water, vegetation, buildings)",
    "both": "Mean of three networks (water, vegetation, buildings) and of one network with three heads for the same",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """Asset (file) of an item."""

    href: str
    """Path relative to the item, such as 'mosaic.tif'."""
    sha256: str
    """SHA-256 of the file (hex)."""
    title: str
    bands: tuple[Json, ...]
    """STAC 1.1 band objects in file order."""
    roles: tuple[str, ...] = ("data",)
    media_type: str = COG_MEDIA_TYPE
    size: int | None = None
    """Size in bytes, if known."""


def build_imagery_asset(href: str, sha256: str, size: int | None = None) -> Asset:
    """Build the asset of an image: red, green, blue and nir as 8-bit levels; 0 is no data."""
    bands = tuple({"name": name, "eo:common_name": name} for name in BANDS)
    return Asset(href, sha256, "8-bit levels of reflectance", bands, ("data", "reflectance"), size=size)


def build_provenance_asset(href: str, sha256: str, scenes: Sequence[str], size: int | None = None) -> Asset:
    """Build the asset of a provenance raster: pixel value n is the n-th of `scenes`, 0 is a hole."""
    classes = [{"value": 0, "name": "hole", "description": "no clear scene", "nodata": True}]
    classes += [
        {"value": n, "name": _make_slug(scene), "description": scene} for n, scene in enumerate(scenes, start=1)
    ]
    band = {"name": "scene", "classification:classes": classes}
    return Asset(href, sha256, "Scene that each pixel comes from", (band,), ("metadata",), size=size)


def build_landcover_asset(href: str, sha256: str, size: int | None = None) -> Asset:
    """Build the asset of a land-cover map: class codes 0 to 6 with the paper's colours."""
    band = {"name": "class", "classification:classes": list_landcover_classes()}
    return Asset(href, sha256, "Land-cover class", (band,), ("data", "classification"), size=size)


def build_confidence_asset(href: str, sha256: str, size: int | None = None) -> Asset:
    """Build the asset of a confidence raster: probability of the class in percent; 255 is no data."""
    band = {"name": "confidence", "unit": "%", "nodata": 255, "statistics": {"minimum": 0, "maximum": 100}}
    return Asset(href, sha256, "Probability of the class", (band,), ("data", "confidence"), size=size)


def list_landcover_classes() -> list[Json]:
    """List the six classes and no data as objects of the classification extension."""
    return [
        {
            "value": int(code),
            "name": _make_slug(CLASS_NAMES[code]),
            "title": CLASS_NAMES[code],
            "description": CLASS_NAMES[code],
            "color_hint": "{:02X}{:02X}{:02X}".format(*CLASS_COLOURS[code]),
            **({"nodata": True} if code is LandCover.NODATA else {}),
        }
        for code in LandCover
    ]


def describe_landcover_lineage(networks: NetworkChoice, *, has_dates: bool) -> str:
    """Describe how a land-cover map was made.

    Args:
        networks: Networks that made it.
        has_dates: Whether dates were classified and fused; otherwise the mosaic was classified.
    """
    source = "per date, fused over dates," if has_dates else "on the mosaic,"
    return f"{_LANDCOVER_NETWORKS[networks]} {source} combined to six classes."


def encode_multihash(sha256: str) -> str:
    """Encode a SHA-256 as multihash (file extension): 0x12 is the code of SHA-256, 0x20 its length in bytes."""
    return f"1220{sha256}"


def extract_sha256(asset: Mapping[str, Any]) -> str | None:
    """Extract the SHA-256 (hex) from an asset's `file:checksum`; None if it is absent or another hash."""
    text = asset.get("file:checksum")
    return text[4:] if isinstance(text, str) and text.startswith("1220") and len(text) == 68 else None


def build_item_id(kind: Product, tile_name: str) -> str:
    """Build the identifier of an item, such as 's2ops-mosaic-33TWL'."""
    return f"s2ops-{kind}-{tile_name}"


def build_tile_item(
    kind: Product,
    tile_name: str,
    geobox: GeoBox,
    dates: tuple[datetime, datetime],
    assets: Mapping[str, Asset],
    properties: Mapping[str, Any],
    derived_from: Sequence[str] = (),
) -> Json:
    """Build the STAC item of one tile.

    Args:
        kind: Product of the item.
        tile_name: MGRS name of the tile.
        geobox: Pixel grid of the files.
        dates: First and last acquisition; for an empty tile, the date range of the run.
        assets: Files by asset name.
        properties: Values named `s2ops:...` (docs/how-to/read-the-outputs.md); also the lineage of a land-cover map.
        derived_from: Hrefs of the source items, relative to this item.
    """
    tile, res = mgrs_tiles.parse_tile(tile_name), abs(geobox.resolution.x)
    imagery = {} if kind == "landcover" else {"s2ops:levels": list_level_reflectances()}
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [*ITEM_EXTENSIONS, *(() if kind == "landcover" else (EO_EXTENSION,))],
        "id": build_item_id(kind, tile.name),
        **({} if kind == "composite" else {"collection": f"s2ops-{kind}"}),
        "geometry": to_geojson(tile.footprint),
        "bbox": list(compute_bbox(tile.footprint)),
        "properties": {
            "title": f"{TITLES[kind]} {tile.name}",
            "datetime": None,
            "start_datetime": _format_utc(dates[0]),
            "end_datetime": _format_utc(dates[1]),
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "gsd": res,
            "grid:code": f"MGRS-{tile.name}",
            "proj:code": f"EPSG:{tile.epsg}",
            "proj:shape": list(geobox.shape),
            "proj:transform": list(geobox.transform)[:6],
            "processing:level": "L3",
            **({"processing:lineage": LINEAGES[kind]} if kind in LINEAGES else {}),
            "processing:software": {"s2ops": version("s2ops")},
            **dict(properties),
            **imagery,
        },
        "links": _build_item_links(kind, derived_from),
        "assets": {name: _build_asset(asset, res) for name, asset in assets.items()},
    }


def build_shared_asset_fields(asset: Asset, resolution: float) -> Json:
    """Build the fields that an asset of an item shares with the `item_assets` of the collection."""
    return {
        "type": asset.media_type,
        "title": asset.title,
        "roles": list(asset.roles),
        "data_type": "uint8",
        "nodata": 0,
        "raster:spatial_resolution": resolution,
        "raster:sampling": "area",
        "bands": [dict(band) for band in asset.bands],
    }


def _build_asset(asset: Asset, resolution: float) -> Json:
    """Build the asset of an item, with href, checksum and size."""
    return {
        "href": f"./{asset.href}",
        **build_shared_asset_fields(asset, resolution),
        "file:checksum": encode_multihash(asset.sha256),
        **({"file:size": asset.size} if asset.size is not None else {}),
    }


def _build_item_links(kind: Product, derived_from: Sequence[str]) -> list[Json]:
    """Build the links of an item."""
    lineage = [build_link("derived_from", href, GEOJSON_MEDIA_TYPE) for href in derived_from]
    if kind == "composite":  # an intermediate product belongs to no collection
        return lineage
    return [
        build_link("root", "../../catalog.json", JSON_MEDIA_TYPE),
        build_link("parent", "../collection.json", JSON_MEDIA_TYPE),
        build_link("collection", "../collection.json", JSON_MEDIA_TYPE),
        *lineage,
    ]


def build_link(rel: str, href: str, media_type: str, title: str | None = None) -> Json:
    """Build a STAC link."""
    return {"rel": rel, "href": href, "type": media_type, **({"title": title} if title else {})}


def _format_utc(moment: datetime) -> str:
    """Format a time as RFC 3339 in UTC, with milliseconds if there are any; a time without zone counts as UTC."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware.isoformat(timespec="milliseconds" if aware.microsecond else "seconds").replace("+00:00", "Z")


def _make_slug(text: str) -> str:
    """Replace all but letters, digits, '-' and '_': the classification extension allows no other characters."""
    return "".join(character if character.isalnum() or character in "-_" else "-" for character in text)

"""STAC catalog (root) and collections of a run. Pure builders: equal input gives equal bytes.

A collection contains what its items have in common (`item_assets`), how to draw them (`renders`), the paper (scientific
extension), and the files that cover all tiles (assets).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from s2ops.constants import CLASS_COLOURS, Json, LandCover
from s2ops.errors import InputError
from s2ops.geo.footprint import merge_bboxes
from s2ops.publishing.stac_item import (
    EO_EXTENSION,
    GEOJSON_MEDIA_TYPE,
    JSON_MEDIA_TYPE,
    SCHEMA_BASE_URL,
    STAC_VERSION,
    TITLES,
    Asset,
    Product,
    build_confidence_asset,
    build_imagery_asset,
    build_landcover_asset,
    build_link,
    build_provenance_asset,
    build_shared_asset_fields,
    encode_multihash,
)
from s2ops.storage import layout
from s2ops.storage.done_marker import to_json

COLLECTION_EXTENSIONS: Final = tuple(
    f"{SCHEMA_BASE_URL}/{name}/schema.json"
    for name in ("scientific/v1.0.0", "render/v2.0.0", "raster/v2.0.0", "classification/v2.0.0", "file/v2.1.0")
)

PAPER_CITATION: Final = (
    "M. Swaine, C. Smit, S. Tripodi, G. Fonteix, Y. Tarabalka, L. Laureore, J. Hyland: Operational pipeline for a "
    "global cloud-free mosaic and classification of Sentinel-2 images"
)
LICENCE_URL: Final = "https://sentinel.esa.int/documents/247904/690755/Sentinel_Data_Legal_Notice"

DESCRIPTIONS: Final[dict[Product, str]] = {
    "mosaic": "Red, green, blue and near infrared without clouds and without seams between tiles, as 8-bit levels "
    "of surface reflectance; s2ops:levels turns a level back into reflectance.",
    "landcover": "Water, grass, tree, residential, industrial/commercial and barren, and the probability of the class.",
}

LANDCOVER_PALETTE: Final = {
    int(code): (*CLASS_COLOURS[code], 255) for code in LandCover if code is not LandCover.NODATA
}
"""Red, green, blue, alpha of each class code."""

RENDERS: Final[dict[Product, Json]] = {
    "mosaic": {
        "natural": {"title": "Natural colours", "assets": ["mosaic"], "bidx": [1, 2, 3], "nodata": 0},
        "infrared": {"title": "Colour infrared", "assets": ["mosaic"], "bidx": [4, 1, 2], "nodata": 0},
    },
    "landcover": {
        "classes": {
            "title": "Land-cover classes",
            "assets": ["landcover"],
            "nodata": 0,
            "resampling": "nearest",
            "colormap": {str(value): list(rgba) for value, rgba in LANDCOVER_PALETTE.items()},
        },
        "confidence": {
            "title": "Probability of the class",
            "assets": ["confidence"],
            "nodata": 255,
            "rescale": [[0, 100]],
            "colormap_name": "viridis",
        },
    },
}
"""Parameters for drawing the assets, named as in TiTiler (render extension)."""


@dataclass(frozen=True, slots=True)
class ProductIndexFile:
    """File that covers all tiles of a product (VRT, tile index, MosaicJSON), at the root of the run."""

    key: str
    sha256: str
    size: int
    """Size in bytes."""
    title: str
    media_type: str


def build_catalog(
    mosaic: Mapping[str, Json],
    landcover: Mapping[str, Json],
    index_files: Mapping[Product, Sequence[ProductIndexFile]] | None = None,
    description: str = "",
) -> dict[str, bytes]:
    """Build the static catalog: the root and a collection for each product that has items.

    Args:
        mosaic: Items of the mosaic by tile name.
        landcover: Items of the land cover by tile name.
        index_files: Files that cover all tiles, by product.
        description: Description of the root; default: a general one.

    Returns:
        JSON bytes by key.

    Raises:
        InputError: If there is no item.
    """
    products: list[tuple[Product, Mapping[str, Json]]] = [("mosaic", mosaic), ("landcover", landcover)]
    made = [(kind, items) for kind, items in products if items]
    if not made:
        raise InputError("Cannot build a catalog without items: run the steps before publish first.")
    root = {
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "id": "s2ops",
        "title": "s2ops run",
        "description": description or "Cloud-free Sentinel-2 mosaic and land cover.",
        "links": [
            build_link("root", "./catalog.json", JSON_MEDIA_TYPE),
            *(
                build_link("child", f"./{layout.get_collection_key(kind)}", JSON_MEDIA_TYPE, TITLES[kind])
                for kind, _ in made
            ),
        ],
    }
    files = {layout.CATALOG: to_json(root)}
    for kind, items in made:
        collection = build_collection(kind, items, (index_files or {}).get(kind, ()))
        files[layout.get_collection_key(kind)] = to_json(collection)
    return files


def build_collection(kind: Product, items: Mapping[str, Json], index_files: Sequence[ProductIndexFile] = ()) -> Json:
    """Build the collection of a product from its items by tile name and the files that cover all tiles."""
    tiles = sorted(items)
    start = min(items[tile]["properties"]["start_datetime"] for tile in tiles)
    end = max(items[tile]["properties"]["end_datetime"] for tile in tiles)
    boxes = sorted([tuple(items[tile]["bbox"]) for tile in tiles])
    properties = [items[tile]["properties"] for tile in tiles]
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "stac_extensions": [*COLLECTION_EXTENSIONS, *((EO_EXTENSION,) if kind == "mosaic" else ())],
        "id": f"s2ops-{kind}",
        "title": TITLES[kind],
        "description": DESCRIPTIONS[kind],
        "license": "other",
        "keywords": ["sentinel-2", "mosaic", "land cover", "cloud-free"],
        "providers": [
            {"name": "ESA / Copernicus", "roles": ["licensor", "producer"], "url": "https://sentinels.copernicus.eu"}
        ],
        "sci:publications": [{"citation": PAPER_CITATION}],
        "extent": {
            "spatial": {"bbox": [list(merge_bboxes(boxes))]},
            "temporal": {"interval": [[start, end]]},
        },
        "summaries": {
            "constellation": ["sentinel-2"],
            "gsd": sorted({value["gsd"] for value in properties}),
            "proj:code": sorted({value["proj:code"] for value in properties}),
        },
        "item_assets": _build_item_assets(kind, min(value["gsd"] for value in properties)),
        "renders": RENDERS[kind],
        "assets": {file.key: _build_index_asset(file) for file in index_files},
        "links": [
            build_link("root", "../catalog.json", JSON_MEDIA_TYPE),
            build_link("parent", "../catalog.json", JSON_MEDIA_TYPE),
            build_link("license", LICENCE_URL, "application/pdf", "Contains modified Copernicus Sentinel data"),
            *(build_link("item", f"./{tile}/item.json", GEOJSON_MEDIA_TYPE, tile) for tile in tiles),
        ],
    }


def _build_item_assets(kind: Product, res: float) -> Json:
    """Build the assets that all items have; the scenes in the provenance are left out, since they differ by item."""
    assets: dict[str, Asset] = (
        {"mosaic": build_imagery_asset("", ""), "provenance": build_provenance_asset("", "", [])}
        if kind == "mosaic"
        else {"landcover": build_landcover_asset("", ""), "confidence": build_confidence_asset("", "")}
    )
    return {name: build_shared_asset_fields(asset, res) for name, asset in assets.items()}


def _build_index_asset(file: ProductIndexFile) -> Json:
    """Build the asset of a file that covers all tiles."""
    return {
        "href": f"../{file.key}",
        "type": file.media_type,
        "title": file.title,
        "roles": ["index"],
        "file:checksum": encode_multihash(file.sha256),
        "file:size": file.size,
    }

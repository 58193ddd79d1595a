"""Builders of STAC items and static catalogs, in the layout of Earth Search."""

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from s2ops.constants import Json
from s2ops.geo import mgrs_tiles

ALWAYS = (date(2010, 1, 1), date(2040, 1, 1), 100.0)
"""Start, end and maximum cloud cover of a search that every item matches."""
COLLECTION = "sentinel-2-l2a"
BUCKET = "https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs"
BAND_KEYS = {"red": "B04", "green": "B03", "blue": "B02", "nir": "B08"}


def make_item(name: str = "S2A_33TWL_20230815_0_L2A", folder: str | None = None, **changes: Any) -> Json:
    """Make a valid item.

    Args:
        name: Item id; it contains platform, tile and day.
        folder: Folder of the assets; Earth Search's bucket by default.
        **changes: Properties that replace the default ones; None removes a property.
    """
    platform, tile, day, sequence, _ = name.split("_")
    root = BUCKET if folder is None else folder
    at = datetime.strptime(f"{day} 095811+0000", "%Y%m%d %H%M%S%z")
    strip = at - timedelta(minutes=2)
    properties = {
        "datetime": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "created": f"{at + timedelta(hours=11):%Y-%m-%dT%H:%M:%SZ}",
        "platform": f"sentinel-2{platform[2].lower()}",
        "eo:cloud_cover": 12.5,
        "grid:code": f"MGRS-{tile.lstrip('0')}",
        "s2:processing_baseline": "05.09",
        "s2:generation_time": f"{at + timedelta(hours=6):%Y-%m-%dT%H:%M:%SZ}",
        "s2:product_uri": f"{platform}_MSIL2A_{day}T095031_N0509_R079_T{tile}_{day}T155057.SAFE",
        "s2:datastrip_id": f"{platform}_OPER_MSI_L2A_DS_2APS_{day}T155057_S{strip:%Y%m%dT%H%M%S}_N05.09",
        "s2:sequence": sequence,
        "earthsearch:boa_offset_applied": True,
    } | changes
    assets = {
        key: {
            "href": f"{root}/{name}/{band}.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "raster:bands": [{"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}],
        }
        for key, band in BAND_KEYS.items()
    }
    assets["thumbnail"] = {"href": f"{root}/{name}/thumbnail.jpg", "type": "image/jpeg", "roles": ["thumbnail"]}
    footprint = mgrs_tiles.parse_tile(tile).footprint
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "collection": COLLECTION,
        "geometry": footprint.__geo_interface__,
        "bbox": list(footprint.bounds),
        "properties": {key: value for key, value in properties.items() if value is not None},
        "links": [],
        "assets": assets,
    }


def replace_asset(item: Json, key: str, href: object) -> Json:
    """Return a copy of the item in which one asset's href is replaced."""
    return item | {"assets": item["assets"] | {key: item["assets"].get(key, {}) | {"href": href}}}


def write_catalog(folder: Path, *items: Json) -> str:
    """Write a static catalog with each item in its own folder; return the path of its catalog.json."""
    links = []
    for number, item in enumerate(items):
        path = folder / f"item{number}" / "item.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(item))
        links.append({"rel": "item", "href": f"./item{number}/item.json", "type": "application/geo+json"})
    return write_root(folder, links)


def write_root(folder: Path, links: list[dict[str, str]]) -> str:
    """Write a catalog.json with these links; return its path."""
    root = {"type": "Catalog", "id": "any", "stac_version": "1.0.0", "description": "any", "links": links}
    path = folder / "catalog.json"
    path.write_text(json.dumps(root))
    return str(path)

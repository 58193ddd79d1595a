"""Parser of STAC items from all providers: tile name, bands, DN offset, and deduplication of reprocessed products.

Items are read as plain JSON and checked field by field, because catalogs are written by others. A defect becomes a
CatalogError that names the item and the field, and the item is left out. The messages of these errors are written into
select records as reasons.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from s2ops.catalog.hrefs import Origin, is_remote
from s2ops.catalog.scene import Scene
from s2ops.constants import BANDS, Json
from s2ops.errors import CatalogError, GridError
from s2ops.geo import mgrs_tiles

MALFORMED_JSON_ERRORS: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""Exceptions that occur when JSON of an unexpected shape is read as if it were valid."""

_BAND_ASSET_KEYS: Final = {  # Earth Search, Planetary Computer, CDSE
    "red": ("red", "B04", "B04_10m"),
    "green": ("green", "B03", "B03_10m"),
    "blue": ("blue", "B02", "B02_10m"),
    "nir": ("nir", "B08", "B08_10m"),
}
_PREVIEW_ASSET_KEYS: Final = ("preview", "thumbnail", "visual", "TCI_10m")
"""Best first: ESA's lossless 343 x 343 preview (PVI), the same as JPEG, the true-colour image with its overviews."""
_PREVIEW_MEDIA_TYPES: Final = ("image/jpeg", "image/jpg", "image/png", "image/tiff", "image/jp2")

_SAFE_ID: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
_TILE_IN_ID: Final = re.compile(r"(?:^|[_-])T?(\d{1,2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V])(?=[_-]|$)")
_DATASTRIP_START: Final = re.compile(r"_S(\d{8}T\d{6})")
_RELATIVE_ORBIT: Final = re.compile(r"_R(\d{3})_")
_PROCESSING_BASELINE: Final = re.compile(r"(?:_N|^)(\d{2})\.?(\d{2})(?=_|$)")

_FIRST_BASELINE_WITH_OFFSET: Final = "04.00"
_EARTH_SEARCH_CORRECTS_SINCE: Final = datetime(2022, 2, 27, tzinfo=UTC)
_SAME_ACQUISITION_TOLERANCE: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Granule:
    """A scene and the facts that distinguish it from other processings of the same acquisition."""

    scene: Scene
    datastrip_start: datetime | None
    """Start of the datastrip. It differs between the two halves of a granule that was split between ground stations."""


def parse_item(item: Json, base: str, origin: Origin) -> Granule:
    """Parse a STAC item.

    Args:
        item: The item's JSON.
        base: Path or URL that the item was read from; relative hrefs are resolved against it.
        origin: The catalog's location, which limits the hrefs.

    Raises:
        CatalogError: If a required field is missing or invalid; the message names the item and the field.
    """
    name = item.get("id")
    if not isinstance(name, str) or not _SAFE_ID.fullmatch(name) or name == "acquired" or name.endswith(".mask"):
        raise CatalogError(
            "Cannot use its id as a file name: allowed are 1 to 200 characters of A-Z a-z 0-9 . _ -, not starting with "
            "a dot; 'acquired' and the suffix '.mask' are reserved."
        )
    try:
        return Granule(_build_scene(name, item, base, origin), _read_datastrip_start(item))
    except (CatalogError, GridError) as error:
        raise CatalogError(f"Cannot use item {name}: {error}.") from error
    except MALFORMED_JSON_ERRORS as error:
        raise CatalogError(f"Cannot parse item {name}: {type(error).__name__} {error}.") from error


def _build_scene(name: str, item: Json, base: str, origin: Origin) -> Scene:
    properties = item["properties"]
    bands = tuple((band, origin.resolve(_find_band_asset(item, band)["href"], base)) for band in BANDS)
    return Scene(
        id=name,
        tile=read_tile_name(item),
        datetime=read_acquisition_time(item),
        platform=str(properties.get("platform") or "sentinel-2").lower(),
        cloud_cover=_read_cloud_cover(properties),
        bands=bands,
        preview=_find_preview(item, base, origin, is_remote(bands[0][1])),
        offset=determine_dn_offset(item),
        processed=f"{read_baseline(item) or '00.00'} {_read_generation_time(item):%Y-%m-%dT%H:%M:%SZ}",
        orbit=_read_relative_orbit(item),
        nodata=_read_nodata_percentage(properties),
    )


def read_tile_name(item: Json) -> str:
    """Read the tile name from grid:code, s2:mgrs_tile, mgrs:*, or the id, in this order."""
    properties = item["properties"]
    code = properties.get("grid:code")
    if isinstance(code, str) and code.startswith("MGRS-"):
        return mgrs_tiles.parse_tile(code.removeprefix("MGRS-").zfill(5)).name
    if isinstance(properties.get("s2:mgrs_tile"), str):
        return mgrs_tiles.parse_tile(properties["s2:mgrs_tile"]).name
    if "mgrs:utm_zone" in properties:
        zone, band = int(properties["mgrs:utm_zone"]), properties["mgrs:latitude_band"]
        return mgrs_tiles.parse_tile(f"{zone:02}{band}{properties['mgrs:grid_square']}").name
    match = _TILE_IN_ID.search(str(item.get("id")))
    if match is None:
        raise CatalogError(
            "it has no tile: grid:code, s2:mgrs_tile and mgrs:utm_zone are missing, and its id contains no tile name"
        )
    return mgrs_tiles.parse_tile(match[1].zfill(5)).name


def read_acquisition_time(item: Json) -> datetime:
    """Read the acquisition time (UTC)."""
    properties = item["properties"]
    return _parse_time(properties.get("datetime") or properties["start_datetime"])


def read_baseline(item: Json) -> str | None:
    """Read the processing baseline such as '05.09'; return None if neither properties nor product names state it."""
    properties = item["properties"]
    stated = properties.get("s2:processing_baseline") or properties.get("processing:version")
    for text in (stated, properties.get("s2:product_uri"), properties.get("s2:datatake_id"), item.get("id")):
        match = _PROCESSING_BASELINE.search(str(text or ""))
        if match:
            return f"{match[1]}.{match[2]}"
    return None


def determine_dn_offset(item: Json) -> Literal[0, -1000]:
    """Determine the radiometric offset (BOA_ADD_OFFSET) to add to the digital numbers (DN).

    Products of baseline 04.00 and later are stored with +1000; some catalogs have removed that. The first rule that
    applies decides (docs/reference/catalogs.md lists the sources):

    1. Baseline below 04.00: 0.
    2. JPEG2000, that is ESA's own DN, regardless of `earthsearch:boa_offset_applied`: -1000.
    3. `earthsearch:boa_offset_applied` true: 0, although Earth Search leaves `raster:bands` at offset -0.1.
    4. The flag false: -1000. Exception: Earth Search corrects its COGs since 2022-02-27 without always setting the
       flag; those of products generated since then: 0.
    5. An offset of 0 or -0.1 stated by the red asset: 0 or -1000.
    6. Baseline 04.00 or later, nothing stated (Planetary Computer): -1000.

    Returns:
        0, or -1000 if the DN still contain the +1000.

    Raises:
        CatalogError: If the stated offset is another one, or no rule applies.
    """
    version = read_baseline(item)
    red = _find_band_asset(item, "red")
    href = str(red["href"])
    flag = item["properties"].get("earthsearch:boa_offset_applied")
    if version is not None and version < _FIRST_BASELINE_WITH_OFFSET:
        return 0
    if version is not None and href.partition("?")[0].endswith(".jp2"):
        return -1000
    if isinstance(flag, bool):
        late = "sentinel-cogs" in href and _read_generation_time(item) >= _EARTH_SEARCH_CORRECTS_SINCE
        return 0 if flag or late else -1000
    stated = _read_stated_offset(red)
    if stated is not None:
        return stated
    if version is None:
        raise CatalogError(
            "the DN offset is unknown: s2:processing_baseline and the offset of its red band are missing"
        )
    return -1000


def _read_stated_offset(asset: Json) -> Literal[0, -1000] | None:
    """Read the offset from raster:bands (STAC 1.0) or raster:offset (STAC 1.1)."""
    bands = asset.get("raster:bands") or asset.get("bands") or [{}]
    offset = asset.get("raster:offset", bands[0].get("offset", bands[0].get("raster:offset")))
    if offset is None:
        return None
    if round(offset * 10_000) not in {0, -1000}:
        raise CatalogError(f"the offset of its red band is {offset}; expected 0 or -0.1")
    return 0 if round(offset * 10_000) == 0 else -1000


def group_processings(granules: Iterable[Granule]) -> list[list[Scene]]:
    """Group scenes by acquisition, the newest processing (baseline, then generation time) of each group first.

    Two granules of a tile are the same acquisition if their platforms agree and their datastrips start within 10 s.
    So both halves of a granule that was split between ground stations remain, and so do different orbits of one day.
    If the datastrip's start is not stated, the acquisition time (within 10 s) or the same day and relative orbit
    decides.

    Returns:
        Groups sorted by acquisition time and id of their newest scene.
    """
    groups: list[list[Granule]] = []
    for granule in sorted(granules, key=lambda each: (each.scene.processed, each.scene.id), reverse=True):
        group = next((group for group in groups if _is_same_acquisition(granule, group[0])), None)
        if group is None:
            groups.append([granule])
        else:
            group.append(granule)
    scenes = [[each.scene for each in group] for group in groups]
    return sorted(scenes, key=lambda group: (group[0].datetime, group[0].id))


def _is_same_acquisition(one: Granule, other: Granule) -> bool:
    a, b = one.scene, other.scene
    if (a.tile, a.platform) != (b.tile, b.platform):
        return False
    if one.datastrip_start is not None and other.datastrip_start is not None:
        return abs(one.datastrip_start - other.datastrip_start) <= _SAME_ACQUISITION_TOLERANCE
    same_pass = a.orbit is not None and a.orbit == b.orbit and a.date == b.date
    return same_pass or abs(a.datetime - b.datetime) <= _SAME_ACQUISITION_TOLERANCE


def _find_band_asset(item: Json, band: str) -> Json:
    for key in _BAND_ASSET_KEYS[band]:
        if key in item["assets"]:
            asset: Json = item["assets"][key]
            return asset
    found = ", ".join(sorted(item["assets"])) or "none"
    keys = ", ".join(_BAND_ASSET_KEYS[band])
    raise CatalogError(f"band {band} is missing: expected one of the assets {keys}; found {found[:200]}")


def _find_preview(item: Json, base: str, origin: Origin, remote: bool) -> str | None:
    """Return the best preview on the same side (local or remote) as the bands: a local copy must not need a network."""
    for key in _PREVIEW_ASSET_KEYS:
        asset = item["assets"].get(key)
        if asset is None or not str(asset.get("type")).startswith(_PREVIEW_MEDIA_TYPES):
            continue
        alternate = asset.get("alternate", {}).get("s3", {})  # CDSE: its https thumbnails need a login
        href = origin.resolve(alternate.get("href") or asset["href"], base)
        if is_remote(href) == remote:
            return href
    return None


def _read_cloud_cover(properties: Json) -> float:
    cover = properties.get("eo:cloud_cover")
    if isinstance(cover, bool) or not isinstance(cover, int | float) or not 0 <= cover <= 100 or math.isnan(cover):
        raise CatalogError(f"its eo:cloud_cover is {cover!r}; expected a percentage (0 to 100)")
    return float(cover)


def _read_nodata_percentage(properties: Json) -> float | None:
    part = properties.get("s2:nodata_pixel_percentage")
    if isinstance(part, bool) or not isinstance(part, int | float) or not 0 <= part <= 100:
        return None
    return float(part)


def _read_relative_orbit(item: Json) -> int | None:
    stated = item["properties"].get("sat:relative_orbit")
    if isinstance(stated, int):
        return stated
    match = _RELATIVE_ORBIT.search(f"{item['properties'].get('s2:product_uri')} {item.get('id')}")
    return int(match[1]) if match else None


def _read_datastrip_start(item: Json) -> datetime | None:
    properties = item["properties"]
    match = _DATASTRIP_START.search(str(properties.get("s2:datastrip_id") or properties.get("eopf:datastrip_id")))
    return _parse_time(match[1]) if match else None


def _read_generation_time(item: Json) -> datetime:
    """Read the time at which ESA generated the product; fall back to the item's creation, then to the acquisition."""
    properties = item["properties"]
    for key in ("s2:generation_time", "processing:datetime", "created"):
        if properties.get(key):
            return _parse_time(properties[key])
    return read_acquisition_time(item)


def _parse_time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)

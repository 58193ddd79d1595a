"""Items of any provider to scenes: tile name, bands, DN offset, and which of several processings is the newest.

Items are read as plain JSON and checked field by field, because catalogs are written by others: what is wrong with one
becomes a CatalogError that names it, and the item is left out.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from s2ops.catalog.hrefs import Origin, is_remote
from s2ops.catalog.scene import Scene
from s2ops.constants import BANDS
from s2ops.errors import CatalogError, GridError
from s2ops.geo import mgrs_tiles

Json = Mapping[str, Any]

MALFORMED: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What JSON of an unexpected shape raises where it is read as if it had the right one."""

_ASSETS: Final = {  # Earth Search, Planetary Computer, CDSE
    "red": ("red", "B04", "B04_10m"),
    "green": ("green", "B03", "B03_10m"),
    "blue": ("blue", "B02", "B02_10m"),
    "nir": ("nir", "B08", "B08_10m"),
}
_PREVIEWS: Final = ("preview", "thumbnail", "visual", "TCI_10m")
"""Best first: ESA's 343 x 343 PVI without loss, the same as JPEG, the true-colour image with its overviews."""
_PREVIEW_TYPES: Final = ("image/jpeg", "image/jpg", "image/png", "image/tiff", "image/jp2")

_ID: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
_TILE_IN_ID: Final = re.compile(r"(?:^|[_-])T?(\d{1,2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V])(?=[_-]|$)")
_STRIP: Final = re.compile(r"_S(\d{8}T\d{6})")
_ORBIT: Final = re.compile(r"_R(\d{3})_")
_BASELINE: Final = re.compile(r"(?:_N|^)(\d{2})\.?(\d{2})(?=_|$)")

_FIRST_WITH_OFFSET: Final = "04.00"
_EARTH_SEARCH_CORRECTS_SINCE: Final = datetime(2022, 2, 27, tzinfo=UTC)
_SAME_STRIP: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Granule:
    """A scene and what tells it from other processings of the same pixels."""

    scene: Scene
    strip: datetime | None
    """Start of its datastrip: the two halves of a granule cut between ground stations differ in it."""


def granule_of(item: Json, base: str, origin: Origin) -> Granule:
    """The scene of an item that was read from `base`; a CatalogError names the item and what is wrong."""
    name = item.get("id")
    if not isinstance(name, str) or not _ID.fullmatch(name) or name == "acquired" or name.endswith(".mask"):
        raise CatalogError(
            "its id is unsafe as a file name: take 1 to 200 of A-Z a-z 0-9 . _ - with no dot first; "
            "'acquired' and '.mask' at the end are ours"
        )
    try:
        return Granule(_scene(name, item, base, origin), _strip(item))
    except (CatalogError, GridError) as error:
        raise CatalogError(f"item {name}: {error}") from error
    except MALFORMED as error:
        raise CatalogError(f"item {name} is malformed: {type(error).__name__} {error}") from error


def _scene(name: str, item: Json, base: str, origin: Origin) -> Scene:
    properties = item["properties"]
    bands = tuple((band, origin.resolve(_band(item, band)["href"], base)) for band in BANDS)
    return Scene(
        id=name,
        tile=tile_of(item),
        datetime=acquired(item),
        platform=str(properties.get("platform") or "sentinel-2").lower(),
        cloud_cover=_cloud_cover(properties),
        bands=bands,
        preview=_preview(item, base, origin, is_remote(bands[0][1])),
        offset=dn_offset(item),
        processed=f"{baseline(item) or '00.00'} {_generated(item):%Y-%m-%dT%H:%M:%SZ}",
        orbit=_orbit(item),
        nodata=_nodata(properties),
    )


def tile_of(item: Json) -> str:
    """The tile name: from grid:code, s2:mgrs_tile, mgrs:*, or the id, in this order."""
    properties = item["properties"]
    code = properties.get("grid:code")
    if isinstance(code, str) and code.startswith("MGRS-"):
        return mgrs_tiles.tile(code.removeprefix("MGRS-").zfill(5)).name
    if isinstance(properties.get("s2:mgrs_tile"), str):
        return mgrs_tiles.tile(properties["s2:mgrs_tile"]).name
    if "mgrs:utm_zone" in properties:
        zone, band = int(properties["mgrs:utm_zone"]), properties["mgrs:latitude_band"]
        return mgrs_tiles.tile(f"{zone:02}{band}{properties['mgrs:grid_square']}").name
    match = _TILE_IN_ID.search(str(item.get("id")))
    if match is None:
        raise CatalogError("no tile: it has none of grid:code, s2:mgrs_tile, mgrs:utm_zone, and its id names none")
    return mgrs_tiles.tile(match[1].zfill(5)).name


def acquired(item: Json) -> datetime:
    """Acquisition time, UTC."""
    properties = item["properties"]
    return _time(properties.get("datetime") or properties["start_datetime"])


def baseline(item: Json) -> str | None:
    """Processing baseline such as '05.09', or None where neither properties nor product names say it."""
    properties = item["properties"]
    stated = properties.get("s2:processing_baseline") or properties.get("processing:version")
    for text in (stated, properties.get("s2:product_uri"), properties.get("s2:datatake_id"), item.get("id")):
        match = _BASELINE.search(str(text or ""))
        if match:
            return f"{match[1]}.{match[2]}"
    return None


def dn_offset(item: Json) -> Literal[0, -1000]:
    """What to add to the DN: 0, or -1000 where they still carry the +1000 of baselines 04.00 and later.

    The first rule that applies decides (docs/reference/catalogs.md has the sources):

    1. Baseline below 04.00: 0.
    2. JPEG2000: ESA's own DN, whatever `earthsearch:boa_offset_applied` says: -1000.
    3. `earthsearch:boa_offset_applied` true: 0, although Earth Search leaves `raster:bands` at offset -0.1.
    4. The flag false: -1000; but Earth Search corrects its COGs since 2022-02-27 without always setting the flag: those
       of products generated since then: 0.
    5. An offset stated by the red asset: 0 or -0.1 as it says.
    6. Baseline 04.00 or later, nothing stated (Planetary Computer): -1000.
    """
    version = baseline(item)
    red = _band(item, "red")
    href = str(red["href"])
    flag = item["properties"].get("earthsearch:boa_offset_applied")
    if version is not None and version < _FIRST_WITH_OFFSET:
        return 0
    if version is not None and href.partition("?")[0].endswith(".jp2"):
        return -1000
    if isinstance(flag, bool):
        late = "sentinel-cogs" in href and _generated(item) >= _EARTH_SEARCH_CORRECTS_SINCE
        return 0 if flag or late else -1000
    stated = _stated_offset(red)
    if stated is not None:
        return stated
    if version is None:
        raise CatalogError("no DN offset: it states neither s2:processing_baseline nor an offset of its red band")
    return -1000


def _stated_offset(asset: Json) -> Literal[0, -1000] | None:
    """Of STAC 1.0's raster:bands or 1.1's raster:offset."""
    bands = asset.get("raster:bands") or asset.get("bands") or [{}]
    offset = asset.get("raster:offset", bands[0].get("offset", bands[0].get("raster:offset")))
    if offset is None:
        return None
    if round(offset * 10_000) not in {0, -1000}:
        raise CatalogError(f"its red band states an offset of {offset}, not 0 or -0.1")
    return 0 if round(offset * 10_000) == 0 else -1000


def newest_processings(granules: Iterable[Granule]) -> tuple[Scene, ...]:
    """One scene per acquisition, the newest processing (baseline, then time), sorted by acquisition time and id.

    Two granules of a tile are the same acquisition if platform and datastrip start (within 10 s) agree; so both halves
    of a granule cut between ground stations stay, and so do different orbits of one day. Where the start is not stated,
    the acquisition time (within 10 s) or the same day and relative orbit decides.
    """
    kept: list[Granule] = []
    for granule in sorted(granules, key=lambda each: (each.scene.processed, each.scene.id), reverse=True):
        if not any(_same_acquisition(granule, other) for other in kept):
            kept.append(granule)
    return tuple(sorted((each.scene for each in kept), key=lambda scene: (scene.datetime, scene.id)))


def _same_acquisition(one: Granule, other: Granule) -> bool:
    a, b = one.scene, other.scene
    if (a.tile, a.platform) != (b.tile, b.platform):
        return False
    if one.strip is not None and other.strip is not None:
        return abs(one.strip - other.strip) <= _SAME_STRIP
    same_pass = a.orbit is not None and a.orbit == b.orbit and a.date == b.date
    return same_pass or abs(a.datetime - b.datetime) <= _SAME_STRIP


def _band(item: Json, band: str) -> Json:
    for key in _ASSETS[band]:
        if key in item["assets"]:
            asset: Json = item["assets"][key]
            return asset
    found = ", ".join(sorted(item["assets"])) or "none"
    raise CatalogError(f"band {band} is missing: it has none of {', '.join(_ASSETS[band])}, but {found[:200]}")


def _preview(item: Json, base: str, origin: Origin, remote: bool) -> str | None:
    """The best preview that lies where the bands do: a mirrored scene must not need the network for its thumbnail."""
    for key in _PREVIEWS:
        asset = item["assets"].get(key)
        if asset is None or not str(asset.get("type")).startswith(_PREVIEW_TYPES):
            continue
        alternate = asset.get("alternate", {}).get("s3", {})  # CDSE: its https thumbnails ask for a login
        href = origin.resolve(alternate.get("href") or asset["href"], base)
        if is_remote(href) == remote:
            return href
    return None


def _cloud_cover(properties: Json) -> float:
    cover = properties.get("eo:cloud_cover")
    if isinstance(cover, bool) or not isinstance(cover, int | float) or not 0 <= cover <= 100 or math.isnan(cover):
        raise CatalogError(f"its eo:cloud_cover is {cover!r}, not a percentage")
    return float(cover)


def _nodata(properties: Json) -> float | None:
    part = properties.get("s2:nodata_pixel_percentage")
    if isinstance(part, bool) or not isinstance(part, int | float) or not 0 <= part <= 100:
        return None
    return float(part)


def _orbit(item: Json) -> int | None:
    stated = item["properties"].get("sat:relative_orbit")
    if isinstance(stated, int):
        return stated
    match = _ORBIT.search(f"{item['properties'].get('s2:product_uri')} {item.get('id')}")
    return int(match[1]) if match else None


def _strip(item: Json) -> datetime | None:
    properties = item["properties"]
    match = _STRIP.search(str(properties.get("s2:datastrip_id") or properties.get("eopf:datastrip_id")))
    return _time(match[1]) if match else None


def _generated(item: Json) -> datetime:
    """When ESA made the product; else when the item came to be, else the acquisition."""
    properties = item["properties"]
    for key in ("s2:generation_time", "processing:datetime", "created"):
        if properties.get(key):
            return _time(properties[key])
    return acquired(item)


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)

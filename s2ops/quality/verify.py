"""Read a finished run again and say everything that is wrong with it, all findings at once.

Three layers: the files (present, complete, nothing left over), the records (STAC validity, checksums, lineage, seams),
and the pixels (`s2ops/quality/verify_pixels.py`). Nothing is repaired and nothing is written.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import PurePosixPath
from typing import Any, Final, TypeAlias

import pystac
import pystac.validation

from s2ops.errors import InputError
from s2ops.publishing.stac_item import extract_sha256
from s2ops.quality.findings import Finding, make_error, make_warning
from s2ops.quality.verify_pixels import check_pixels
from s2ops.records import AcquireRecord, SelectRecord
from s2ops.storage import layout
from s2ops.storage.object_store import Store

Json: TypeAlias = dict[str, Any]

MAX_SEAM_EXCESS: Final = 1.25
"""A step across a former edge above this multiple of the landscape's own steps can be seen."""

MIN_ENERGY_KEPT: Final = 0.9
"""Part of the gradient energy that must be left where tiles are blended: less is blur, or two dates in one place."""

_UNFINISHED: Final = re.compile(r"#\d+$|\.(tmp|part|plain\.tif)$")
_FROM_LOOKING: Final = ".aux.xml"
"""What QGIS and GDAL leave beside a raster that somebody looked at: its statistics."""


def verify(store: Store, max_seam: float = MAX_SEAM_EXCESS, pixels: bool = True) -> list[Finding]:
    """All findings of a run, errors first, then by key; an empty list is a clean run. Memory: row slabs.

    `max_seam`: largest excess step across an edge after blending. `pixels`: read all pixels too; without, only files
    and records are looked at.
    """
    keys = store.keys()
    findings = [
        *_find_leftovers(store, keys),
        *_check_plan(store, keys),
        *_check_scenes(store, keys),
        *_check_catalog(store, keys),
    ]
    run = _RunIndex(store, frozenset(keys))
    for key in keys:
        if parsed := layout.parse_item_key(key):
            findings += _check_item(run, key, parsed[0], max_seam, pixels)
    return sorted(set(findings))


def compute_sha256(store: Store, key: str) -> str:
    """SHA-256 of an object, hex; it is read in pieces."""
    found = hashlib.sha256()
    for piece in store.pieces(key):
        found.update(piece)
    return found.hexdigest()


@dataclass(frozen=True)
class _RunIndex:
    """What checking one tile needs of all others: read once, so that the time grows with the tiles and no faster."""

    store: Store
    there: frozenset[str]
    """All keys."""

    @cached_property
    def neighbours(self) -> dict[str, list[str]]:
        """Of each planned tile."""
        return dict((_json(self.store, layout.PLAN) or {}).get("tiles", {}))

    @cached_property
    def composite(self) -> Callable[[str], str | None]:
        """The fingerprint of a tile's composite; None where that is missing or has none."""

        def read(tile: str) -> str | None:
            item = _json(self.store, layout.TileKeys(tile).get_item("composite")) or {}
            found = item.get("properties", {}).get("s2ops:fingerprint")
            return None if found is None else str(found)

        return lru_cache(maxsize=None)(read)


def _check_item(run: _RunIndex, key: str, kind: str, max_seam: float, pixels: bool) -> Iterator[Finding]:
    item = _json(run.store, key)
    if item is None:
        yield make_error(key, "is no JSON object; run again, and the step that writes it starts over")
        return
    yield from _check_stac(key, item)
    intact = True
    for name, asset in sorted(item.get("assets", {}).items()):
        found = list(_check_asset(run, key, name, asset))
        intact = intact and not found
        yield from found
    if kind == "composite":
        yield from _check_patch_borders(key, item, max_seam)
    if kind == "mosaic":
        yield from _check_lineage(run, key, item)
        yield from _check_seams(run, key, item, max_seam)
    if intact and pixels:  # the pixels of a file that is missing or altered say nothing more
        yield from check_pixels(run.store, key, kind, item)


def _check_stac(key: str, value: Json) -> Iterator[Finding]:
    """The core schema of STAC, which pystac carries; the extensions' schemas would need the network."""
    try:
        pystac.validation.validate_dict(value, extensions=[])
    except pystac.STACValidationError as invalid:
        causes = [f"{'/'.join(map(str, each.absolute_path)) or 'top'}: {each.message}" for each in invalid.source or ()]
        yield make_error(key, f"is not valid STAC: {'; '.join(causes)[:300]}")
    except (pystac.STACTypeError, pystac.STACError, KeyError, ValueError) as broken:
        yield make_error(key, f"is not valid STAC: {broken}")


def _check_asset(run: _RunIndex, key: str, name: str, asset: Json) -> Iterator[Finding]:
    target = _resolve(key, str(asset.get("href", "")))
    stated = extract_sha256(asset)
    if stated is None:
        yield make_error(key, f"asset {name} states no SHA-256 checksum")
    if target not in run.there:
        yield make_error(target, f"is missing; asset {name} of {key} points to it")
    elif stated is not None and (found := compute_sha256(run.store, target)) != stated:
        yield make_error(target, f"does not match its checksum: SHA-256 {found[:12]}..., {key} says {stated[:12]}...")


def _check_lineage(run: _RunIndex, key: str, item: Json) -> Iterator[Finding]:
    """Each composite that the mosaic says it was blended from is the one that lies there now."""
    for tile, stated in sorted(item["properties"].get("s2ops:composites", {}).items()):
        source = layout.TileKeys(tile).get_item("composite")
        found = run.composite(tile)
        if found is None:
            yield make_error(key, f"was blended from {source}, which is missing or without fingerprint")
        elif found != stated:
            yield make_error(
                key, f"was blended from another {source}: fingerprint {stated[:12]}..., now {found[:12]}..."
            )


def _check_seams(run: _RunIndex, key: str, item: Json, max_seam: float) -> Iterator[Finding]:
    seams = {seam["neighbour"]: seam for seam in item["properties"].get("s2ops:seams", [])}
    tile = key.split("/")[1]
    for neighbour in run.neighbours.get(tile, []):
        # a neighbour that some step failed for has no composite: the tile was rightly blended without it
        if neighbour not in seams and layout.TileKeys(neighbour).get_item("composite") in run.there:
            yield make_error(key, f"states no seam figures for its edge with {neighbour}")
    for neighbour, seam in sorted(seams.items()):
        before, after = seam.get("before"), seam.get("after")
        if before and not after:
            yield make_error(key, f"states the seam with {neighbour} before blending but not after")
        elif after and after["excess"] > max_seam:
            yield make_error(
                key,
                f"has a visible seam with {neighbour}: its step is {after['excess']:.2f} times that of the landscape, "
                f"the limit is {max_seam:g}",
            )

    kept = item["properties"].get("s2ops:energy_kept")
    if kept is not None and kept < MIN_ENERGY_KEPT:
        yield make_error(
            key, f"is blurred where tiles overlap: {kept:.2f} of the gradient energy is left, not {MIN_ENERGY_KEPT:g}"
        )


def _check_patch_borders(key: str, item: Json, max_seam: float) -> Iterator[Finding]:
    """The borders between the scenes of a composite; at coarse pixels a fade of 300 m is too short to hide them all."""
    found = item["properties"].get("s2ops:patches")
    if found and found["excess"] > max_seam:
        step = f"its step is {found['excess']:.2f} times that of the landscape, the limit is {max_seam:g}"
        yield make_warning(key, f"shows where one scene gives way to another: {step}")


def _check_plan(store: Store, keys: Sequence[str]) -> Iterator[Finding]:
    """Every planned tile has its products."""
    plan = _json(store, layout.PLAN)
    if plan is None:
        yield make_error(layout.PLAN, "is missing or no JSON object: this folder holds no run of s2ops")
        return
    landcover = plan.get("config", {}).get("landcover", {}).get("enabled", True)
    products = ("composite", "mosaic", *(("landcover",) if landcover else ()))
    there = set(keys)
    for tile in sorted(plan.get("tiles", {})):
        for key in (layout.TileKeys(tile).get_item(product) for product in products):
            if key not in there:
                yield make_error(key, "is missing: the tile is planned but not done; run again")
    if layout.CATALOG not in there:
        yield make_error(layout.CATALOG, "is missing: the run is not published; run again")


def _check_scenes(store: Store, keys: Sequence[str]) -> Iterator[Finding]:
    """The records of select and acquire can be read, and acquired scenes match their checksums."""
    there = set(keys)
    for key in keys:
        try:
            if tile := layout.parse_selection_key(key):
                candidates = SelectRecord.read(store.get(key) or b"", key).candidates
                if candidates and (previews := layout.TileKeys(tile).previews) not in there:
                    yield make_error(previews, f"is missing beside {key}")
            elif tile := layout.parse_acquired_key(key):
                record = AcquireRecord.read(store.get(key) or b"", key)
                for scene in (*record.scenes, *record.series):
                    files = layout.SceneKeys(tile, scene.id)
                    yield from _check_checksum(store, there, files.image, scene.image_sha256, key)
                    yield from _check_checksum(store, there, files.mask, scene.mask_sha256, key)
        except InputError as broken:
            yield make_error(key, str(broken))


def _check_checksum(store: Store, there: set[str], key: str, stated: str, record: str) -> Iterator[Finding]:
    if key not in there:
        yield make_error(key, f"is missing; {record} lists it")
    elif (found := compute_sha256(store, key)) != stated:
        yield make_error(key, f"does not match its checksum: SHA-256 {found[:12]}..., {record} says {stated[:12]}...")


def _check_catalog(store: Store, keys: Sequence[str]) -> Iterator[Finding]:
    """The catalog and collections are valid, their links end at files, and every product's item is linked."""
    there = set(keys)
    for key in (layout.CATALOG, *map(layout.get_collection_key, ("mosaic", "landcover"))):
        if key not in there:
            continue
        value = _json(store, key)
        if value is None:
            yield make_error(key, "is no JSON object; run again, and publish writes it anew")
            continue
        yield from _check_stac(key, value)
        targets = {_resolve(key, link["href"]): link["rel"] for link in value.get("links", []) if _is_relative(link)}
        for target, rel in sorted(targets.items()):
            if target not in there:
                yield make_error(key, f"links to {target} as {rel}, which is missing")
        for asset in value.get("assets", {}).values():
            yield from _check_checksum(store, there, _resolve(key, asset["href"]), extract_sha256(asset) or "", key)
        if key != layout.CATALOG:
            kind = key.split("/", maxsplit=1)[0]
            for item in (each for each in keys if (parsed := layout.parse_item_key(each)) and parsed[0] == kind):
                if item not in targets:
                    yield make_error(key, f"does not link {item}: publish again")


def _find_leftovers(store: Store, keys: Sequence[str]) -> Iterator[Finding]:
    """Files that no step names, and data without the item that would make it count."""
    there = set(keys)
    on_disk = set() if store.folder is None else {p for p in store.folder.rglob("*") if p.is_file()}
    names = there | {str(PurePosixPath(p.relative_to(store.folder))) for p in on_disk if store.folder}
    for key in sorted(names):
        if key.endswith(_FROM_LOOKING):
            continue
        if _UNFINISHED.search(key):
            yield make_error(key, "is a temporary file that a run left behind; delete it")
        elif not layout.is_known(key):
            yield make_warning(key, "is not a file that s2ops writes")
        elif layout.is_product_raster(key):
            marker = f"{key.rsplit('/', 1)[0]}/item.json"
            if marker not in there:
                yield make_error(key, f"has no {marker} beside it: the step was stopped; run again")


def _json(store: Store, key: str) -> Json | None:
    try:
        parsed = json.loads(store.get(key) or b"")
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _is_relative(link: Json) -> bool:
    return "://" not in link["href"]


def _resolve(key: str, href: str) -> str:
    """The key that a relative href in the object at `key` points to."""
    parts: list[str] = list(PurePosixPath(key).parent.parts)
    for part in PurePosixPath(href).parts:
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    return "/".join(parts)

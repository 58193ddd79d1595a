"""Verification (validation, integrity check) of a finished run: all findings at once, nothing is repaired or written.

Three levels: files (present, complete, none left over), records (STAC validity, checksums, lineage, seams), and pixels
(`s2ops/quality/verify_pixels.py`).
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import PurePosixPath
from typing import Final

import pystac
import pystac.validation

from s2ops.constants import Json
from s2ops.errors import InputError
from s2ops.publishing.stac_item import extract_sha256
from s2ops.quality.findings import Finding, make_error, make_warning
from s2ops.quality.verify_pixels import check_pixels
from s2ops.records import AcquireRecord, SelectRecord
from s2ops.storage import layout
from s2ops.storage.done_marker import read_json
from s2ops.storage.object_store import Store, is_url

MAX_SEAM_EXCESS: Final = 1.25
"""Maximum step across a former edge, as a multiple of the steps in the landscape; a larger step is visible."""

MIN_ENERGY_KEPT: Final = 0.9
"""Minimum fraction of the gradient energy after blending; less indicates blur, or two dates blended in one area."""

_TEMPORARY: Final = re.compile(r"#\d+$|\.(tmp|part|plain\.tif)$")
"""Endings of the temporary files of a run."""

_GDAL_STATISTICS: Final = ".aux.xml"
"""Ending of the files in which QGIS and GDAL keep the statistics of a raster that was opened; they are ignored."""


def verify(store: Store, max_seam: float = MAX_SEAM_EXCESS, pixels: bool = True) -> list[Finding]:
    """Verify a run. Rasters are read in row slabs.

    Args:
        store: Store of the run. A folder that does not exist is reported and not created.
        max_seam: Maximum excess of an edge after blending.
        pixels: Read all pixels; otherwise only files and records are checked.

    Returns:
        Findings, errors first, then by key; empty if the run is correct.
    """
    if store.folder is not None and not store.folder.is_dir():  # any access to the store would create the folder
        return [make_error(store.uri, "does not exist; give the `out` of a run")]
    keys = store.list_keys()
    findings = [
        *_find_leftovers(store, keys),
        *_check_plan(store, keys),
        *_check_scenes(store, keys),
        *_check_catalog(store, keys),
    ]
    run = _RunIndex(store, frozenset(keys))
    for key in keys:
        if parsed := layout.parse_item_key(key):
            findings += _check_item(run, key, *parsed, max_seam, pixels)
    return sorted(set(findings))


def compute_object_sha256(store: Store, key: str) -> str:
    """Compute the SHA-256 (hex) of an object, which is read in chunks."""
    found = hashlib.sha256()
    for chunk in store.stream(key):
        found.update(chunk)
    return found.hexdigest()


@dataclass(frozen=True)
class _RunIndex:
    """Facts about all tiles that the check of one tile needs, read once so that time grows linearly with the tiles."""

    store: Store
    keys: frozenset[str]
    """All keys of the run."""

    @cached_property
    def neighbours(self) -> dict[str, list[str]]:
        """Neighbours of each planned tile."""
        return dict((read_json(self.store, layout.PLAN) or {}).get("tiles", {}))

    @cached_property
    def read_composite_fingerprint(self) -> Callable[[str], str | None]:
        """Cached function that reads the fingerprint of a tile's composite; None if there is none."""

        def read(tile: str) -> str | None:
            item = read_json(self.store, layout.TileKeys(tile).get_item("composite")) or {}
            found = item.get("properties", {}).get("s2ops:fingerprint")
            return None if found is None else str(found)

        return lru_cache(maxsize=None)(read)


def _check_item(run: _RunIndex, key: str, product: str, tile: str, max_seam: float, pixels: bool) -> Iterator[Finding]:
    """Check the item of a tile and its rasters."""
    item = read_json(run.store, key)
    if item is None:
        yield make_error(key, "is not a JSON object; run again, and the step that writes it is repeated")
        return
    yield from _check_stac(key, item)
    intact = True
    for name, asset in sorted(item.get("assets", {}).items()):
        found = list(_check_asset(run, key, name, asset))
        intact = intact and not found
        yield from found
    if product == "composite":
        yield from _check_patch_borders(key, item, max_seam)
    if product == "mosaic":
        yield from _check_lineage(run, key, item)
        yield from _check_seams(run, key, tile, item, max_seam)
    if intact and pixels:  # findings about the pixels of a missing or changed file would add nothing
        yield from check_pixels(run.store, product, tile, item)


def _check_stac(key: str, value: Json) -> Iterator[Finding]:
    """Validate against the core schema of STAC, which pystac contains; extension schemas would need the network."""
    try:
        pystac.validation.validate_dict(value, extensions=[])
    except pystac.STACValidationError as invalid:
        causes = [f"{'/'.join(map(str, each.absolute_path)) or 'top'}: {each.message}" for each in invalid.source or ()]
        yield make_error(key, f"is not valid STAC: {'; '.join(causes)[:300]}")
    except (pystac.STACTypeError, pystac.STACError, KeyError, ValueError) as broken:
        yield make_error(key, f"is not valid STAC: {broken}")


def _check_asset(run: _RunIndex, key: str, name: str, asset: Json) -> Iterator[Finding]:
    """Check that the file of an asset exists and matches its checksum."""
    target = _resolve_href(key, str(asset.get("href", "")))
    stated = extract_sha256(asset)
    if stated is None:
        yield make_error(key, f"has no SHA-256 checksum for asset {name}")
    if target not in run.keys:
        yield make_error(target, f"is missing; asset {name} of {key} refers to it")
    elif stated is not None and (found := compute_object_sha256(run.store, target)) != stated:
        yield make_error(
            target, f"does not match its checksum: SHA-256 is {found[:12]}..., not {stated[:12]}... ({key})"
        )


def _check_lineage(run: _RunIndex, key: str, item: Json) -> Iterator[Finding]:
    """Check that the composites from which a mosaic was blended are the current ones."""
    for tile, stated in sorted(item["properties"].get("s2ops:composites", {}).items()):
        source = layout.TileKeys(tile).get_item("composite")
        found = run.read_composite_fingerprint(tile)
        if found is None:
            yield make_error(key, f"was blended from {source}, which is missing or has no fingerprint")
        elif found != stated:
            yield make_error(
                key, f"was blended from another version of {source}: {stated[:12]}..., now {found[:12]}...; run again"
            )


def _check_seams(run: _RunIndex, key: str, tile: str, item: Json, max_seam: float) -> Iterator[Finding]:
    """Check the seam metrics of a mosaic towards all neighbours, and its sharpness."""
    seams = {seam["neighbour"]: seam for seam in item["properties"].get("s2ops:seams", [])}
    for neighbour in run.neighbours.get(tile, []):
        # a neighbour without composite (a step failed) is correctly left out of the blending
        if neighbour not in seams and layout.TileKeys(neighbour).get_item("composite") in run.keys:
            yield make_error(key, f"has no seam metrics for its edge with {neighbour}")
    for neighbour, seam in sorted(seams.items()):
        before, after = seam.get("before"), seam.get("after")
        if before and not after:
            yield make_error(key, f"has seam metrics for {neighbour} before blending, but none after it")
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
    """Check the borders between the scenes of a composite; at coarse pixels a fade of 300 m cannot hide all of them."""
    found = item["properties"].get("s2ops:patches")
    if found and found["excess"] > max_seam:
        step = f"their step is {found['excess']:.2f} times that of the landscape, the limit is {max_seam:g}"
        yield make_warning(key, f"has visible borders between scenes: {step}")


def _check_plan(store: Store, keys: Sequence[str]) -> Iterator[Finding]:
    """Check that every planned tile has its products."""
    plan = read_json(store, layout.PLAN)
    if plan is None:
        yield make_error(layout.PLAN, "is missing or not a JSON object: this folder does not contain a run of s2ops")
        return
    landcover = plan.get("config", {}).get("landcover", {}).get("enabled", True)
    products = ("composite", "mosaic", *(("landcover",) if landcover else ()))
    existing = set(keys)
    for tile in sorted(plan.get("tiles", {})):
        for key in (layout.TileKeys(tile).get_item(product) for product in products):
            if key not in existing:
                yield make_error(key, "is missing: the tile is planned but not finished; run again")
    if layout.CATALOG not in existing:
        yield make_error(layout.CATALOG, "is missing: the run is not published; run again")


def _check_scenes(store: Store, keys: Sequence[str]) -> Iterator[Finding]:
    """Check that the records of select and acquire can be read, and that acquired scenes match their checksums."""
    existing = set(keys)
    for key in keys:
        try:
            if tile := layout.parse_selection_key(key):
                candidates = SelectRecord.read(store.get(key) or b"", key).candidates
                if candidates and (previews := layout.TileKeys(tile).previews) not in existing:
                    yield make_error(previews, f"is missing beside {key}")
            elif tile := layout.parse_acquired_key(key):
                record = AcquireRecord.read(store.get(key) or b"", key)
                for scene in (*record.scenes, *record.series):
                    files = layout.SceneKeys(tile, scene.id)
                    yield from _check_checksum(store, existing, files.image, scene.image_sha256, key)
                    yield from _check_checksum(store, existing, files.mask, scene.mask_sha256, key)
        except InputError as broken:
            yield make_error(key, str(broken))


def _check_checksum(store: Store, existing: set[str], key: str, stated: str, record: str) -> Iterator[Finding]:
    """Check that a file exists and has the checksum that a record states."""
    if key not in existing:
        yield make_error(key, f"is missing; {record} lists it")
    elif (found := compute_object_sha256(store, key)) != stated:
        yield make_error(
            key, f"does not match its checksum: SHA-256 is {found[:12]}..., not {stated[:12]}... ({record})"
        )


def _check_catalog(store: Store, keys: Sequence[str]) -> Iterator[Finding]:
    """Check that catalog and collections are valid, their links have targets, and all items are linked."""
    existing = set(keys)
    collections = {layout.get_collection_key(product): product for product in ("mosaic", "landcover")}
    for key in (layout.CATALOG, *collections):
        if key not in existing:
            continue
        value = read_json(store, key)
        if value is None:
            yield make_error(key, "is not a JSON object; run again, and publish writes it again")
            continue
        yield from _check_stac(key, value)
        links = [link for link in value.get("links", []) if _is_relative(link)]
        targets = {_resolve_href(key, link["href"]): link["rel"] for link in links}
        for target, rel in sorted(targets.items()):
            if target not in existing:
                yield make_error(key, f"links to {target} as {rel}, which is missing")
        for asset in value.get("assets", {}).values():
            target = _resolve_href(key, asset["href"])
            yield from _check_checksum(store, existing, target, extract_sha256(asset) or "", key)
        if product := collections.get(key):
            for item in (each for each in keys if (parsed := layout.parse_item_key(each)) and parsed[0] == product):
                if item not in targets:
                    yield make_error(key, f"does not link to {item}; publish again")


def _find_leftovers(store: Store, keys: Sequence[str]) -> Iterator[Finding]:
    """Find files that no step writes, and rasters without the item that completes them."""
    existing = set(keys)
    on_disk = set() if store.folder is None else {p for p in store.folder.rglob("*") if p.is_file()}
    names = existing | {str(PurePosixPath(p.relative_to(store.folder))) for p in on_disk if store.folder}
    for key in sorted(names):
        if key.endswith(_GDAL_STATISTICS):
            continue
        if _TEMPORARY.search(key):
            yield make_error(key, "is a temporary file of a run that was stopped; delete it")
        elif not layout.is_known(key):
            yield make_warning(key, "is not a file that s2ops writes")
        elif layout.is_product_raster(key):
            product, tile = PurePosixPath(key).parts[:2]
            item = layout.TileKeys(tile).get_item(product)
            if item not in existing:
                yield make_error(key, f"has no {item} beside it: the step was stopped; run again")


def _is_relative(link: Json) -> bool:
    """Return True if a link refers to a file of the run."""
    return not is_url(link["href"])


def _resolve_href(key: str, href: str) -> str:
    """Resolve a relative href in the object at `key` to a key."""
    parts: list[str] = list(PurePosixPath(key).parent.parts)
    for part in PurePosixPath(href).parts:
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    return "/".join(parts)

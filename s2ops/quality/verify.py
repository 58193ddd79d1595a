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
from s2ops.publishing.stac_item import sha256_of
from s2ops.quality.findings import Finding, error, warning
from s2ops.quality.verify_pixels import pixel_findings
from s2ops.records import AcquireRecord, SelectRecord
from s2ops.storage.object_store import Store

Json: TypeAlias = dict[str, Any]

MAX_SEAM: Final = 1.25
"""A step across a former edge above this multiple of the landscape's own steps can be seen."""

MIN_ENERGY: Final = 0.9
"""Part of the gradient energy that must be left where tiles are blended: less is blur, or two dates in one place."""

_TILE, _SCENE = r"\d\d[A-Z]{3}", r"[\w.-]+"
_ITEM: Final = re.compile(rf"(composite|mosaic|landcover)/({_TILE})/item\.json")
_KNOWN: Final = re.compile(
    rf"plan/plan\.json|plan/groups/\w+/\d+\.json|select/{_TILE}(\.base)?\.(json|previews\.tif)"
    rf"|scenes/{_TILE}/{_SCENE}\.(json|tif)|(composite|mosaic)/{_TILE}/(composite|mosaic|provenance|weight)\.tif"
    rf"|landcover/{_TILE}/(landcover|confidence)\.tif|(composite|mosaic|landcover)/{_TILE}/item\.json"
    r"|balance/[\w./-]+\.json|catalog\.json|(mosaic|landcover)/collection\.json|\w+-\d{5}\.vrt"
    r"|\w+\.gti\.gpkg|\w+\.mosaic\.json|areas[\w.-]*\.(csv|parquet)"
    r"|report/[\w./-]+|run/[\w./-]+\.json|publish/[\w./-]+\.json|(scorecard|truth)[\w./-]*\.json"
)
_UNFINISHED: Final = re.compile(r"#\d+$|\.(tmp|part|plain\.tif)$")
_FROM_LOOKING: Final = ".aux.xml"
"""What QGIS and GDAL leave beside a raster that somebody looked at: its statistics."""


def verify(store: Store, max_seam: float = MAX_SEAM, pixels: bool = True) -> list[Finding]:
    """All findings of a run, errors first, then by key; an empty list is a clean run. Memory: row slabs.

    `max_seam`: largest excess step across an edge after blending. `pixels`: read all pixels too; without, only files
    and records are looked at.
    """
    keys = store.keys()
    findings = [*_leftovers(store, keys), *_plan(store, keys), *_scenes(store, keys), *_catalog(store, keys)]
    run = _Run(store, frozenset(keys))
    for key in keys:
        if match := _ITEM.fullmatch(key):
            findings += _item(run, key, match[1], max_seam, pixels)
    return sorted(set(findings))


def digest(store: Store, key: str) -> str:
    """SHA-256 of an object, hex; it is read in pieces."""
    found = hashlib.sha256()
    for piece in store.pieces(key):
        found.update(piece)
    return found.hexdigest()


@dataclass(frozen=True)
class _Run:
    """What checking one tile needs of all others: read once, so that the time grows with the tiles and no faster."""

    store: Store
    there: frozenset[str]
    """All keys."""

    @cached_property
    def neighbours(self) -> dict[str, list[str]]:
        """Of each planned tile."""
        return dict((_json(self.store, "plan/plan.json") or {}).get("tiles", {}))

    @cached_property
    def composite(self) -> Callable[[str], str | None]:
        """The fingerprint of a tile's composite; None where that is missing or has none."""

        def read(tile: str) -> str | None:
            item = _json(self.store, f"composite/{tile}/item.json") or {}
            found = item.get("properties", {}).get("s2ops:fingerprint")
            return None if found is None else str(found)

        return lru_cache(maxsize=None)(read)


def _item(run: _Run, key: str, kind: str, max_seam: float, pixels: bool) -> Iterator[Finding]:
    item = _json(run.store, key)
    if item is None:
        yield error(key, "is no JSON object; run again, and the step that writes it starts over")
        return
    yield from _stac(key, item)
    intact = True
    for name, asset in sorted(item.get("assets", {}).items()):
        found = list(_asset(run, key, name, asset))
        intact = intact and not found
        yield from found
    if kind == "composite":
        yield from _patches(key, item, max_seam)
    if kind == "mosaic":
        yield from _lineage(run, key, item)
        yield from _seams(run, key, item, max_seam)
    if intact and pixels:  # the pixels of a file that is missing or altered say nothing more
        yield from pixel_findings(run.store, key, kind, item)


def _stac(key: str, value: Json) -> Iterator[Finding]:
    """The core schema of STAC, which pystac carries; the extensions' schemas would need the network."""
    try:
        pystac.validation.validate_dict(value, extensions=[])
    except pystac.STACValidationError as invalid:
        causes = [f"{'/'.join(map(str, each.absolute_path)) or 'top'}: {each.message}" for each in invalid.source or ()]
        yield error(key, f"is not valid STAC: {'; '.join(causes)[:300]}")
    except (pystac.STACTypeError, pystac.STACError, KeyError, ValueError) as broken:
        yield error(key, f"is not valid STAC: {broken}")


def _asset(run: _Run, key: str, name: str, asset: Json) -> Iterator[Finding]:
    target = _resolve(key, str(asset.get("href", "")))
    stated = sha256_of(asset)
    if stated is None:
        yield error(key, f"asset {name} states no SHA-256 checksum")
    if target not in run.there:
        yield error(target, f"is missing; asset {name} of {key} points to it")
    elif stated is not None and (found := digest(run.store, target)) != stated:
        yield error(target, f"does not match its checksum: SHA-256 {found[:12]}..., {key} says {stated[:12]}...")


def _lineage(run: _Run, key: str, item: Json) -> Iterator[Finding]:
    """Each composite that the mosaic says it was blended from is the one that lies there now."""
    for tile, stated in sorted(item["properties"].get("s2ops:composites", {}).items()):
        source = f"composite/{tile}/item.json"
        found = run.composite(tile)
        if found is None:
            yield error(key, f"was blended from {source}, which is missing or without fingerprint")
        elif found != stated:
            yield error(key, f"was blended from another {source}: fingerprint {stated[:12]}..., now {found[:12]}...")


def _seams(run: _Run, key: str, item: Json, max_seam: float) -> Iterator[Finding]:
    seams = {seam["neighbour"]: seam for seam in item["properties"].get("s2ops:seams", [])}
    tile = key.split("/")[1]
    for neighbour in run.neighbours.get(tile, []):
        # a neighbour that some step failed for has no composite: the tile was rightly blended without it
        if neighbour not in seams and f"composite/{neighbour}/item.json" in run.there:
            yield error(key, f"states no seam figures for its edge with {neighbour}")
    for neighbour, seam in sorted(seams.items()):
        before, after = seam.get("before"), seam.get("after")
        if before and not after:
            yield error(key, f"states the seam with {neighbour} before blending but not after")
        elif after and after["excess"] > max_seam:
            yield error(
                key,
                f"has a visible seam with {neighbour}: its step is {after['excess']:.2f} times that of the landscape, "
                f"the limit is {max_seam:g}",
            )

    kept = item["properties"].get("s2ops:energy_kept")
    if kept is not None and kept < MIN_ENERGY:
        yield error(
            key, f"is blurred where tiles overlap: {kept:.2f} of the gradient energy is left, not {MIN_ENERGY:g}"
        )


def _patches(key: str, item: Json, max_seam: float) -> Iterator[Finding]:
    """The borders between the scenes of a composite; at coarse pixels a fade of 300 m is too short to hide them all."""
    found = item["properties"].get("s2ops:patches")
    if found and found["excess"] > max_seam:
        step = f"its step is {found['excess']:.2f} times that of the landscape, the limit is {max_seam:g}"
        yield warning(key, f"shows where one scene gives way to another: {step}")


def _plan(store: Store, keys: Sequence[str]) -> Iterator[Finding]:
    """Every planned tile has its products."""
    plan = _json(store, "plan/plan.json")
    if plan is None:
        yield error("plan/plan.json", "is missing or no JSON object: this folder holds no run of s2ops")
        return
    landcover = plan.get("config", {}).get("landcover", {}).get("enabled", True)
    products = ("composite", "mosaic", *(("landcover",) if landcover else ()))
    there = set(keys)
    for tile in sorted(plan.get("tiles", {})):
        for key in (f"{product}/{tile}/item.json" for product in products):
            if key not in there:
                yield error(key, "is missing: the tile is planned but not done; run again")
    if "catalog.json" not in there:
        yield error("catalog.json", "is missing: the run is not published; run again")


def _scenes(store: Store, keys: Sequence[str]) -> Iterator[Finding]:
    """The records of select and acquire can be read, and acquired scenes match their checksums."""
    there = set(keys)
    for key in keys:
        try:
            if re.fullmatch(rf"select/{_TILE}\.json", key):
                looked = SelectRecord.read(store.get(key) or b"", key).candidates
                if looked and key.replace(".json", ".previews.tif") not in there:
                    yield error(key.replace(".json", ".previews.tif"), f"is missing beside {key}")
            elif key.startswith("scenes/") and key.endswith("/acquired.json"):
                record = AcquireRecord.read(store.get(key) or b"", key)
                folder = key.removesuffix("/acquired.json")
                for scene in (*record.scenes, *record.series):
                    yield from _checked(store, there, f"{folder}/{scene.id}.tif", scene.image_sha256, key)
                    yield from _checked(store, there, f"{folder}/{scene.id}.mask.tif", scene.mask_sha256, key)
        except InputError as broken:
            yield error(key, str(broken))


def _checked(store: Store, there: set[str], key: str, stated: str, record: str) -> Iterator[Finding]:
    if key not in there:
        yield error(key, f"is missing; {record} lists it")
    elif (found := digest(store, key)) != stated:
        yield error(key, f"does not match its checksum: SHA-256 {found[:12]}..., {record} says {stated[:12]}...")


def _catalog(store: Store, keys: Sequence[str]) -> Iterator[Finding]:
    """The catalog and collections are valid, their links end at files, and every product's item is linked."""
    there = set(keys)
    for key in ("catalog.json", "mosaic/collection.json", "landcover/collection.json"):
        if key not in there:
            continue
        value = _json(store, key)
        if value is None:
            yield error(key, "is no JSON object; run again, and publish writes it anew")
            continue
        yield from _stac(key, value)
        targets = {_resolve(key, link["href"]): link["rel"] for link in value.get("links", []) if _is_relative(link)}
        for target, rel in sorted(targets.items()):
            if target not in there:
                yield error(key, f"links to {target} as {rel}, which is missing")
        for asset in value.get("assets", {}).values():
            yield from _checked(store, there, _resolve(key, asset["href"]), sha256_of(asset) or "", key)
        if key != "catalog.json":
            kind = key.split("/", maxsplit=1)[0]
            for item in (each for each in keys if (match := _ITEM.fullmatch(each)) and match[1] == kind):
                if item not in targets:
                    yield error(key, f"does not link {item}: publish again")


def _leftovers(store: Store, keys: Sequence[str]) -> Iterator[Finding]:
    """Files that no step names, and data without the item that would make it count."""
    there = set(keys)
    on_disk = set() if store.folder is None else {p for p in store.folder.rglob("*") if p.is_file()}
    names = there | {str(PurePosixPath(p.relative_to(store.folder))) for p in on_disk if store.folder}
    for key in sorted(names):
        if key.endswith(_FROM_LOOKING):
            continue
        if _UNFINISHED.search(key):
            yield error(key, "is a temporary file that a run left behind; delete it")
        elif not _KNOWN.fullmatch(key):
            yield warning(key, "is not a file that s2ops writes")
        elif key.startswith(("composite/", "mosaic/", "landcover/")) and key.endswith(".tif"):
            marker = f"{key.rsplit('/', 1)[0]}/item.json"
            if marker not in there:
                yield error(key, f"has no {marker} beside it: the step was stopped; run again")


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

"""Catalog search for scenes (STAC search): STAC APIs and static STAC catalogs behind one protocol."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import pystac_client
from pystac.errors import STACError, STACTypeError
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO

from s2ops.catalog import items as catalog_items
from s2ops.catalog.hrefs import Origin, is_remote
from s2ops.catalog.http_client import create_stac_io, read_json, translate_api_error
from s2ops.catalog.items import MALFORMED_JSON_ERRORS, Granule
from s2ops.catalog.scene import Scene
from s2ops.constants import Json
from s2ops.errors import CatalogError, GridError
from s2ops.geo import mgrs_tiles

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Scenes of a tile that a catalog contains."""

    scenes: tuple[Scene, ...]
    """One scene per acquisition, sorted by acquisition time and id."""
    left_out: tuple[tuple[str, str], ...] = ()
    """(item id, reason) of every item that cannot be used, sorted."""
    excluded: tuple[tuple[str, str], ...] = ()
    """(scene id, reason) of usable scenes that the search excludes, sorted: too cloudy, or an older processing.

    They are not part of fingerprints: one more cloudy scene in the catalog must not repeat a tile's steps.
    """


class SceneCatalog(Protocol):
    """Source of scenes, searched by tile, dates and cloud cover."""

    def find_scenes(self, tile: str, start: date, end: date, max_cloud: float) -> SearchResult:
        """Find the scenes of a tile; a broken or hostile item is listed in `left_out`.

        Args:
            tile: MGRS tile name such as '33TWL'.
            start: First acquisition day (UTC), included.
            end: Last acquisition day (UTC), included.
            max_cloud: Maximum cloud cover of a scene in percent, as the catalog states it.

        Raises:
            CatalogUnreachable: If the catalog does not respond.
            CatalogError: If the catalog as a whole cannot be used.
        """


@dataclass(frozen=True, slots=True)
class Provider:
    """A STAC API and the property in which its items contain their tile name."""

    url: str
    collection: str
    tile_property: str | None = None
    tile_prefix: str = ""


PROVIDERS: Final = {
    "earth-search": Provider("https://earth-search.aws.element84.com/v1", "sentinel-2-l2a", "grid:code", "MGRS-"),
    "planetary-computer": Provider(
        "https://planetarycomputer.microsoft.com/api/stac/v1", "sentinel-2-l2a", "s2:mgrs_tile"
    ),
    "cdse": Provider("https://stac.dataspace.copernicus.eu/v1", "sentinel-2-l2a", "grid:code", "MGRS-"),
}
DEFAULT_COLLECTION: Final = "sentinel-2-l2a"
PAGE_SIZE: Final = 100
"""Items per page of a search; all providers accept this number."""


def open_catalog(spec: str, io: StacApiIO | None = None) -> SceneCatalog:
    """Open the catalog that a configuration names; nothing is read yet.

    Args:
        spec: `earth-search`, `planetary-computer`, `cdse`, the URL of a STAC API, or the path or URL of a static
            catalog (ends with .json). '#collection' at the end selects a collection.
        io: Reader of documents; a new one by default.

    Raises:
        CatalogError: If `spec` is none of these, or a path that does not exist.
    """
    name, _, collection = spec.partition("#")
    reader = io or create_stac_io()
    provider = PROVIDERS.get(name) or next((p for p in PROVIDERS.values() if p.url == name.rstrip("/")), None)
    if provider is not None:
        provider = Provider(
            provider.url, collection or provider.collection, provider.tile_property, provider.tile_prefix
        )
        return ApiCatalog(provider, reader)
    if is_remote(name):
        if urlsplit(name).scheme.lower() not in {"http", "https"}:
            raise CatalogError(
                f"Cannot read the catalog {name}: its scheme is not http(s); use an http(s) URL or a path."
            )
        if urlsplit(name).path.endswith(".json"):
            return StaticCatalog(name, collection or None, reader)
        return ApiCatalog(Provider(name.rstrip("/"), collection or DEFAULT_COLLECTION), reader)
    path = Path(name)
    if not path.is_file():
        root = path / "catalog.json"
        remedy = f"did you mean {root}?" if root.is_file() else f"give a path, a URL, or one of {', '.join(PROVIDERS)}."
        raise CatalogError(f"Cannot open the catalog {name!r}: it is not a file, a URL or a known name; {remedy}")
    return StaticCatalog(str(path.resolve()), collection or None, reader)


@dataclass(frozen=True, slots=True)
class _Query:
    """Arguments of `SceneCatalog.find_scenes`."""

    tile: str
    start: date
    end: date
    max_cloud: float

    def has_date_of(self, scene: Scene) -> bool:
        """Return True if the scene's date is within the limits."""
        return self.start <= scene.datetime.date() <= self.end


@dataclass(frozen=True)
class ApiCatalog:
    """A STAC API, searched page by page."""

    provider: Provider
    io: StacApiIO = field(repr=False)
    page: int = PAGE_SIZE

    def find_scenes(self, tile: str, start: date, end: date, max_cloud: float) -> SearchResult:
        """Find the scenes of a tile by an item search; see SceneCatalog."""
        origin = Origin(self.provider.url + "/", local=False)
        base = f"{origin.root}collections/{self.provider.collection}/items/"
        query = _Query(tile, start, end, max_cloud)
        return _collect_scenes(((item, _find_self_link(item) or base) for item in self._search(query)), origin, query)

    @cached_property
    def _client(self) -> pystac_client.Client:
        url = self.provider.url
        root = read_json(self.io, url)
        try:
            client = self.io.stac_object_from_dict(root, href=url)
        except (STACError, STACTypeError, *MALFORMED_JSON_ERRORS) as error:
            raise CatalogError(f"{url} is not the root of a STAC API: {error}; check the URL.") from error
        if not isinstance(client, pystac_client.Client) or not client.conforms_to("ITEM_SEARCH"):
            raise CatalogError(f"{url} is not a STAC API with item search; give the root URL of the API.")
        return client

    def _search(self, query: _Query) -> Iterator[Json]:
        """Yield the items of the tile and dates; also of adjacent tiles if the API has no property for the tile.

        Cloudy items are fetched too, because the records list them with the reason.
        """
        conditions: Json = {}
        where: Json = {"intersects": mgrs_tiles.parse_tile(query.tile).footprint.__geo_interface__}
        # Providers differ in the leading zero of zones 1 to 9, so these tiles are searched by footprint only.
        if self.provider.tile_property and not query.tile.startswith("0"):
            conditions[self.provider.tile_property] = {"eq": self.provider.tile_prefix + query.tile}
        if conditions and self._client.conforms_to("QUERY"):
            where["query"] = conditions
        elif conditions and self._client.conforms_to("FILTER"):
            where |= {"filter": _to_cql2(conditions), "filter_lang": "cql2-json"}
        links = self._client.get_links("search")
        posts = not links or any(link.extra_fields.get("method") == "POST" for link in links)
        try:
            yield from self._client.search(
                method="POST" if posts else "GET",
                collections=[self.provider.collection],
                datetime=f"{query.start.isoformat()}T00:00:00Z/{query.end.isoformat()}T23:59:59.999999Z",
                limit=self.page,
                **where,
            ).items_as_dicts()
        except APIError as error:
            raise translate_api_error(self.provider.url, error) from error
        except MALFORMED_JSON_ERRORS as error:
            raise CatalogError(
                f"Cannot search {self.provider.url}: its response is not a list of items ({error}); "
                "check whether it is a STAC API."
            ) from error


@dataclass(frozen=True)
class StaticCatalog:
    """A catalog of linked JSON files, on this machine or on a web server; read once, at the first search."""

    location: str
    collection: str | None
    io: StacApiIO = field(repr=False)

    def find_scenes(self, tile: str, start: date, end: date, max_cloud: float) -> SearchResult:
        """Find the scenes of a tile among all items of the catalog; see SceneCatalog."""
        items, broken = self._content
        query = _Query(tile, start, end, max_cloud)
        found = _collect_scenes(items, Origin.from_location(self.location), query)
        return SearchResult(found.scenes, tuple(sorted({*found.left_out, *broken})), found.excluded)

    @cached_property
    def _content(self) -> tuple[list[tuple[Json, str]], list[tuple[str, str]]]:
        """All items as (item, its location), and (name, reason) of the documents that cannot be read."""
        origin = Origin.from_location(self.location)
        items: list[tuple[Json, str]] = []
        broken: list[tuple[str, str]] = []
        waiting, seen = [self.location], {self.location}
        while waiting:
            location = waiting.pop()
            try:
                document = read_json(self.io, location)
                inside, links = _parse_document(document)
            except CatalogError as error:
                if location == self.location:
                    raise
                broken.append((_format_last_segment(location), str(error)))
                continue
            items += [(item, location) for item in inside if self.collection in (None, item.get("collection"))]
            for link in links:
                try:
                    target = origin.resolve(link, location)
                except CatalogError as error:
                    broken.append((_format_last_segment(str(link)), str(error)))
                    continue
                if target not in seen:
                    seen.add(target)
                    waiting.append(target)
        return items, broken


def _parse_document(document: Json) -> tuple[list[Json], list[object]]:
    """Return the items that a STAC document contains, and the hrefs of its children and items."""
    kind = document.get("type")
    if kind == "Feature":
        return [dict(document)], []
    if kind == "FeatureCollection":
        return [item for item in document.get("features") or [] if isinstance(item, dict)], []
    links = document.get("links")
    if kind not in {"Catalog", "Collection"} or not isinstance(links, list):
        raise CatalogError(f"Cannot read items from a STAC document of type {kind!r}; give a catalog.json.")
    wanted = [link for link in links if isinstance(link, dict) and link.get("rel") in {"child", "item"}]
    return [], [link.get("href") for link in wanted]


def _collect_scenes(items: Iterable[tuple[Json, str]], origin: Origin, query: _Query) -> SearchResult:
    """Parse (item, its location), keep the scenes that match, and list the tile's other items of these dates."""
    granules: list[Granule] = []
    left_out: list[tuple[str, str]] = []
    excluded: list[tuple[str, str]] = []
    for item, base in items:
        try:
            if catalog_items.read_tile_name(item) != query.tile:
                continue
        except (CatalogError, GridError, *MALFORMED_JSON_ERRORS) as error:
            left_out.append((_format_item_id(item), f"Cannot determine the tile: {error}"[:500]))
            continue
        try:
            granule = catalog_items.parse_item(item, base, origin)
        except CatalogError as error:
            left_out.append((_format_item_id(item), str(error)[:500]))
            continue
        scene = granule.scene
        if not query.has_date_of(scene):
            continue
        if scene.cloud_cover > query.max_cloud:
            reason = f"Its cloud cover of {scene.cloud_cover:g} % is above max_cloud ({query.max_cloud:g} %)."
            excluded.append((scene.id, reason))
        else:
            granules.append(granule)
    scenes: dict[str, Scene] = {}
    for scene, *older in catalog_items.group_processings(granules):
        reason = f"Older processing of the same acquisition as {scene.id}."
        excluded += [(one.id, reason) for one in older if one.id != scene.id]
        if scenes.setdefault(scene.id, scene) is not scene:  # files are named by id
            reason = (
                f"Another acquisition has the same id; this one was acquired at {scene.datetime:%Y-%m-%dT%H:%M:%SZ}."
            )
            left_out += [(scene.id, reason)]
    for name, reason in left_out:
        _LOG.warning("scene left out", extra={"scene": name, "tile": query.tile, "reason": reason})
    for name, reason in excluded:
        _LOG.info("scene excluded", extra={"scene": name, "tile": query.tile, "reason": reason})
    return SearchResult(tuple(scenes.values()), tuple(sorted(set(left_out))), tuple(sorted(set(excluded))))


def _to_cql2(conditions: Mapping[str, Mapping[str, Any]]) -> Json:
    """Convert conditions of the STAC query extension to CQL2 JSON."""
    operators = {"lte": "<=", "eq": "="}
    terms = [
        {"op": operators[op], "args": [{"property": name}, value]}
        for name, test in conditions.items()
        for op, value in test.items()
    ]
    return terms[0] if len(terms) == 1 else {"op": "and", "args": terms}


def _find_self_link(item: object) -> str | None:
    links = item.get("links") if isinstance(item, Mapping) else None
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("rel") == "self" and is_remote(str(link.get("href"))):
            return str(link["href"])
    return None


def _format_item_id(item: object) -> str:
    """Return a printable id: at most 200 characters, unsafe ones replaced by '?'."""
    name = item.get("id") if isinstance(item, Mapping) else None
    return "".join(c if c.isalnum() or c in "._-" else "?" for c in str(name)[:200])


def _format_last_segment(location: str) -> str:
    return _format_item_id({"id": location.rstrip("/").rpartition("/")[2]})

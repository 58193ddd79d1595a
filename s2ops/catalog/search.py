"""The catalog of scenes: a STAC API or a static catalog, both asked the same question."""

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
from s2ops.catalog.hrefs import Origin, is_remote, read_json, reading_error, stac_io
from s2ops.catalog.items import MALFORMED, Granule
from s2ops.catalog.scene import Scene
from s2ops.errors import CatalogError, GridError
from s2ops.geo import mgrs_tiles

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """What a catalog has for a tile."""

    scenes: tuple[Scene, ...]
    """One per acquisition, sorted by acquisition time and id."""
    left_out: tuple[tuple[str, str], ...] = ()
    """(item id, reason) of every item that cannot be used, sorted."""


class SceneCatalog(Protocol):
    """Anything that can be asked for the scenes of a tile."""

    @property
    def identity(self) -> str:
        """Which catalog and collection this is; part of a run's fingerprint."""

    def scenes(self, tile: str, start: date, end: date, max_cloud: float) -> Found:
        """The scenes of a tile from `start` to `end` (both included, UTC) with at most `max_cloud` percent cloud.

        Raises CatalogUnreachable if the catalog does not answer, CatalogError if it cannot be used at all. A broken or
        hostile item ends up in `left_out`.
        """


@dataclass(frozen=True, slots=True)
class Provider:
    """A STAC API and the property by which its items name their tile."""

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
PAGE: Final = 100
"""Items asked for at once: what all providers accept."""


def open_catalog(spec: str, io: StacApiIO | None = None) -> SceneCatalog:
    """The catalog that a configuration names.

    `earth-search`, `planetary-computer`, `cdse`, the URL of a STAC API, or the path or URL of a static catalog (it ends
    with .json); '#collection' at the end picks a collection. Nothing is read yet. Raises CatalogError for a path that
    does not exist or a name that is none of these.
    """
    name, _, collection = spec.partition("#")
    reader = io or stac_io()
    provider = PROVIDERS.get(name) or next((p for p in PROVIDERS.values() if p.url == name.rstrip("/")), None)
    if provider is not None:
        provider = Provider(
            provider.url, collection or provider.collection, provider.tile_property, provider.tile_prefix
        )
        return ApiCatalog(provider, reader)
    if is_remote(name):
        if urlsplit(name).scheme.lower() not in {"http", "https"}:
            raise CatalogError(f"catalog {name} cannot be read: give an http(s) URL or a local path")
        if urlsplit(name).path.endswith(".json"):
            return StaticCatalog(name, collection or None, reader)
        return ApiCatalog(Provider(name.rstrip("/"), collection or DEFAULT_COLLECTION), reader)
    path = Path(name)
    if not path.is_file():
        hint = f"; did you mean {path / 'catalog.json'}?" if (path / "catalog.json").is_file() else ""
        names = ", ".join(PROVIDERS)
        raise CatalogError(f"catalog {name!r} is neither a file, nor a URL, nor one of {names}{hint}")
    return StaticCatalog(str(path.resolve()), collection or None, reader)


@dataclass(frozen=True, slots=True)
class _Question:
    """What `scenes` was asked."""

    tile: str
    start: date
    end: date
    max_cloud: float

    def fits(self, scene: Scene) -> bool:
        return self.start <= scene.datetime.date() <= self.end and scene.cloud_cover <= self.max_cloud


@dataclass(frozen=True)
class ApiCatalog:
    """A STAC API, searched page by page."""

    provider: Provider
    io: StacApiIO = field(repr=False)
    page: int = PAGE

    @property
    def identity(self) -> str:
        """URL and collection."""
        return f"{self.provider.url}#{self.provider.collection}"

    def scenes(self, tile: str, start: date, end: date, max_cloud: float) -> Found:
        """See SceneCatalog."""
        origin = Origin(self.provider.url + "/", local=False)
        base = f"{origin.root}collections/{self.provider.collection}/items/"
        asked = _Question(tile, start, end, max_cloud)
        return _found(((item, _self_link(item) or base) for item in self._search(asked)), origin, asked)

    @cached_property
    def _client(self) -> pystac_client.Client:
        root = read_json(self.io, self.provider.url)
        try:
            client = self.io.stac_object_from_dict(root, href=self.provider.url)
        except (STACError, STACTypeError, *MALFORMED) as error:
            raise CatalogError(f"{self.provider.url} is no STAC API: {error}; check the URL") from error
        if not isinstance(client, pystac_client.Client) or not client.conforms_to("ITEM_SEARCH"):
            raise CatalogError(f"{self.provider.url} is no STAC API with item search: give its root URL")
        return client

    def _search(self, asked: _Question) -> Iterator[dict[str, Any]]:
        """Items of the tile and dates; of neighbouring tiles too where the API has no property for the tile."""
        query: dict[str, Any] = {"eo:cloud_cover": {"lte": asked.max_cloud}}
        where: dict[str, Any] = {"intersects": mgrs_tiles.tile(asked.tile).footprint.__geo_interface__}
        # Zones 1 to 9 are written with a leading zero by some and without by others: there the footprint has to do.
        if self.provider.tile_property and not asked.tile.startswith("0"):
            query[self.provider.tile_property] = {"eq": self.provider.tile_prefix + asked.tile}
        if self._client.conforms_to("QUERY"):
            where["query"] = query
        elif self._client.conforms_to("FILTER"):
            where |= {"filter": _cql2(query), "filter_lang": "cql2-json"}
        links = self._client.get_links("search")
        posts = not links or any(link.extra_fields.get("method") == "POST" for link in links)
        try:
            yield from self._client.search(
                method="POST" if posts else "GET",
                collections=[self.provider.collection],
                datetime=f"{asked.start.isoformat()}T00:00:00Z/{asked.end.isoformat()}T23:59:59.999999Z",
                limit=self.page,
                **where,
            ).items_as_dicts()
        except APIError as error:
            raise reading_error(self.provider.url, error) from error
        except MALFORMED as error:
            raise CatalogError(f"{self.provider.url} answers a search with no list of items: {error}") from error


@dataclass(frozen=True)
class StaticCatalog:
    """A catalog of linked JSON files, on this machine or on a web server. It is read once, when first asked."""

    location: str
    collection: str | None
    io: StacApiIO = field(repr=False)

    @property
    def identity(self) -> str:
        """Path or URL, and the collection if one was picked."""
        return self.location + (f"#{self.collection}" if self.collection else "")

    def scenes(self, tile: str, start: date, end: date, max_cloud: float) -> Found:
        """See SceneCatalog."""
        items, broken = self._content
        found = _found(items, Origin.of(self.location), _Question(tile, start, end, max_cloud))
        return Found(found.scenes, tuple(sorted({*found.left_out, *broken})))

    @cached_property
    def _content(self) -> tuple[list[tuple[dict[str, Any], str]], list[tuple[str, str]]]:
        """All (item, its location), and (href, reason) of what cannot be read."""
        origin = Origin.of(self.location)
        items: list[tuple[dict[str, Any], str]] = []
        broken: list[tuple[str, str]] = []
        waiting, seen = [self.location], {self.location}
        while waiting:
            location = waiting.pop()
            try:
                document = read_json(self.io, location)
                inside, links = _content_of(document)
            except CatalogError as error:
                if location == self.location:
                    raise
                broken.append((_last_part(location), str(error)))
                continue
            items += [(item, location) for item in inside if self.collection in (None, item.get("collection"))]
            for link in links:
                try:
                    target = origin.resolve(link, location)
                except CatalogError as error:
                    broken.append((_last_part(str(link)), str(error)))
                    continue
                if target not in seen:
                    seen.add(target)
                    waiting.append(target)
        return items, broken


def _content_of(document: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[object]]:
    """The items that a document holds, and the hrefs of its children and items."""
    kind = document.get("type")
    if kind == "Feature":
        return [dict(document)], []
    if kind == "FeatureCollection":
        return [item for item in document.get("features") or [] if isinstance(item, dict)], []
    links = document.get("links")
    if kind not in {"Catalog", "Collection"} or not isinstance(links, list):
        raise CatalogError(f"a STAC document of type {kind!r} holds no items: give a catalog.json")
    wanted = [link for link in links if isinstance(link, dict) and link.get("rel") in {"child", "item"}]
    return [], [link.get("href") for link in wanted]


def _found(items: Iterable[tuple[dict[str, Any], str]], origin: Origin, asked: _Question) -> Found:
    """The scenes among (item, its location) that fit, and those of the tile that cannot be used."""
    granules: list[Granule] = []
    left_out: list[tuple[str, str]] = []
    for item, base in items:
        try:
            if catalog_items.tile_of(item) != asked.tile:
                continue
        except (CatalogError, GridError, *MALFORMED) as error:
            left_out.append((_item_id(item), f"no tile can be told: {error}"[:500]))
            continue
        try:
            granule = catalog_items.granule_of(item, base, origin)
        except CatalogError as error:
            left_out.append((_item_id(item), str(error)[:500]))
            continue
        if asked.fits(granule.scene):
            granules.append(granule)
    scenes: dict[str, Scene] = {}
    for scene in catalog_items.newest_processings(granules):
        if scenes.setdefault(scene.id, scene) is not scene:  # files are named by id
            reason = f"another acquisition has the same id; this one is of {scene.datetime:%Y-%m-%dT%H:%M:%SZ}"
            left_out += [(scene.id, reason)]
    for name, reason in left_out:
        _log.warning("item left out", extra={"item": name, "reason": reason})
    return Found(tuple(scenes.values()), tuple(sorted(set(left_out))))


def _cql2(query: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The query extension's conditions as CQL2 JSON."""
    signs = {"lte": "<=", "eq": "="}
    conditions = [
        {"op": signs[op], "args": [{"property": name}, value]}
        for name, test in query.items()
        for op, value in test.items()
    ]
    return conditions[0] if len(conditions) == 1 else {"op": "and", "args": conditions}


def _self_link(item: object) -> str | None:
    links = item.get("links") if isinstance(item, Mapping) else None
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("rel") == "self" and is_remote(str(link.get("href"))):
            return str(link["href"])
    return None


def _item_id(item: object) -> str:
    """The id as it can be shown: unsafe characters replaced, at most 200."""
    name = item.get("id") if isinstance(item, Mapping) else None
    return "".join(c if c.isalnum() or c in "._-" else "?" for c in str(name)[:200])


def _last_part(location: str) -> str:
    return _item_id({"id": location.rstrip("/").rpartition("/")[2]})

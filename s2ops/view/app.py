"""The web application: one page, the records behind it as JSON, and map tiles. It reads; it has no other verbs."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any, Final, TypeVar

import anyio.to_thread
from cachetools import LRUCache
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from s2ops.errors import S2opsError
from s2ops.view import geojson, point_query, query_params
from s2ops.view.basemap import Basemap
from s2ops.view.facts import Json
from s2ops.view.layers import LAYERS, Dates, legend
from s2ops.view.query_params import Refused
from s2ops.view.run import Run
from s2ops.view.security_headers import Headers
from s2ops.view.static_files import Page
from s2ops.view.tiles import Drawing, drawing, max_zoom, min_zoom

_CACHE_BYTES: Final = 64 * 2**20
"""Pictures of map tiles that are kept: some 1,500."""

_WAITING: Final = 200
"""Requests that may wait for a thread; more are asked to come back, so that memory stays bounded."""

T = TypeVar("T")


@dataclass
class _Site:
    """What the handlers share."""

    runs: Mapping[str, Run]
    page: Page
    basemap: Basemap | None
    threads: int
    pictures: LRUCache[str, bytes] = field(default_factory=lambda: LRUCache(_CACHE_BYTES, getsizeof=len))
    made: dict[tuple[str, str], tuple[str, Any]] = field(default_factory=dict)
    waiting: int = 0
    limiter: anyio.CapacityLimiter | None = None

    async def work(self, function: Callable[[], T]) -> T:
        """The function's answer, from one of few threads."""
        if self.waiting >= _WAITING:
            raise Refused(503, "too many requests at once; try again in a moment")
        self.limiter = self.limiter or anyio.CapacityLimiter(self.threads)  # belongs to the loop that serves
        self.waiting += 1
        try:
            return await anyio.to_thread.run_sync(function, limiter=self.limiter)
        finally:
            self.waiting -= 1

    async def index(self, request: Request) -> Response:
        """The page."""
        return self._static(request, "index.html")

    async def static(self, request: Request) -> Response:
        """A file of the page."""
        return self._static(request, request.path_params["name"])

    def _static(self, request: Request, name: str) -> Response:
        found = self.page.files.get(name)
        if found is None:
            raise Refused(404, "the page has no such file")
        return _answer(request, found.data, found.kind, found.etag)

    async def describe(self, request: Request) -> Response:
        """All runs: titles, layers, legends, counts, problems."""
        query_params.options(request.query_params)
        made = {name: await self.work(partial(self._described, name)) for name in self.runs}
        basemap = {"url": self.basemap.url, "credit": self.basemap.credit} if self.basemap else None
        return _json(request, {"runs": made, "basemap": basemap})

    def _described(self, name: str) -> dict[str, Any]:
        run = self.runs[name]
        state = run.state
        dates = Dates(state.dates)
        return {
            "title": run.title, "version": state.tag, "complete": state.complete, "resolution": run.res,
            "tiles": len(run.tiles), "counts": state.counts, "steps": dict(state.steps), "dates": state.own_dates,
            "bounds": self._kept(name, "bounds", "", partial(geojson.bounds, run)),
            "min_zoom": self._kept(name, "zoom", "", partial(min_zoom, run)), "max_zoom": max_zoom(run.res),
            "layers": {
                key: {"label": one.label, "legend": legend(key, dates), "dated": one.dated}
                for key, one in LAYERS.items()
                if run.has_landcover or one.folder != "landcover"
            },
            "troubled": [
                {"tile": one.name, "status": one.status, "reason": one.reason}
                for one in state.tiles.values()
                if one.status in {"failed", "missing", "damaged", "empty"}
            ][:_MOST_TROUBLED],
            "problems": run.problems,
        }  # fmt: skip

    async def tiles(self, request: Request) -> Response:
        """The tile grid."""
        return await self._lines(request, geojson.tiles)

    async def edges(self, request: Request) -> Response:
        """The seams."""
        return await self._lines(request, geojson.edges)

    async def _lines(self, request: Request, make: Callable[[Run], Json]) -> Response:
        run, name = self._run(request), request.path_params["run"]
        return _json(
            request, await self.work(partial(self._kept, name, make.__name__, run.state.tag, partial(make, run)))
        )

    def _kept(self, run: str, what: str, tag: str, make: Callable[[], T]) -> T:
        """What `make` gives, made again only when the tag has changed: of 20,000 tiles it takes seconds."""
        known = self.made.get((run, what))
        if known is None or known[0] != tag:
            known = self.made[run, what] = (tag, make())
        kept: T = known[1]
        return kept

    async def tile(self, request: Request) -> Response:
        """All that is known of a tile."""
        run = self._run(request)
        name = query_params.tile_name(run, request.path_params["tile"])
        return _json(request, await self.work(partial(point_query.tile, run, name)))

    async def at(self, request: Request) -> Response:
        """All that is known of a place."""
        run = query_params.one_of(self.runs, request.path_params["run"])
        lon, lat = query_params.place(query_params.options(request.query_params, "lon", "lat"))
        return _json(request, await self.work(partial(point_query.at, run, lon, lat)))

    def _run(self, request: Request) -> Run:
        query_params.options(request.query_params, "v")
        return query_params.one_of(self.runs, request.path_params["run"])

    async def picture(self, request: Request) -> Response:
        """A map tile."""
        names = request.path_params
        run, layer = query_params.one_of(self.runs, names["run"]), query_params.layer(names["layer"])
        where = query_params.map_tile(names["z"], names["x"], names["y"])
        options = query_params.options(request.query_params, "date", "v")
        day = query_params.day(options) if LAYERS[layer].dated else None
        found = await self.work(partial(drawing, run, layer, where, day))
        if found is None:
            raise Refused(404, f"seen from this far, {layer} would open too many files; zoom in")
        if _unchanged(request, found.etag):
            return _not_modified(found.etag)
        data: bytes | None = self.pictures.get(found.etag)
        if data is None:
            if await request.is_disconnected():  # the map has moved on while this waited
                return Response(status_code=499)
            drawn, whole = await self.work(partial(_drawn, found))
            if whole:  # a file that could not be read may be mended soon
                self.pictures[found.etag] = drawn
            data = drawn
        return _answer(request, data, _kind(data), found.etag) if data else Response(status_code=204)


_MOST_TROUBLED: Final = 500
"""Tiles that are listed by name; the map shows all."""


def _drawn(found: Drawing) -> tuple[bytes, bool]:
    """The picture, empty where there is nothing to see; and whether all files could be read."""
    before = len(found.run.problems)
    data = found.draw() or b""
    return data, len(found.run.problems) == before


def application(
    runs: Mapping[str, Run], hosts: list[str], basemap: Basemap | None = None, threads: int = 4
) -> Starlette:
    """The site over these runs, answering only requests that name one of `hosts` (against DNS rebinding)."""
    site = _Site(runs, Page.load(), basemap, threads)
    routes = [
        Route("/", site.index),
        Route("/page/{name:path}", site.static),
        Route("/api/runs", site.describe),
        Route("/api/{run}/tiles.geojson", site.tiles),
        Route("/api/{run}/seams.geojson", site.edges),
        Route("/api/{run}/tile/{tile}", site.tile),
        Route("/api/{run}/at", site.at),
        Route("/tiles/{run}/{layer}/{z}/{x}/{y}", site.picture),
    ]
    middleware = [
        Middleware(Headers, basemap=basemap.origin if basemap else None),
        Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
        Middleware(GZipMiddleware, minimum_size=2_000),
    ]
    handlers: Any = {Refused: _refused, HTTPException: _http, S2opsError: _ours, Exception: _unexpected}
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)


async def _refused(_: Request, error: Refused) -> Response:
    return JSONResponse({"error": str(error)}, error.status, {"Retry-After": "1"} if error.status == 503 else None)


async def _http(_: Request, error: HTTPException) -> Response:
    words = {404: "there is no such page", 405: "only GET is answered"}
    return JSONResponse({"error": words.get(error.status_code, str(error.detail))}, error.status_code)


async def _ours(_: Request, error: S2opsError) -> Response:
    return JSONResponse({"error": str(error)}, 503 if error.exit_code == 75 else 500)


async def _unexpected(_: Request, error: Exception) -> Response:
    """Its trace goes to the terminal of `s2ops view`; the browser gets a sentence."""
    return JSONResponse({"error": f"s2ops view failed ({type(error).__name__}); its terminal says more"}, 500)


def _json(request: Request, value: object) -> Response:
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return _answer(request, data, "application/json", sha256(data).hexdigest()[:32])


def _answer(request: Request, data: bytes, kind: str, etag: str) -> Response:
    if _unchanged(request, etag):
        return _not_modified(etag)
    return Response(data, media_type=kind, headers=_cached(etag))


def _not_modified(etag: str) -> Response:
    return Response(status_code=304, headers=_cached(etag))


def _cached(etag: str) -> dict[str, str]:
    """Kept by the browser, and asked for again each time: a run may be going on, and the answer is short."""
    return {"ETag": f'"{etag}"', "Cache-Control": "private, no-cache"}


def _unchanged(request: Request, etag: str) -> bool:
    given = request.headers.get("if-none-match", "")
    return any(one.strip().removeprefix("W/").strip('"') == etag for one in given.split(","))


def _kind(data: bytes) -> str:
    return "image/png" if data.startswith(b"\x89PNG") else "image/webp"

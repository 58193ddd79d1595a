"""Web application (ASGI, Starlette) of `s2ops view`: one page, JSON records, and map tiles. Only GET is supported."""

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

from s2ops.constants import Json
from s2ops.errors import S2opsError
from s2ops.view import geojson, point_query, query_params
from s2ops.view.basemap import Basemap
from s2ops.view.layers import LAYERS, DateColours, build_legend
from s2ops.view.query_params import RequestRefused
from s2ops.view.run import ViewedRun
from s2ops.view.security_headers import SecurityHeaders
from s2ops.view.static_files import Page
from s2ops.view.tiles import TileDrawing, compute_max_zoom, compute_min_zoom, plan_drawing

_IMAGE_CACHE_BYTES: Final = 64 * 2**20
"""Size of the cache of map tiles: some 1,500 images."""

_MAX_WAITING_REQUESTS: Final = 200
"""Maximum number of requests that wait for a thread; further requests get status 503, so that memory stays bounded."""

_MAX_LISTED_TILES: Final = 500
"""Maximum number of unfinished tiles that are listed by name; the map shows all."""

T = TypeVar("T")


@dataclass
class _Site:
    """State that the request handlers share."""

    runs: Mapping[str, ViewedRun]
    page: Page
    basemap: Basemap | None
    threads: int
    images: LRUCache[str, bytes] = field(default_factory=lambda: LRUCache(_IMAGE_CACHE_BYTES, getsizeof=len))
    """Map tiles by ETag."""
    documents: dict[tuple[str, str], tuple[str, Any]] = field(default_factory=dict)
    """Tag and document by run and kind."""
    waiting: int = 0
    limiter: anyio.CapacityLimiter | None = None

    async def run_in_thread(self, function: Callable[[], T]) -> T:
        """Run a blocking function in one of `threads` threads."""
        if self.waiting >= _MAX_WAITING_REQUESTS:
            raise RequestRefused(503, "too many requests at once; try again in a moment")
        self.limiter = self.limiter or anyio.CapacityLimiter(self.threads)  # must be created inside the event loop
        self.waiting += 1
        try:
            return await anyio.to_thread.run_sync(function, limiter=self.limiter)
        finally:
            self.waiting -= 1

    async def get_index(self, request: Request) -> Response:
        """Return the page."""
        return self._get_page_file(request, "index.html")

    async def get_static_file(self, request: Request) -> Response:
        """Return a file of the page."""
        return self._get_page_file(request, request.path_params["name"])

    def _get_page_file(self, request: Request, name: str) -> Response:
        """Return a file of the page by name."""
        found = self.page.files.get(name)
        if found is None:
            raise RequestRefused(404, "the page has no such file")
        return _build_response(request, found.data, found.media_type, found.etag)

    async def describe_runs(self, request: Request) -> Response:
        """Return title, layers, legends, counts and problems of all runs."""
        query_params.parse_options(request.query_params)
        runs = {name: await self.run_in_thread(partial(self._describe_run, name)) for name in self.runs}
        basemap = {"url": self.basemap.url, "credit": self.basemap.credit} if self.basemap else None
        return _build_json_response(request, {"runs": runs, "basemap": basemap})

    def _describe_run(self, name: str) -> Json:
        """Describe one run."""
        run = self.runs[name]
        state = run.state
        dates = DateColours(state.dates)
        return {
            "title": run.title, "version": state.tag, "complete": state.complete, "resolution": run.res,
            "tiles": len(run.tiles), "counts": state.counts, "steps": dict(state.steps), "dates": state.own_dates,
            "bounds": self._get_cached(name, "bounds", "", partial(geojson.compute_bounds, run)),
            "min_zoom": self._get_cached(name, "zoom", "", partial(compute_min_zoom, run)),
            "max_zoom": compute_max_zoom(run.res),
            "layers": {
                key: {"label": one.label, "legend": build_legend(key, dates), "dated": one.dated}
                for key, one in LAYERS.items()
                if run.has_landcover or one.folder != "landcover"
            },
            "troubled": [
                {"tile": one.name, "status": one.status, "reason": one.reason}
                for one in state.tiles.values()
                if one.status in {"failed", "missing", "damaged", "empty"}
            ][:_MAX_LISTED_TILES],
            "problems": run.problems,
        }  # fmt: skip

    async def get_tiles(self, request: Request) -> Response:
        """Return the outlines of all tiles as GeoJSON."""
        return await self._get_geojson(request, geojson.build_tiles)

    async def get_seams(self, request: Request) -> Response:
        """Return the seams between tiles as GeoJSON."""
        return await self._get_geojson(request, geojson.build_seams)

    async def _get_geojson(self, request: Request, build: Callable[[ViewedRun], Json]) -> Response:
        """Return a GeoJSON document of a run."""
        run, name = self._find_run(request), request.path_params["run"]
        cached = partial(self._get_cached, name, build.__name__, run.state.tag, partial(build, run))
        return _build_json_response(request, await self.run_in_thread(cached))

    def _get_cached(self, run: str, kind: str, tag: str, build: Callable[[], T]) -> T:
        """Get a document from the cache; it is built again if the tag has changed (seconds for 20,000 tiles)."""
        known = self.documents.get((run, kind))
        if known is None or known[0] != tag:
            known = self.documents[run, kind] = (tag, build())
        document: T = known[1]
        return document

    async def get_tile(self, request: Request) -> Response:
        """Return status, metrics and scene list of a tile."""
        run = self._find_run(request)
        name = query_params.parse_tile_name(run, request.path_params["tile"])
        return _build_json_response(request, await self.run_in_thread(partial(point_query.describe_tile, run, name)))

    async def get_point(self, request: Request) -> Response:
        """Return the values of the pixel at a point."""
        run = query_params.find_run(self.runs, request.path_params["run"])
        lon, lat = query_params.parse_point(query_params.parse_options(request.query_params, "lon", "lat"))
        return _build_json_response(request, await self.run_in_thread(partial(point_query.query_point, run, lon, lat)))

    def _find_run(self, request: Request) -> ViewedRun:
        """Find the run of a request that has no options but its version."""
        query_params.parse_options(request.query_params, "v")
        return query_params.find_run(self.runs, request.path_params["run"])

    async def get_map_tile(self, request: Request) -> Response:
        """Return the image of a map tile."""
        names = request.path_params
        run, layer = query_params.find_run(self.runs, names["run"]), query_params.parse_layer(names["layer"])
        map_tile = query_params.parse_map_tile(names["z"], names["x"], names["y"])
        options = query_params.parse_options(request.query_params, "date", "v")
        day = query_params.parse_day(options) if LAYERS[layer].dated else None
        drawing = await self.run_in_thread(partial(plan_drawing, run, layer, map_tile, day))
        if drawing is None:
            raise RequestRefused(404, f"at this zoom, {layer} would open too many files; zoom in")
        if _is_unchanged(request, drawing.etag):
            return _build_not_modified_response(drawing.etag)
        data: bytes | None = self.images.get(drawing.etag)
        if data is None:
            if await request.is_disconnected():  # the map has moved on while the request waited
                return Response(status_code=499)
            drawn, complete = await self.run_in_thread(partial(_draw, drawing))
            if complete:  # a file that could not be read may be replaced soon
                self.images[drawing.etag] = drawn
            data = drawn
        if not data:
            return Response(status_code=204)
        return _build_response(request, data, _detect_media_type(data), drawing.etag)


def _draw(drawing: TileDrawing) -> tuple[bytes, bool]:
    """Draw a map tile: the image (empty if there is no data), and whether all files could be read."""
    before = len(drawing.run.problems)
    data = drawing.draw() or b""
    return data, len(drawing.run.problems) == before


def build_application(
    runs: Mapping[str, ViewedRun], hosts: list[str], basemap: Basemap | None = None, threads: int = 4
) -> Starlette:
    """Build the web application.

    Args:
        runs: Runs by name: 'a', and 'b' if two runs are compared.
        hosts: Accepted values of the Host header (protection against DNS rebinding).
        basemap: Map tiles of another server below the run.
        threads: Number of threads that read files.
    """
    site = _Site(runs, Page.from_package(), basemap, threads)
    routes = [
        Route("/", site.get_index),
        Route("/page/{name:path}", site.get_static_file),
        Route("/api/runs", site.describe_runs),
        Route("/api/{run}/tiles.geojson", site.get_tiles),
        Route("/api/{run}/seams.geojson", site.get_seams),
        Route("/api/{run}/tile/{tile}", site.get_tile),
        Route("/api/{run}/at", site.get_point),
        Route("/tiles/{run}/{layer}/{z}/{x}/{y}", site.get_map_tile),
    ]
    middleware = [
        Middleware(SecurityHeaders, basemap=basemap.origin if basemap else None),
        Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
        Middleware(GZipMiddleware, minimum_size=2_000),
    ]
    handlers: Any = {
        RequestRefused: _handle_refused_request,
        HTTPException: _handle_http_error,
        S2opsError: _handle_s2ops_error,
        Exception: _handle_unexpected_error,
    }
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)


async def _handle_refused_request(_: Request, error: RequestRefused) -> Response:
    """Return the reason why a request is refused."""
    return JSONResponse({"error": str(error)}, error.status, {"Retry-After": "1"} if error.status == 503 else None)


async def _handle_http_error(_: Request, error: HTTPException) -> Response:
    """Return an error of the routing as JSON."""
    messages = {404: "there is no such page", 405: "only GET is supported"}
    return JSONResponse({"error": messages.get(error.status_code, str(error.detail))}, error.status_code)


async def _handle_s2ops_error(_: Request, error: S2opsError) -> Response:
    """Return an error of s2ops; status 503 if the request may succeed later."""
    return JSONResponse({"error": str(error)}, 503 if error.exit_code == 75 else 500)


async def _handle_unexpected_error(_: Request, error: Exception) -> Response:
    """Return a sentence; the traceback is printed in the terminal of `s2ops view`."""
    return JSONResponse({"error": f"s2ops view failed ({type(error).__name__}); see its terminal"}, 500)


def _build_json_response(request: Request, value: object) -> Response:
    """Build a JSON response with an ETag."""
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return _build_response(request, data, "application/json", sha256(data).hexdigest()[:32])


def _build_response(request: Request, data: bytes, media_type: str, etag: str) -> Response:
    """Build a response, or status 304 if the browser has the same content."""
    if _is_unchanged(request, etag):
        return _build_not_modified_response(etag)
    return Response(data, media_type=media_type, headers=_build_cache_headers(etag))


def _build_not_modified_response(etag: str) -> Response:
    """Build the response to a browser that has the same content."""
    return Response(status_code=304, headers=_build_cache_headers(etag))


def _build_cache_headers(etag: str) -> dict[str, str]:
    """Build headers for a browser cache that revalidates every time, because the run may still be going on."""
    return {"ETag": f'"{etag}"', "Cache-Control": "private, no-cache"}


def _is_unchanged(request: Request, etag: str) -> bool:
    """Return True if the browser has content with this ETag."""
    given = request.headers.get("if-none-match", "")
    return any(one.strip().removeprefix("W/").strip('"') == etag for one in given.split(","))


def _detect_media_type(data: bytes) -> str:
    """Detect PNG or WebP."""
    return "image/png" if data.startswith(b"\x89PNG") else "image/webp"

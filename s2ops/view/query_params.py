"""Validation of request parameters (run, layer, tile, point, day); invalid ones are refused with one sentence."""

import math
import re
from collections.abc import Mapping
from datetime import date
from typing import Final

from morecantile import Tile as MapTile

from s2ops.view.layers import LAYERS
from s2ops.view.run import ViewedRun
from s2ops.view.tiles import MAX_ZOOM

_NUMBER: Final = re.compile(r"\d{1,8}", re.ASCII)
_MAX_QUOTED_CHARS: Final = 40
"""Maximum number of characters of an invalid value that a response repeats."""


class RequestRefused(Exception):
    """Request that cannot be answered; `status` is the HTTP status, the text is a sentence for people."""

    def __init__(self, status: int, sentence: str) -> None:
        """Create the error from HTTP status and sentence."""
        super().__init__(sentence)
        self.status = status


def find_run(runs: Mapping[str, ViewedRun], name: str) -> ViewedRun:
    """Find a run by name: 'a', or 'b' if two runs are compared."""
    if name not in runs:
        raise RequestRefused(404, f"there is no run {_quote(name)}; available: {', '.join(runs)}")
    return runs[name]


def parse_tile_name(run: ViewedRun, name: str) -> str:
    """Parse the name of a tile of the run."""
    if run.get_tile(name) is None:
        raise RequestRefused(404, f"{_quote(name)} is not a tile of this run")
    return name


def parse_layer(name: str) -> str:
    """Parse the name of a layer."""
    if name not in LAYERS:
        raise RequestRefused(404, f"there is no layer {_quote(name)}; available: {', '.join(LAYERS)}")
    return name


def parse_map_tile(z: str, x: str, y: str) -> MapTile:
    """Parse zoom, column and row of a map tile."""
    if not all(_NUMBER.fullmatch(part) for part in (z, x, y)):
        raise RequestRefused(400, "the address of a map tile ends with three whole numbers: /tiles/RUN/LAYER/Z/X/Y")
    zoom, column, row = int(z), int(x), int(y)
    if zoom > MAX_ZOOM:
        raise RequestRefused(400, f"zoom {zoom} is above {MAX_ZOOM}")
    if column >= 2**zoom or row >= 2**zoom:
        raise RequestRefused(400, f"at zoom {zoom}, columns and rows end at {2**zoom - 1}")
    return MapTile(column, row, zoom)


def parse_options(given: Mapping[str, str], *known: str) -> Mapping[str, str]:
    """Return the query if it contains only known options."""
    for name in given:
        if name not in known:
            available = f"available: {', '.join(known)}" if known else "this request has no options"
            raise RequestRefused(400, f"there is no option {_quote(name)}; {available}")
    return given


def parse_day(given: Mapping[str, str]) -> str:
    """Parse the option `date`, an ISO day."""
    text = given.get("date", "")
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise RequestRefused(400, f"date is {_quote(text)}; give a day such as date=2023-08-20") from error


def parse_point(given: Mapping[str, str]) -> tuple[float, float]:
    """Parse the options `lon` and `lat`, degrees in WGS 84."""
    try:
        lon, lat = float(given.get("lon", "")), float(given.get("lat", ""))
    except ValueError as error:
        raise RequestRefused(400, "give a point in degrees: lon=15.98&lat=45.81") from error
    if not (math.isfinite(lon) and math.isfinite(lat) and abs(lat) <= 90):
        raise RequestRefused(400, "give a point on Earth: lat is between -90 and 90")
    return (lon + 180.0) % 360.0 - 180.0, lat  # a map may have been moved around the Earth more than once


def _quote(text: str) -> str:
    """Quote the beginning of an invalid value."""
    return repr(text[:_MAX_QUOTED_CHARS])

"""What a request asks for, checked: what is no layer, tile or place of the run is refused in a sentence."""

import math
import re
from collections.abc import Mapping
from datetime import date
from typing import Final

from morecantile import Tile as MapTile

from s2ops.view.layers import LAYERS
from s2ops.view.run import Run
from s2ops.view.tiles import MAX_ZOOM

_NUMBER: Final = re.compile(r"\d{1,8}", re.ASCII)
_SHOWN: Final = 40
"""Characters of a wrong value that an answer repeats."""


class Refused(Exception):
    """The request cannot be answered; `status` is the HTTP status, the text is for people."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def one_of(runs: Mapping[str, Run], name: str) -> Run:
    """The run of that name: 'a', or 'b' where two are compared."""
    if name not in runs:
        raise Refused(404, f"there is no run {_shown(name)}; there are: {', '.join(runs)}")
    return runs[name]


def tile_name(run: Run, name: str) -> str:
    """The name of one of the run's tiles."""
    if run.tile(name) is None:
        raise Refused(404, f"{_shown(name)} is no tile of this run")
    return name


def layer(name: str) -> str:
    """The name of a layer."""
    if name not in LAYERS:
        raise Refused(404, f"there is no layer {_shown(name)}; there are: {', '.join(LAYERS)}")
    return name


def map_tile(z: str, x: str, y: str) -> MapTile:
    """A place in the pyramid of map tiles."""
    if not all(_NUMBER.fullmatch(part) for part in (z, x, y)):
        raise Refused(400, "a map tile is asked for by three whole numbers: /tiles/RUN/LAYER/Z/X/Y")
    zoom, column, row = int(z), int(x), int(y)
    if zoom > MAX_ZOOM:
        raise Refused(400, f"zoom {zoom} is above {MAX_ZOOM}")
    if column >= 2**zoom or row >= 2**zoom:
        raise Refused(400, f"at zoom {zoom}, columns and rows end at {2**zoom - 1}")
    return MapTile(column, row, zoom)


def options(given: Mapping[str, str], *known: str) -> Mapping[str, str]:
    """The query, if it holds nothing but known names."""
    for name in given:
        if name not in known:
            takes = f"there are: {', '.join(known)}" if known else "there are none here"
            raise Refused(400, f"there is no option {_shown(name)}; {takes}")
    return given


def day(given: Mapping[str, str]) -> str:
    """The option `date`, an ISO day."""
    text = given.get("date", "")
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise Refused(400, f"date is {_shown(text)}; give a day such as date=2023-08-20") from error


def place(given: Mapping[str, str]) -> tuple[float, float]:
    """The options `lon` and `lat`, degrees in WGS 84."""
    try:
        lon, lat = float(given.get("lon", "")), float(given.get("lat", ""))
    except ValueError as error:
        raise Refused(400, "give a place in degrees: lon=15.98&lat=45.81") from error
    if not (math.isfinite(lon) and math.isfinite(lat) and abs(lat) <= 90):
        raise Refused(400, "give a place on Earth: lat lies between -90 and 90")
    return (lon + 180.0) % 360.0 - 180.0, lat  # a map may be turned round the Earth more than once


def _shown(text: str) -> str:
    return repr(text[:_SHOWN])

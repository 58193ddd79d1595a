"""Arrays to pictures that people look at: fixed stretches and colours, so that two pictures can be compared."""

import base64
import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from PIL import Image

from s2ops.constants import CLASS_COLOURS, Bool, LandCover, UInt8
from s2ops.imaging.tone_curve import reflectance_table

DARK: Final = 0.007
"""Reflectance shown black: what remains of the atmosphere over shaded woods would else veil the picture."""

WHITE: Final = 0.287
"""Reflectance shown nearly white: bright soils and roofs keep their texture, clouds and snow do not matter here."""

GAMMA: Final = 1.6
"""Lifts woods and water, which have reflectances of 0.02 to 0.05, out of the dark."""

_DATE_STOPS: Final = ((68, 57, 130), (49, 104, 142), (33, 145, 140), (94, 190, 98), (250, 200, 40))
"""From the oldest date to the newest: dark violet to yellow, told apart in all common kinds of colour blindness."""

_CONFIDENCE_STOPS: Final = ((165, 42, 42), (233, 150, 80), (245, 235, 200), (120, 180, 160), (20, 100, 110))
"""From 0 to 100 percent."""

Colour = tuple[int, int, int]


@lru_cache(maxsize=1)
def display_table() -> UInt8:
    """Shape (256,): the 8-bit sRGB value at which each level of the tone curve is shown; fixed for all pictures."""
    reflectance = np.nan_to_num(reflectance_table())
    part = np.clip((reflectance - DARK) / (WHITE - DARK), 0, None) ** (1 / GAMMA)
    # a soft shoulder instead of clipping: 1 becomes 0.9, far brighter things approach white
    soft = np.where(part < 0.8, part, 0.8 + 0.2 * (1 - np.exp(-(part - 0.8) / 0.2)))
    out: UInt8 = np.rint(255 * soft).astype(np.uint8)
    out[0] = 0
    return out


def true_colour(levels: UInt8) -> UInt8:
    """(4 or 3, y, x) levels, red, green, blue first -> (y, x, 4) RGBA; no data is transparent."""
    rgb = display_table()[levels[:3]]
    alpha = np.where(levels[:3].any(axis=0), 255, 0).astype(np.uint8)
    return _rgba(np.moveaxis(rgb, 0, -1), alpha)


def land_cover(codes: UInt8) -> UInt8:
    """(y, x) class codes -> (y, x, 4) RGBA in the classes' colours; no data is transparent."""
    table = np.zeros((256, 4), np.uint8)
    for code in LandCover:
        if code is not LandCover.NODATA:
            table[int(code)] = (*CLASS_COLOURS[code], 255)
    out: UInt8 = table[codes]
    return out


def confidence(percent: UInt8) -> UInt8:
    """(y, x) percent, 255 = no data -> (y, x, 4) RGBA, red (0) over cream (50) to teal (100)."""
    table = np.zeros((256, 4), np.uint8)
    table[:101] = [(*confidence_colour(value), 255) for value in range(101)]
    out: UInt8 = table[percent]
    return out


def confidence_colour(percent: float) -> Colour:
    """The colour that stands for a confidence."""
    return _between(_CONFIDENCE_STOPS, percent / 100)


def date_colours(dates: Sequence[str]) -> dict[str, Colour]:
    """A colour for each ISO date, oldest violet to newest yellow, evenly spaced."""
    ordered = sorted(set(dates))
    return {day: _between(_DATE_STOPS, n / max(len(ordered) - 1, 1)) for n, day in enumerate(ordered)}


def by_number(numbers: UInt8, colours: Sequence[Colour]) -> UInt8:
    """(y, x) provenance -> (y, x, 4) RGBA: n takes the n-th colour, a hole (0) is transparent."""
    table = np.zeros((256, 4), np.uint8)
    for number, colour in enumerate(colours, start=1):
        table[number] = (*colour, 255)
    out: UInt8 = table[numbers]
    return out


def encode(rgba: UInt8, kind: Literal["jpeg", "png"], quality: int = 84) -> bytes:
    """(y, x, 4) or (y, x, 3) as a file. JPEG has no transparency: what is transparent becomes mid grey."""
    buffer = io.BytesIO()
    if kind == "png":
        # classes and dates have few colours: a palette file is a third of the size
        image = Image.fromarray(rgba)
        few = image.quantize(255, method=Image.Quantize.FASTOCTREE) if rgba.shape[2] == 4 else image
        few.save(buffer, "png", compress_level=6)  # `optimize` takes six times as long for 2 % of the size
    else:
        Image.fromarray(_flat(rgba)).save(buffer, "jpeg", quality=quality, subsampling=0, optimize=True)
    return buffer.getvalue()


def data_uri(data: bytes, kind: Literal["jpeg", "png"]) -> str:
    """The file as a URI that an HTML page can carry."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def hexa(colour: Colour) -> str:
    """Such as '#005ce6'."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _flat(rgba: UInt8) -> UInt8:
    if rgba.shape[2] == 3:
        return rgba
    shown: Bool = rgba[..., 3:] > 0
    return np.where(shown, rgba[..., :3], np.uint8(128))


def _rgba(rgb: UInt8, alpha: UInt8) -> UInt8:
    return np.concatenate([rgb, alpha[..., None]], axis=-1)


def _between(stops: Sequence[Colour], part: float) -> Colour:
    """Linear between evenly spaced stops, 0 to 1."""
    place = min(max(part, 0.0), 1.0) * (len(stops) - 1)
    low = min(int(place), len(stops) - 2)
    red, green, blue = (round(a + (b - a) * (place - low)) for a, b in zip(stops[low], stops[low + 1], strict=True))
    return red, green, blue

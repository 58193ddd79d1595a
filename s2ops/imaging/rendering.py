"""Rendering of rasters as images (RGBA, PNG, JPEG) with fixed stretches and colours, so that images are comparable."""

import base64
import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from PIL import Image

from s2ops.constants import CLASS_COLOURS, Bool, LandCover, UInt8
from s2ops.imaging.tone_curve import build_reflectance_table

DARK: Final = 0.007
"""Reflectance rendered as black: otherwise path radiance that remains over shaded forest would veil the image."""

WHITE: Final = 0.287
"""Reflectance rendered as nearly white: bright soils and roofs keep their texture; clouds and snow need none."""

GAMMA: Final = 1.6
"""Gamma of the stretch: it brightens forest and water, which have reflectances of 0.02 to 0.05."""

_DATE_STOPS: Final = ((68, 57, 130), (49, 104, 142), (33, 145, 140), (94, 190, 98), (250, 200, 40))
"""Colours from the oldest to the newest date: dark violet to yellow, safe for the common kinds of colour blindness."""

_CONFIDENCE_STOPS: Final = ((165, 42, 42), (233, 150, 80), (245, 235, 200), (120, 180, 160), (20, 100, 110))
"""Colours from 0 to 100 percent confidence."""

Colour = tuple[int, int, int]
"""Red, green and blue, 0..255."""


MAX_LEGEND_DATES: Final = 24
"""Maximum number of dates in a legend; more are grouped by month, then by year."""


@lru_cache(maxsize=1)
def build_display_table() -> UInt8:
    """Build the table of the 8-bit sRGB value of each level of the tone curve: (256,) uint8, fixed for all images."""
    reflectance = np.nan_to_num(build_reflectance_table())
    part = np.clip((reflectance - DARK) / (WHITE - DARK), 0, None) ** (1 / GAMMA)
    # a soft shoulder instead of clipping: 1 becomes 0.9, far brighter things approach white
    soft = np.where(part < 0.8, part, 0.8 + 0.2 * (1 - np.exp(-(part - 0.8) / 0.2)))
    out: UInt8 = np.rint(255 * soft).astype(np.uint8)
    out[0] = 0
    return out


def render_true_colour(levels: UInt8) -> UInt8:
    """Render (4 or 3, y, x) levels, red, green, blue first, as (y, x, 4) RGBA; no data is transparent."""
    rgb = build_display_table()[levels[:3]]
    alpha = np.where(levels[:3].any(axis=0), 255, 0).astype(np.uint8)
    return np.concatenate([np.moveaxis(rgb, 0, -1), alpha[..., None]], axis=-1)


def render_land_cover(codes: UInt8) -> UInt8:
    """Render (y, x) class codes as (y, x, 4) RGBA in the classes' colours; no data is transparent."""
    table = np.zeros((256, 4), np.uint8)
    for code in LandCover:
        if code is not LandCover.NODATA:
            table[int(code)] = (*CLASS_COLOURS[code], 255)
    out: UInt8 = table[codes]
    return out


def render_confidence(percent: UInt8) -> UInt8:
    """Render (y, x) percent, 255 = no data, as (y, x, 4) RGBA: red (0) over cream (50) to teal (100)."""
    table = np.zeros((256, 4), np.uint8)
    table[:101] = [(*pick_confidence_colour(value), 255) for value in range(101)]
    out: UInt8 = table[percent]
    return out


def pick_confidence_colour(percent: float) -> Colour:
    """Pick the colour of a confidence of 0 to 100 percent."""
    return _interpolate_colour(_CONFIDENCE_STOPS, percent / 100)


def choose_date_length(days: Sequence[str]) -> int:
    """Choose how many characters of ISO dates a legend shows: 10 for days, 7 for months, 4 for years."""
    return next((length for length in (10, 7) if len({day[:length] for day in days}) <= MAX_LEGEND_DATES), 4)


def assign_date_colours(dates: Sequence[str]) -> dict[str, Colour]:
    """Assign a colour to each ISO date, oldest violet to newest yellow, evenly spaced."""
    ordered = sorted(set(dates))
    return {day: _interpolate_colour(_DATE_STOPS, n / max(len(ordered) - 1, 1)) for n, day in enumerate(ordered)}


def render_provenance(numbers: UInt8, colours: Sequence[Colour]) -> UInt8:
    """Render (y, x) provenance as (y, x, 4) RGBA: n has the n-th colour (from 1), a hole (0) is transparent."""
    table = np.zeros((256, 4), np.uint8)
    for number, colour in enumerate(colours, start=1):
        table[number] = (*colour, 255)
    out: UInt8 = table[numbers]
    return out


def encode_image(rgba: UInt8, kind: Literal["jpeg", "png"], quality: int = 84) -> bytes:
    """Encode a (y, x, 4) or (y, x, 3) image as a file.

    JPEG has no transparency: transparent pixels become mid grey. `quality` applies to JPEG only.
    """
    buffer = io.BytesIO()
    if kind == "png":
        # classes and dates have few colours: a palette file is a third of the size
        image = Image.fromarray(rgba)
        few = image.quantize(255, method=Image.Quantize.FASTOCTREE) if rgba.shape[2] == 4 else image
        few.save(buffer, "png", compress_level=6)  # `optimize` takes six times as long for 2 % of the size
    else:
        Image.fromarray(_replace_transparency(rgba)).save(buffer, "jpeg", quality=quality, subsampling=0, optimize=True)
    return buffer.getvalue()


def build_data_uri(data: bytes, kind: Literal["jpeg", "png"]) -> str:
    """Build a data URI, which embeds an image file in an HTML page."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def format_hex_colour(colour: Colour) -> str:
    """Format a colour for HTML, such as '#005ce6'."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _replace_transparency(rgba: UInt8) -> UInt8:
    """Replace transparent pixels by mid grey and return (y, x, 3) RGB."""
    if rgba.shape[2] == 3:
        return rgba
    shown: Bool = rgba[..., 3:] > 0
    return np.where(shown, rgba[..., :3], np.uint8(128))


def _interpolate_colour(stops: Sequence[Colour], part: float) -> Colour:
    """Interpolate linearly between evenly spaced colours at position `part`, 0 to 1."""
    place = min(max(part, 0.0), 1.0) * (len(stops) - 1)
    low = min(int(place), len(stops) - 2)
    red, green, blue = (round(a + (b - a) * (place - low)) for a, b in zip(stops[low], stops[low + 1], strict=True))
    return red, green, blue

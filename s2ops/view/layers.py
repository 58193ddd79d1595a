"""The layers that are drawn from pixels: which file, how it is read, and its colours."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from PIL import Image

from s2ops.constants import CLASS_COLOURS, CLASS_NAMES, LandCover, UInt8
from s2ops.imaging import rendering
from s2ops.imaging.tone_curve import reflectance_table

HOLE: Final = (226, 26, 77)
"""A pixel that no scene shows clear."""

LEGEND: Final = 24
"""Most dates in a legend; more become months, then years."""

_VEGETATION_WHITE: Final = 0.55
"""Near infrared reflectance shown nearly white; woods and meadows have 0.3 to 0.5."""

Kind = Literal["picture", "codes"]
Recode = Callable[[UInt8], UInt8]


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of a run. `folder/T/NAME.tif` holds it, or with `dated` every scene of a day."""

    label: str
    folder: str
    file: str
    bands: tuple[int, ...]
    kind: Kind
    """Pictures are averaged and shown as WebP; codes are never mixed and shown as PNG."""
    nodata: int = 0
    dated: bool = False


LAYERS: Final[Mapping[str, Layer]] = {
    "truecolour": Layer("True colour", "mosaic", "mosaic", (1, 2, 3), "picture"),
    "infrared": Layer("Near infrared", "mosaic", "mosaic", (4, 1, 2), "picture"),
    "before": Layer("Before blending", "composite", "composite", (1, 2, 3), "picture"),
    "scene": Layer("Single scenes", "scenes", "", (1, 2, 3), "picture", dated=True),
    "landcover": Layer("Land cover", "landcover", "landcover", (1,), "codes"),
    "confidence": Layer("Confidence", "landcover", "confidence", (1,), "codes", nodata=255),
    "dates": Layer("Dates", "mosaic", "provenance", (1,), "codes"),
    "holes": Layer("Holes", "mosaic", "provenance", (1,), "codes", nodata=255),
}


def period_length(days: Sequence[str]) -> int:
    """Characters of an ISO date that keep a legend short enough to read: day, month or year."""
    return next((length for length in (10, 7) if len({day[:length] for day in days}) <= LEGEND), 4)


@dataclass(frozen=True)
class Dates:
    """How days are coloured: each day, month or year has a number and a colour, the oldest first."""

    days: tuple[str, ...]

    @property
    def colours(self) -> dict[str, rendering.Colour]:
        """By period."""
        length = period_length(self.days)
        return rendering.date_colours([day[:length] for day in self.days])

    def recode(self, scenes: Sequence[str]) -> Recode:
        """From provenance numbers of a tile, whose scenes have these days, to those of the periods."""
        length = period_length(self.days)
        numbers = {period: number for number, period in enumerate(self.colours, start=1)}
        table = np.zeros(256, np.uint8)
        for number, day in enumerate(scenes[:255], start=1):
            table[number] = min(numbers.get(day[:length], 0), 255)
        return lambda pixels: table[pixels]


def encode(name: str, pixels: UInt8, dates: Dates) -> bytes:
    """(band, y, x) of that layer as a file for a browser; what is no data is transparent."""
    if LAYERS[name].kind == "picture":
        return _webp(rendering.true_colour(pixels) if name != "infrared" else _infrared(pixels))
    return _png(pixels[0], _palette(name, tuple(dates.colours.values()) if name == "dates" else ()))


def legend(name: str, dates: Dates) -> list[tuple[str, str]]:
    """(colour, words) of each entry; pictures have none."""
    if name == "landcover":
        return [(rendering.hexa(CLASS_COLOURS[code]), CLASS_NAMES[code]) for code in LandCover if code]
    if name == "confidence":
        return [(rendering.hexa(rendering.confidence_colour(part)), f"{part} %") for part in range(0, 101, 25)]
    if name == "dates":
        return [(rendering.hexa(colour), period) for period, colour in dates.colours.items()]
    return [(rendering.hexa(HOLE), "no scene shows it clear")] if name == "holes" else []


def _infrared(levels: UInt8) -> UInt8:
    """Near infrared, red, green as red, green, blue; the first, which is far brighter over plants, stretched less."""
    rgba = rendering.true_colour(levels)
    rgba[..., 0] = _vegetation_table()[levels[0]]
    return rgba


@lru_cache(maxsize=1)
def _vegetation_table() -> UInt8:
    part = np.clip(np.nan_to_num(reflectance_table()) / _VEGETATION_WHITE, 0, 1) ** (1 / 1.2)
    out: UInt8 = np.rint(255 * part).astype(np.uint8)
    return out


@lru_cache(maxsize=64)
def _palette(name: str, colours: tuple[rendering.Colour, ...]) -> tuple[bytes, bytes]:
    """(256 x RGB, 256 x alpha)."""
    codes = np.arange(256, dtype=np.uint8)[None]
    if name == "landcover":
        rgba = rendering.land_cover(codes)[0]
    elif name == "confidence":
        rgba = rendering.confidence(codes)[0]
    elif name == "dates":
        rgba = rendering.by_number(codes, colours)[0]
    else:
        rgba = np.zeros((256, 4), np.uint8)
        rgba[0] = (*HOLE, 255)
    return rgba[:, :3].tobytes(), rgba[:, 3].tobytes()


def _png(codes: UInt8, palette: tuple[bytes, bytes]) -> bytes:
    image = Image.fromarray(codes)
    image.putpalette(palette[0])
    buffer = io.BytesIO()
    image.save(buffer, "png", transparency=palette[1], compress_level=6)
    return buffer.getvalue()


def _webp(rgba: UInt8) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "webp", quality=86, method=2)
    return buffer.getvalue()

"""Map layers (raster layers): source file, resampling and colours (symbology) of each."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from PIL import Image

from s2ops.constants import CLASS_COLOURS, CLASS_NAMES, LandCover, UInt8
from s2ops.imaging import rendering
from s2ops.imaging.tone_curve import build_reflectance_table

HOLE_COLOUR: Final = (226, 26, 77)
"""Colour of pixels that are clear in no scene."""

_WHITE_NIR_REFLECTANCE: Final = 0.55
"""Near-infrared reflectance that is shown nearly white; woods and meadows have 0.3 to 0.5."""

LayerKind = Literal["picture", "codes"]
Recode = Callable[[UInt8], UInt8]


@dataclass(frozen=True, slots=True)
class MapLayer:
    """Raster layer of a run."""

    label: str
    folder: str
    """Product (folder of the store) of the files."""
    file: str
    """Name of the file without extension; empty for scenes."""
    bands: tuple[int, ...]
    """Band numbers that are read."""
    kind: LayerKind
    """Pictures are averaged and encoded as WebP; codes are never averaged and encoded as PNG."""
    nodata: int = 0
    dated: bool = False
    """True if the layer shows all scenes of one day."""


LAYERS: Final[Mapping[str, MapLayer]] = {
    "truecolour": MapLayer("True colour", "mosaic", "mosaic", (1, 2, 3), "picture"),
    "infrared": MapLayer("Near infrared", "mosaic", "mosaic", (4, 1, 2), "picture"),
    "before": MapLayer("Before blending", "composite", "composite", (1, 2, 3), "picture"),
    "scene": MapLayer("Single scenes", "scenes", "", (1, 2, 3), "picture", dated=True),
    "landcover": MapLayer("Land cover", "landcover", "landcover", (1,), "codes"),
    "confidence": MapLayer("Confidence", "landcover", "confidence", (1,), "codes", nodata=255),
    "dates": MapLayer("Dates", "mosaic", "provenance", (1,), "codes"),
    "holes": MapLayer("Holes", "mosaic", "provenance", (1,), "codes", nodata=255),
}


@dataclass(frozen=True)
class DateColours:
    """Colours of acquisition days: each day, month or year has a number and a colour, oldest first."""

    days: tuple[str, ...]

    @property
    def colours(self) -> dict[str, rendering.Colour]:
        """Colour of each period (day, month or year)."""
        length = rendering.choose_date_length(self.days)
        return rendering.assign_date_colours([day[:length] for day in self.days])

    def build_recoding(self, scenes: Sequence[str]) -> Recode:
        """Build the function from a tile's provenance numbers to numbers of periods.

        Args:
            scenes: Day of each scene in the provenance of the tile.
        """
        length = rendering.choose_date_length(self.days)
        numbers = {period: number for number, period in enumerate(self.colours, start=1)}
        table = np.zeros(256, np.uint8)
        for number, day in enumerate(scenes[:255], start=1):
            table[number] = min(numbers.get(day[:length], 0), 255)
        return lambda pixels: table[pixels]


def encode_layer(name: str, pixels: UInt8, dates: DateColours) -> bytes:
    """Encode pixels `(band, y, x)` of a layer as PNG or WebP; pixels without data are transparent."""
    if LAYERS[name].kind == "picture":
        return _encode_webp(rendering.render_true_colour(pixels) if name != "infrared" else _render_infrared(pixels))
    return _encode_png(pixels[0], _build_palette(name, tuple(dates.colours.values()) if name == "dates" else ()))


def build_legend(name: str, dates: DateColours) -> list[tuple[str, str]]:
    """Build the legend: (colour, label) of each entry; pictures have none."""
    if name == "landcover":
        return [(rendering.format_hex_colour(CLASS_COLOURS[code]), CLASS_NAMES[code]) for code in LandCover if code]
    if name == "confidence":
        return [
            (rendering.format_hex_colour(rendering.pick_confidence_colour(part)), f"{part} %")
            for part in range(0, 101, 25)
        ]
    if name == "dates":
        return [(rendering.format_hex_colour(colour), period) for period, colour in dates.colours.items()]
    return [(rendering.format_hex_colour(HOLE_COLOUR), "clear in no scene")] if name == "holes" else []


def _render_infrared(levels: UInt8) -> UInt8:
    """Render near infrared, red, green as RGB; near infrared, brighter over vegetation, is stretched less."""
    rgba = rendering.render_true_colour(levels)
    rgba[..., 0] = _build_vegetation_table()[levels[0]]
    return rgba


@lru_cache(maxsize=1)
def _build_vegetation_table() -> UInt8:
    """Build the lookup table from levels to display values of the near infrared: `(256,)`."""
    part = np.clip(np.nan_to_num(build_reflectance_table()) / _WHITE_NIR_REFLECTANCE, 0, 1) ** (1 / 1.2)
    out: UInt8 = np.rint(255 * part).astype(np.uint8)
    return out


@lru_cache(maxsize=64)
def _build_palette(name: str, colours: tuple[rendering.Colour, ...]) -> tuple[bytes, bytes]:
    """Build the palette of a layer: 256 x RGB, and 256 x alpha."""
    codes = np.arange(256, dtype=np.uint8)[None]
    if name == "landcover":
        rgba = rendering.render_land_cover(codes)[0]
    elif name == "confidence":
        rgba = rendering.render_confidence(codes)[0]
    elif name == "dates":
        rgba = rendering.render_provenance(codes, colours)[0]
    else:
        rgba = np.zeros((256, 4), np.uint8)
        rgba[0] = (*HOLE_COLOUR, 255)
    return rgba[:, :3].tobytes(), rgba[:, 3].tobytes()


def _encode_png(codes: UInt8, palette: tuple[bytes, bytes]) -> bytes:
    """Encode codes `(y, x)` as PNG with a palette."""
    image = Image.fromarray(codes)
    image.putpalette(palette[0])
    buffer = io.BytesIO()
    image.save(buffer, "png", transparency=palette[1], compress_level=6)
    return buffer.getvalue()


def _encode_webp(rgba: UInt8) -> bytes:
    """Encode an image `(y, x, RGBA)` as WebP."""
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "webp", quality=86, method=2)
    return buffer.getvalue()

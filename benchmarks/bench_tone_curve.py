"""Tone curve of s2ops (16 to 8 bits) beside ESA's true-colour (TCI) formula: level steps, and texture of real scenes.

    S2OPS_REAL_DATA=... python benchmarks/bench_tone_curve.py [--write benchmarks/results/tone-curve.md]

The script prints Markdown. With --write it also replaces the text below the marker line of that file.
"""

import argparse
import lzma
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from rasterio.io import MemoryFile
from scipy.ndimage import maximum_filter, minimum_filter, uniform_filter

from s2ops.constants import Bool, Float32, UInt8
from s2ops.imaging.tone_curve import (
    LEVELS_PER_LOG,
    SCALE,
    TOE,
    TOP,
    apply_tone_curve,
    compute_tci_levels,
    invert_tone_curve,
)

MARKER = "<!-- written by benchmarks/bench_tone_curve.py -->"
TCI_STEP = 0.3558 / 255
REFLECTANCES = (0.0, 0.01, 0.03, 0.1, 0.2, 0.36, 0.5, 0.8, 1.2)
WINDOW_PX = 5


class Curve(NamedTuple):
    """Conversion from reflectance to 8-bit levels, and back."""

    name: str
    levels: Callable[[Float32], UInt8]
    reflectance: Callable[[UInt8], Float32]


class TextureFidelity(NamedTuple):
    """Local texture of a class of pixels after conversion to 8 bits and back."""

    pixels: int
    kept: float
    """Regression slope of texture after on texture before (1: all kept)."""
    noise: float
    """RMS of the difference, relative to the RMS of the texture before."""


CURVES = (
    Curve("s2ops", lambda r: np.rint(apply_tone_curve(r)).astype(np.uint8), invert_tone_curve),
    Curve("TCI", compute_tci_levels, lambda levels: levels.astype(np.float32) * np.float32(TCI_STEP)),
)


def read_scenes(root: Path) -> Iterator[tuple[str, Float32]]:
    """Yield name and reflectance (4, y, x) of each scene: red, green, blue, nir; NaN is no data."""
    for name in ("S2A_33TWM_20230818_0_L2A", "S2A_33TWM_20230815_0_L2A"):
        folder = root / "zagreb-two-tiles/sentinel-2-l2a" / name
        numbers = np.stack([read_bands(folder / f"{band}.tif", (1,))[0] for band in ("B04", "B03", "B02", "B08")])
        yield f"zagreb {name[10:18]}", convert_to_reflectance(numbers, 0)
    packed = root / "zurich/20190530_T32TMT_MSIL2A_S2A_pixel_division_10m.tiff.xz"
    with MemoryFile(lzma.decompress(packed.read_bytes())) as memory, memory.open() as source:
        yield "zurich 20190530", convert_to_reflectance(source.read((3, 2, 1, 7)), 0)
    for file in ("exe_2024-06-02_12-21-19_EPSG27700.tif", "exe_2024-08-26_12-21-11.tif"):
        yield (
            f"exeter {file[4:14].replace('-', '')}",
            convert_to_reflectance(read_bands(root / "exeter-series" / file, (3, 2, 1, 4)), -1000),
        )
    for day in ("2020-06-21", "2020-01-18"):
        numbers = read_bands(root / "boadella-series" / f"Boadella_{day}.tif", (4, 3, 2, 8))
        yield f"boadella {day.replace('-', '')}", convert_to_reflectance(numbers, 0)


def read_bands(path: Path, bands: tuple[int, ...]) -> np.ndarray:
    """Read bands (band, y, x) of a file, without conversion."""
    with rasterio.open(path) as source:
        numbers: np.ndarray = source.read(bands)
    return numbers


def convert_to_reflectance(numbers: np.ndarray, offset: int) -> Float32:
    """Convert digital numbers to reflectance; 0 becomes NaN."""
    return np.where(numbers > 0, (numbers.astype(np.float32) + offset) / SCALE, np.nan).astype(np.float32)


def compute_texture(image: Float32) -> Float32:
    """Subtract the mean of its window from each pixel; NaN near no data."""
    texture: Float32 = image - uniform_filter(image, WINDOW_PX, mode="nearest")
    return texture


def measure_texture(bands: Float32, curve: Curve, low: float, high: float) -> TextureFidelity:
    """Measure the texture kept by a curve, over pixels whose whole window lies in low..high."""
    products = squares = errors = 0.0
    pixels = 0
    for band in bands:
        known = np.isfinite(band)
        filled = np.where(known, band, 0).astype(np.float32)
        within = (minimum_filter(filled, WINDOW_PX) >= low) & (maximum_filter(filled, WINDOW_PX) < high)
        chosen: Bool = within & minimum_filter(known, WINDOW_PX)
        before = compute_texture(filled)[chosen].astype(np.float64)
        after = compute_texture(curve.reflectance(curve.levels(filled)))[chosen].astype(np.float64)
        products += float((before * after).sum())
        squares += float((before**2).sum())
        errors += float(((after - before) ** 2).sum())
        pixels += int(chosen.sum())
    return TextureFidelity(
        pixels, products / squares if squares else np.nan, np.sqrt(errors / squares) if squares else np.nan
    )


def render_steps_table() -> list[str]:
    """Return the table of levels per 0.01 reflectance."""
    lines = ["| reflectance | s2ops, levels per 0.01 | TCI, levels per 0.01 |", "|---|---|---|"]
    for value in REFLECTANCES:
        ours = LEVELS_PER_LOG * 0.01 / (value + TOE)
        tci = 0.01 / TCI_STEP if value < 0.3558 else 0.0
        lines.append(f"| {value:.2f} | {ours:.2f} | {tci:.2f} |")
    return lines


CLASSES = (
    ("dark, r g b below 0.03", slice(0, 3), -1.0, 0.03),
    ("middle, r g b 0.03 to 0.36", slice(0, 3), 0.03, 0.36),
    ("bright, r g b above 0.36", slice(0, 3), 0.36, 9.0),
    ("bright, nir above 0.36", slice(3, 4), 0.36, 9.0),
)


def render_texture_table(root: Path) -> list[str]:
    """Measure the local contrast kept on real scenes; return the table."""
    head = "| scene | pixels | share of all | s2ops: kept | noise | TCI: kept | noise |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for name, image in read_scenes(root):
        for label, bands, low, high in CLASSES:
            ours, tci = (measure_texture(image[bands], curve, low, high) for curve in CURVES)
            if ours.pixels < 500:
                continue
            share = ours.pixels / np.isfinite(image[bands]).sum()
            figures = " | ".join(f"{one.kept:.3f} | {one.noise:.3f}" for one in (ours, tci))
            lines.append(f"| {name} | {label} | {share:.1%} | {figures} |")
    return lines


def render_report(root: Path | None) -> str:
    """Return both tables as Markdown; without real data only the first."""
    lines = [f"Curve: level = 1 + 254 ln(1 + r / {TOE}) / ln(1 + {TOP} / {TOE}). TCI: level = 255 r / 0.3558.", ""]
    lines += [*render_steps_table(), ""]
    if root is None:
        lines.append("S2OPS_REAL_DATA is not set: the table of local contrast on real scenes is left out.")
    else:
        lines += render_texture_table(root)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the report; write it into a file if one is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="file whose text below the marker line is replaced")
    arguments = parser.parse_args()
    folder = os.environ.get("S2OPS_REAL_DATA")
    text = render_report(Path(folder) if folder else None)
    print(text, end="")
    if arguments.write:
        head, _, _ = arguments.write.read_text().partition(MARKER)
        arguments.write.write_text(f"{head}{MARKER}\n\n{text}")


if __name__ == "__main__":
    main()

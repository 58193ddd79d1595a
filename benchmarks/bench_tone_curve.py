"""The 8-bit curve of s2ops beside ESA's true-colour formula, on paper and on real scenes.

    S2OPS_REAL_DATA=... python benchmarks/bench_tone_curve.py [--write benchmarks/results/tone-curve.md]

Prints Markdown. With --write the same text also replaces what stands in that file below its marker line.
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
from s2ops.imaging.tone_curve import LEVELS_PER_LOG, SCALE, TOE, TOP, apply_tone_curve, invert_tone_curve, compute_tci_levels

MARKER = "<!-- written by benchmarks/bench_tone_curve.py -->"
TCI_STEP = 0.3558 / 255
REFLECTANCES = (0.0, 0.01, 0.03, 0.1, 0.2, 0.36, 0.5, 0.8, 1.2)
WINDOW = 5


class Curve(NamedTuple):
    """One way to 8 bits and back."""

    name: str
    levels: Callable[[Float32], UInt8]
    reflectance: Callable[[UInt8], Float32]


class Texture(NamedTuple):
    """What is left of local texture in a class of pixels."""

    pixels: int
    kept: float
    noise: float


CURVES = (
    Curve("s2ops", lambda r: np.rint(apply_tone_curve(r)).astype(np.uint8), invert_tone_curve),
    Curve("TCI", compute_tci_levels, lambda levels: levels.astype(np.float32) * np.float32(TCI_STEP)),
)


def scenes(root: Path) -> Iterator[tuple[str, Float32]]:
    """Name and (4, y, x) reflectance, red, green, blue, nir; NaN is no data."""
    for name in ("S2A_33TWM_20230818_0_L2A", "S2A_33TWM_20230815_0_L2A"):
        folder = root / "zagreb-two-tiles/sentinel-2-l2a" / name
        numbers = np.stack([read(folder / f"{band}.tif", (1,))[0] for band in ("B04", "B03", "B02", "B08")])
        yield f"zagreb {name[10:18]}", reflectance(numbers, 0)
    packed = root / "zurich/20190530_T32TMT_MSIL2A_S2A_pixel_division_10m.tiff.xz"
    with MemoryFile(lzma.decompress(packed.read_bytes())) as memory, memory.open() as source:
        yield "zurich 20190530", reflectance(source.read((3, 2, 1, 7)), 0)
    for file in ("exe_2024-06-02_12-21-19_EPSG27700.tif", "exe_2024-08-26_12-21-11.tif"):
        yield (
            f"exeter {file[4:14].replace('-', '')}",
            reflectance(read(root / "exeter-series" / file, (3, 2, 1, 4)), -1000),
        )
    for day in ("2020-06-21", "2020-01-18"):
        numbers = read(root / "boadella-series" / f"Boadella_{day}.tif", (4, 3, 2, 8))
        yield f"boadella {day.replace('-', '')}", reflectance(numbers, 0)


def read(path: Path, bands: tuple[int, ...]) -> np.ndarray:
    with rasterio.open(path) as source:
        numbers: np.ndarray = source.read(bands)
    return numbers


def reflectance(numbers: np.ndarray, offset: int) -> Float32:
    return np.where(numbers > 0, (numbers.astype(np.float32) + offset) / SCALE, np.nan).astype(np.float32)


def deviation(image: Float32) -> Float32:
    """Each pixel minus the mean of its window; NaN near no data."""
    return image - uniform_filter(image, WINDOW, mode="nearest")


def texture(bands: Float32, curve: Curve, low: float, high: float) -> Texture:
    """Texture kept by the way to 8 bits and back, over pixels whose whole window lies in low..high."""
    products = squares = errors = 0.0
    pixels = 0
    for band in bands:
        known = np.isfinite(band)
        filled = np.where(known, band, 0).astype(np.float32)
        within = (minimum_filter(filled, WINDOW) >= low) & (maximum_filter(filled, WINDOW) < high)
        chosen: Bool = within & minimum_filter(known, WINDOW)
        before = deviation(filled)[chosen].astype(np.float64)
        after = deviation(curve.reflectance(curve.levels(filled)))[chosen].astype(np.float64)
        products += float((before * after).sum())
        squares += float((before**2).sum())
        errors += float(((after - before) ** 2).sum())
        pixels += int(chosen.sum())
    return Texture(pixels, products / squares if squares else np.nan, np.sqrt(errors / squares) if squares else np.nan)


def steps_table() -> list[str]:
    """Levels per 0.01 reflectance."""
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


def texture_table(root: Path) -> list[str]:
    """Local contrast kept on real scenes."""
    head = "| scene | pixels | share of all | s2ops: kept | noise | TCI: kept | noise |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for name, image in scenes(root):
        for label, bands, low, high in CLASSES:
            ours, tci = (texture(image[bands], curve, low, high) for curve in CURVES)
            if ours.pixels < 500:
                continue
            share = ours.pixels / np.isfinite(image[bands]).sum()
            figures = " | ".join(f"{one.kept:.3f} | {one.noise:.3f}" for one in (ours, tci))
            lines.append(f"| {name} | {label} | {share:.1%} | {figures} |")
    return lines


def report(root: Path | None) -> str:
    lines = [f"Curve: level = 1 + 254 ln(1 + r / {TOE}) / ln(1 + {TOP} / {TOE}). TCI: level = 255 r / 0.3558.", ""]
    lines += [*steps_table(), ""]
    if root is None:
        lines.append("S2OPS_REAL_DATA is not set: the table of local contrast on real scenes is left out.")
    else:
        lines += texture_table(root)
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="replace what stands below the marker line of this file")
    arguments = parser.parse_args()
    folder = os.environ.get("S2OPS_REAL_DATA")
    text = report(Path(folder) if folder else None)
    print(text, end="")
    if arguments.write:
        head, _, _ = arguments.write.read_text().partition(MARKER)
        arguments.write.write_text(f"{head}{MARKER}\n\n{text}")


if __name__ == "__main__":
    main()

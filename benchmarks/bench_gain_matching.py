"""Gain matching (radiometric normalization) between real scenes of one place: three models of their difference.

    S2OPS_REAL_DATA=... python benchmarks/bench_gain_matching.py [--write benchmarks/results/gain-matching.md]

The scenes are all pairs of five dates of Zagreb, clear in both by SCL, and consecutive clear dates of Boadella. The
figure is the mean absolute difference, in levels, of 9 x 9 means over common clear pixels, averaged over the four
bands. It measures the visible difference between patches, because the means remove texture. For the second table, 25
round holes are cut out of the best scene of a Zagreb tile, filled from the other scenes, and compared with the
original pixels. The script prints Markdown; --write puts it below the marker line of a file.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from scipy.ndimage import binary_erosion, uniform_filter

from s2ops.constants import Bool, Float32, UInt8
from s2ops.imaging.tone_curve import apply_tone_curve, convert_dn_to_levels, invert_tone_curve
from s2ops.mosaic.composite.compositing import composite_scenes
from s2ops.mosaic.composite.gain_matching import (
    ScenePair,
    convert_gain_to_level_offset,
    measure_brightness_ratio,
    solve_gains,
)
from s2ops.mosaic.composite.local_matching import fit_local_offsets
from s2ops.mosaic.composite.scene_stack import MaskedScene

MARKER = "<!-- written by benchmarks/bench_gain_matching.py -->"
CLEAR_SCL = (2, 4, 5, 6, 7, 11)
MIN_PIXELS = 5_000
CELL_PX = 5  # pixels of 120 m in a cell of 600 m
FEATHER_WIDTH_PX = 3


class DatedScene(NamedTuple):
    """Scene of one date."""

    day: str
    levels: UInt8
    """Levels (band, y, x)."""
    clear: Bool
    """Clear pixels (y, x)."""


def read_zagreb(root: Path, tile: str) -> list[DatedScene]:
    """Read the scenes of a tile of Zagreb, oldest first."""
    scenes = []
    for folder in sorted((root / "zagreb-two-tiles/sentinel-2-l2a").glob(f"*_{tile}_*")):
        numbers = np.stack([read_bands(folder / f"{band}.tif", (1,))[0] for band in ("B04", "B03", "B02", "B08")])
        valid: Bool = np.isin(read_bands(folder / "SCL.tif", (1,))[0], CLEAR_SCL)
        valid &= (numbers > 0).all(axis=0)
        clear: Bool = np.asarray(binary_erosion(valid, iterations=3), np.bool_)  # SCL misses the rims of clouds
        scenes.append(DatedScene(folder.name[10:18], convert_dn_to_levels(numbers), clear))
    return sorted(scenes, key=lambda scene: scene.day)


def read_boadella(root: Path) -> list[DatedScene]:
    """Read the clear scenes of Boadella, oldest first."""
    scenes = []
    for path in sorted((root / "boadella-series").glob("*.tif")):
        if path.stem[-10:] in {"2020-01-18", "2020-01-23"}:  # cloudy
            continue
        numbers = read_bands(path, (4, 3, 2, 8)).astype(np.uint16)
        clear: Bool = np.all(numbers > 0, axis=0)
        scenes.append(DatedScene(path.stem[-10:].replace("-", ""), convert_dn_to_levels(numbers), clear))
    return scenes


def read_bands(path: Path, bands: tuple[int, ...]) -> np.ndarray:
    """Read bands (band, y, x) of a file, without conversion."""
    with rasterio.open(path) as source:
        numbers: np.ndarray = source.read(bands)
    return numbers


def keep_levels(a: UInt8, _b: UInt8, _both: Bool) -> Float32:
    """Return the levels without a correction."""
    return a.astype(np.float32)


def correct_reflectance_gain(a: UInt8, b: UInt8, both: Bool) -> Float32:
    """Multiply the reflectance of `a` by the median ratio per band."""
    before, after = invert_tone_curve(a), invert_tone_curve(b)
    usable = both & (np.minimum(a, b) > 1).all(axis=0)
    ratio = np.median(np.log(after[:, usable] / before[:, usable]), axis=1)
    return apply_tone_curve(before * np.exp(ratio)[:, None, None])


def correct_reflectance_offset(a: UInt8, b: UInt8, both: Bool) -> Float32:
    """Add the median difference per band to the reflectance of `a`."""
    before, after = invert_tone_curve(a), invert_tone_curve(b)
    return apply_tone_curve(before + np.median((after - before)[:, both], axis=1)[:, None, None])


def correct_s2ops_gain(a: UInt8, b: UInt8, both: Bool) -> Float32:
    """Correct `a` as s2ops does: a gain on reflectance + 0.04, which is an offset of levels."""
    ratio = measure_brightness_ratio(a, b, both)
    if ratio is None:
        raise ValueError(f"Cannot measure a ratio: only {np.count_nonzero(both)} common clear pixels.")
    offsets = convert_gain_to_level_offset(np.exp(ratio.logs).tolist())
    return np.where(a == 0, np.float32(0), np.clip(a + offsets[:, None, None], 1, 255))


CORRECTIONS: dict[str, Callable[[UInt8, UInt8, Bool], Float32]] = {
    "none": keep_levels,
    "gain on r": correct_reflectance_gain,
    "offset on r": correct_reflectance_offset,
    "s2ops: gain on r + 0.04": correct_s2ops_gain,
}


def compute_residual(a: Float32, b: UInt8, both: Bool) -> float:
    """Return the mean absolute difference of 9 x 9 means over the pixels `both`, averaged over the bands."""
    share = np.maximum(uniform_filter(both.astype(np.float32), 9), 1e-6)
    means = [uniform_filter(np.where(both, x - y, 0).astype(np.float32), 9) / share for x, y in zip(a, b, strict=True)]
    return float(np.mean([np.abs(mean)[both].mean() for mean in means]))


def list_pairs(root: Path) -> Iterator[tuple[str, DatedScene, DatedScene]]:
    """Yield place and scenes of every pair that is compared."""
    for tile in ("33TWL", "33TWM"):
        for a, b in combinations(read_zagreb(root, tile), 2):
            yield tile, a, b
    for a, b in pairwise(read_boadella(root)):
        yield "boadella", a, b


def render_report(root: Path) -> str:
    """Compare the corrections on all pairs; return both tables as Markdown."""
    lines = [f"| place | pair | {' | '.join(CORRECTIONS)} |", "|---|---|" + "---|" * len(CORRECTIONS)]
    table = []
    for place, a, b in list_pairs(root):
        both = a.clear & b.clear
        if both.sum() < MIN_PIXELS:
            continue
        figures = [
            compute_residual(correct(a.levels, b.levels, both), b.levels, both) for correct in CORRECTIONS.values()
        ]
        table.append(figures)
        lines.append(f"| {place} | {a.day}, {b.day} | {' | '.join(f'{figure:.2f}' for figure in figures)} |")
    for name, rows in (("mean", np.mean(table, axis=0)), ("median", np.median(table, axis=0))):
        lines.append(f"| **{name}** | {len(table)} pairs | {' | '.join(f'{figure:.2f}' for figure in rows)} |")
    return "\n".join([*lines, "", *render_holes_table(root)]) + "\n"


def match_gains(scenes: list[DatedScene]) -> list[MaskedScene]:
    """Solve for the gains of the scenes; return the scenes with their gains."""
    found = [
        ScenePair(a.day, b.day, ratio)
        for a, b in combinations(scenes, 2)
        if (ratio := measure_brightness_ratio(a.levels, b.levels, a.clear & b.clear))
    ]
    gains = solve_gains({scene.day: float(scene.clear.mean()) for scene in scenes}, found)
    return [MaskedScene(scene.levels, scene.clear, convert_gain_to_level_offset(gains[scene.day])) for scene in scenes]


def match_local_offsets(scenes: list[MaskedScene]) -> list[MaskedScene]:
    """Fit the local offsets of scenes with gains; return the scenes with both."""
    rows, cols = scenes[0].clear.shape
    fields = fit_local_offsets(scenes, CELL_PX)
    return [
        scene._replace(offset=field.interpolate(0, rows, cols, CELL_PX))
        for scene, field in zip(scenes, fields, strict=True)
    ]


def draw_holes(shape: tuple[int, int]) -> Bool:
    """Draw 25 discs of 1 to 6 km radius (y, x)."""
    rng = np.random.default_rng(0)
    rows, cols = np.indices(shape)
    out = np.zeros(shape, np.bool_)
    for _ in range(25):
        (y, x), radius = rng.integers(60, 855, 2), rng.integers(8, 50)
        out |= (rows - y) ** 2 + (cols - x) ** 2 < radius**2
    return out


def render_holes_table(root: Path) -> list[str]:
    """Measure how well holes are filled without matching, with gains, and with gains and local offsets."""
    lines = ["| tile | holes cut out of | no matching | gains | gains and local shifts |", "|---|---|---|---|---|"]
    for tile in ("33TWL", "33TWM"):
        scenes = sorted(read_zagreb(root, tile), key=lambda scene: -scene.clear.mean())
        best = scenes[0]
        cut = best._replace(clear=best.clear & ~draw_holes(best.clear.shape))
        gained = match_gains([cut, *scenes[1:]])
        plain = [scene._replace(gain=None) for scene in gained]
        figures = []
        for kind in (plain, gained, match_local_offsets(gained)):
            fused = composite_scenes(kind, FEATHER_WIDTH_PX)
            truth = composite_scenes([kind[0]._replace(clear=best.clear)], FEATHER_WIDTH_PX)
            filled = best.clear & ~cut.clear & (fused.provenance > 1)
            figures.append(f"{compute_residual(fused.levels.astype(np.float32), truth.levels, filled):.2f}")
        lines.append(f"| {tile} | {best.day} | {' | '.join(figures)} |")
    return lines


def main() -> None:
    """Print the report; write it into a file if one is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="file whose text below the marker line is replaced")
    arguments = parser.parse_args()
    folder = os.environ.get("S2OPS_REAL_DATA")
    if folder is None:
        print("Cannot compare scenes: S2OPS_REAL_DATA is not set; set it to the folder of the real scenes.")
        return
    text = render_report(Path(folder))
    print(text, end="")
    if arguments.write:
        head, _, _ = arguments.write.read_text().partition(MARKER)
        arguments.write.write_text(f"{head}{MARKER}\n\n{text}")


if __name__ == "__main__":
    main()

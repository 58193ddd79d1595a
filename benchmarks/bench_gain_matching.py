"""Which correction brings real scenes of one place closest together?

    S2OPS_REAL_DATA=... python benchmarks/bench_gain_matching.py [--write benchmarks/results/gain-matching.md]

Zagreb: every two of five dates, clear in both by SCL. Boadella: consecutive clear dates. The figure is the mean
absolute difference, in levels, of 9 x 9 means over common clear pixels, averaged over the four bands: what is left to
be seen as a patch when texture is averaged out. Second table: 25 round holes are cut out of the best scene of a
Zagreb tile, filled from the others, and compared with what was cut out. Prints Markdown; --write puts it below the
marker line.
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
CELL = 5  # pixels of 120 m in a cell of 600 m
FADE = 3


class Dated(NamedTuple):
    day: str
    levels: UInt8
    clear: Bool


def zagreb(root: Path, tile: str) -> list[Dated]:
    scenes = []
    for folder in sorted((root / "zagreb-two-tiles/sentinel-2-l2a").glob(f"*_{tile}_*")):
        numbers = np.stack([read(folder / f"{band}.tif", (1,))[0] for band in ("B04", "B03", "B02", "B08")])
        seen: Bool = np.isin(read(folder / "SCL.tif", (1,))[0], CLEAR_SCL)
        seen &= (numbers > 0).all(axis=0)
        clear: Bool = np.asarray(binary_erosion(seen, iterations=3), np.bool_)  # SCL misses the rims of clouds
        scenes.append(Dated(folder.name[10:18], convert_dn_to_levels(numbers), clear))
    return sorted(scenes, key=lambda scene: scene.day)


def boadella(root: Path) -> list[Dated]:
    scenes = []
    for path in sorted((root / "boadella-series").glob("*.tif")):
        if path.stem[-10:] in {"2020-01-18", "2020-01-23"}:  # cloudy
            continue
        numbers = read(path, (4, 3, 2, 8)).astype(np.uint16)
        clear: Bool = np.all(numbers > 0, axis=0)
        scenes.append(Dated(path.stem[-10:].replace("-", ""), convert_dn_to_levels(numbers), clear))
    return scenes


def read(path: Path, bands: tuple[int, ...]) -> np.ndarray:
    with rasterio.open(path) as source:
        numbers: np.ndarray = source.read(bands)
    return numbers


def as_is(a: UInt8, _b: UInt8, _both: Bool) -> Float32:
    return a.astype(np.float32)


def reflectance_gain(a: UInt8, b: UInt8, both: Bool) -> Float32:
    before, after = invert_tone_curve(a), invert_tone_curve(b)
    usable = both & (np.minimum(a, b) > 1).all(axis=0)
    ratio = np.median(np.log(after[:, usable] / before[:, usable]), axis=1)
    return apply_tone_curve(before * np.exp(ratio)[:, None, None])


def reflectance_offset(a: UInt8, b: UInt8, both: Bool) -> Float32:
    before, after = invert_tone_curve(a), invert_tone_curve(b)
    return apply_tone_curve(before + np.median((after - before)[:, both], axis=1)[:, None, None])


def s2ops_gain(a: UInt8, b: UInt8, both: Bool) -> Float32:
    ratio = measure_brightness_ratio(a, b, both)
    if ratio is None:
        raise ValueError("too few pixels for a ratio")
    offsets = convert_gain_to_level_offset(np.exp(ratio.logs).tolist())
    return np.where(a == 0, np.float32(0), np.clip(a + offsets[:, None, None], 1, 255))


CORRECTIONS: dict[str, Callable[[UInt8, UInt8, Bool], Float32]] = {
    "none": as_is,
    "gain on r": reflectance_gain,
    "offset on r": reflectance_offset,
    "s2ops: gain on r + 0.04": s2ops_gain,
}


def residual(a: Float32, b: UInt8, both: Bool) -> float:
    """Mean absolute difference of 9 x 9 means over `both`, mean over bands."""
    share = np.maximum(uniform_filter(both.astype(np.float32), 9), 1e-6)
    means = [uniform_filter(np.where(both, x - y, 0).astype(np.float32), 9) / share for x, y in zip(a, b, strict=True)]
    return float(np.mean([np.abs(mean)[both].mean() for mean in means]))


def pairs(root: Path) -> Iterator[tuple[str, Dated, Dated]]:
    for tile in ("33TWL", "33TWM"):
        for a, b in combinations(zagreb(root, tile), 2):
            yield tile, a, b
    for a, b in pairwise(boadella(root)):
        yield "boadella", a, b


def report(root: Path) -> str:
    lines = [f"| place | pair | {' | '.join(CORRECTIONS)} |", "|---|---|" + "---|" * len(CORRECTIONS)]
    table = []
    for place, a, b in pairs(root):
        both = a.clear & b.clear
        if both.sum() < MIN_PIXELS:
            continue
        figures = [residual(correct(a.levels, b.levels, both), b.levels, both) for correct in CORRECTIONS.values()]
        table.append(figures)
        lines.append(f"| {place} | {a.day}, {b.day} | {' | '.join(f'{figure:.2f}' for figure in figures)} |")
    for name, rows in (("mean", np.mean(table, axis=0)), ("median", np.median(table, axis=0))):
        lines.append(f"| **{name}** | {len(table)} pairs | {' | '.join(f'{figure:.2f}' for figure in rows)} |")
    return "\n".join([*lines, "", *holes_table(root)]) + "\n"


def solved(scenes: list[Dated]) -> list[MaskedScene]:
    """The scenes with their gains."""
    found = [
        ScenePair(a.day, b.day, ratio)
        for a, b in combinations(scenes, 2)
        if (ratio := measure_brightness_ratio(a.levels, b.levels, a.clear & b.clear))
    ]
    gains = solve_gains({scene.day: float(scene.clear.mean()) for scene in scenes}, found)
    return [MaskedScene(scene.levels, scene.clear, convert_gain_to_level_offset(gains[scene.day])) for scene in scenes]


def shifted(scenes: list[MaskedScene]) -> list[MaskedScene]:
    """The scenes with their gains and local shifts."""
    rows, cols = scenes[0].clear.shape
    fields = fit_local_offsets(scenes, CELL)
    return [
        scene._replace(offset=field.interpolate(0, rows, cols, CELL))
        for scene, field in zip(scenes, fields, strict=True)
    ]


def round_holes(shape: tuple[int, int]) -> Bool:
    """25 discs of 1 to 6 km radius."""
    rng = np.random.default_rng(0)
    rows, cols = np.indices(shape)
    out = np.zeros(shape, np.bool_)
    for _ in range(25):
        (y, x), radius = rng.integers(60, 855, 2), rng.integers(8, 50)
        out |= (rows - y) ** 2 + (cols - x) ** 2 < radius**2
    return out


def holes_table(root: Path) -> list[str]:
    """How well a hole is filled, without matching, with gains, and with local shifts as well."""
    lines = ["| tile | holes cut out of | no matching | gains | gains and local shifts |", "|---|---|---|---|---|"]
    for tile in ("33TWL", "33TWM"):
        scenes = sorted(zagreb(root, tile), key=lambda scene: -scene.clear.mean())
        best = scenes[0]
        cut = best._replace(clear=best.clear & ~round_holes(best.clear.shape))
        gained = solved([cut, *scenes[1:]])
        plain = [scene._replace(gain=None) for scene in gained]
        figures = []
        for kind in (plain, gained, shifted(gained)):
            fused = composite_scenes(kind, FADE)
            truth = composite_scenes([kind[0]._replace(clear=best.clear)], FADE)
            filled = best.clear & ~cut.clear & (fused.provenance > 1)
            figures.append(f"{residual(fused.levels.astype(np.float32), truth.levels, filled):.2f}")
        lines.append(f"| {tile} | {best.day} | {' | '.join(figures)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="replace what stands below the marker line of this file")
    arguments = parser.parse_args()
    folder = os.environ.get("S2OPS_REAL_DATA")
    if folder is None:
        print("S2OPS_REAL_DATA is not set: there are no real scenes to compare on.")
        return
    text = report(Path(folder))
    print(text, end="")
    if arguments.write:
        head, _, _ = arguments.write.read_text().partition(MARKER)
        arguments.write.write_text(f"{head}{MARKER}\n\n{text}")


if __name__ == "__main__":
    main()

"""Draw docs/images/light.jpg: 2 x 2 tiles with gains and uneven light inside each, as composites and as mosaic.

    python benchmarks/bench_blend.py FOLDER --res 60 --ramp 0.06 --without-otb
    python scripts/plot_illumination.py FOLDER 60

FOLDER is the benchmark's, which is only read. The ground is made; shown is the mean of the bands, stretched: light
changes alike in all of them.
"""

import sys
from pathlib import Path

import numpy as np

from s2ops.constants import UInt8
from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.imaging.rendering import encode_image
from s2ops.raster.reader import read_sampled

ROOT = Path(__file__).parents[1]
NAMES = ("33TWL", "33TXL", "33TWM", "33TXM")
"""The order in which tiles lie on one another: the last on top."""
SIDE = 240
"""Pixels of a tile in the picture."""
DARK, BRIGHT = 75, 120
"""Levels shown as black and as white."""


def lay_tiles(folder: Path, product: str, res: int) -> UInt8:
    """Return all tiles on one grey canvas (y, x, 3)."""
    grids = {name: parse_tile(name).build_geobox(res) for name in NAMES}
    pixel = grids[NAMES[0]].width * res / SIDE
    west, north = (pick(grid.transform[at] for grid in grids.values()) for pick, at in ((min, 2), (max, 5)))
    canvas = np.full((3, 2 * SIDE, 2 * SIDE), 255, np.uint8)
    for name, grid in grids.items():
        top, left = round((north - grid.transform.f) / pixel), round((grid.transform.c - west) / pixel)
        levels = read_sampled(str(folder / product / name / f"{product}.tif"), SIDE).mean(axis=0)
        shown = np.clip((levels - DARK) / (BRIGHT - DARK), 0, 1) * 255
        canvas[:, top : top + SIDE, left : left + SIDE] = shown.astype(np.uint8)
    used = np.flatnonzero((canvas != 255).any(axis=(0, 2))), np.flatnonzero((canvas != 255).any(axis=(0, 1)))
    return canvas[:, : used[0][-1] + 1, : used[1][-1] + 1].transpose(1, 2, 0)


def main() -> None:
    """Draw composites on the left, the mosaic on the right."""
    folder, res = Path(sys.argv[1]), int(sys.argv[2])
    before, after = (lay_tiles(folder, product, res) for product in ("composite", "mosaic"))
    gap = np.full((before.shape[0], 8, 3), 255, np.uint8)
    (ROOT / "docs/images/light.jpg").write_bytes(encode_image(np.concatenate([before, gap, after], axis=1), "jpeg"))


if __name__ == "__main__":
    main()

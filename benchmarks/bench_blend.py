"""Balance and blend of 2 x 2 full tiles: s2ops beside the floor and beside OTB.

    python benchmarks/bench_blend.py FOLDER [--res 10] [--ramp 0.06] [--threads 2] [--runs 1] [--without-otb]

FOLDER is scratch space outside the checkout; inputs are made there where missing, another folder for each ramp. The
floor reads every composite once and writes it again as mosaic, with the same code and threads. OTB takes the same
composites, if `otbcli_Mosaic` (Debian's otb-bin) is installed; it writes one plain file.

Figures, the same for both: `excess` and `coherent` across the former borders as in docs/explanation/seams.md; energy, the mean
squared step between neighbouring pixels in the overlaps over that of the composites there; spread, what difference of
brightness from the known ground is left between the interiors of the tiles, in the worst band.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import make_inputs
import numpy as np
import rasterio
from process_usage import alternately, table
from rasterio.windows import Window

from s2ops.constants import BANDS, Float64, UInt8
from s2ops.geo.mgrs_tiles import Tile
from s2ops.imaging.tone_curve import LEVELS_PER_LOG
from s2ops.pipeline.steps import balance, blend
from s2ops.quality.seam_metrics import EdgeLine, SeamMetrics, measure_seam
from s2ops.raster.cog import CODES, IMAGERY
from s2ops.raster.dataset_pool import open_dataset_cache
from s2ops.raster.reader import read_window, split_rows
from s2ops.raster.reproject import find_shared_border
from s2ops.run.context import RunContext
from s2ops.run.raster_writer import build_imagery_tags, open_raster_writer
from s2ops.runtime.threads import ordered_map
from s2ops.storage import layout


def floor(work: RunContext) -> None:
    """Every composite read and written again."""
    for one in work.tiles:
        geobox = work.geobox(one)
        paths = [work.store.get_gdal_path(layout.TileKeys(one.name).get_raster("composite", name)) for name in ("composite", "provenance")]

        def read(rows: slice, paths: list[str] = paths) -> list[UInt8]:
            with open_dataset_cache() as files:
                return [files.read(path, rows) for path in paths]

        with open_raster_writer(work.store, geobox) as made:
            image, other = made.create_file("a", BANDS, IMAGERY, build_imagery_tags()), made.create_file("b", ["scene"], CODES)
            for levels, numbers in ordered_map(read, split_rows(geobox.height), work.threads):
                image.write(levels)
                other.write(numbers)
            made.put({"floor/mosaic.tif": image, "floor/provenance.tif": other}, work.threads)


def ours(work: RunContext) -> None:
    balance.run(work)
    for one in work.tiles:
        blend.run(work, one)


def otb(work: RunContext, threads: int) -> list[str]:
    """The command, as peers.md had it."""
    paths = [work.store.get_gdal_path(layout.TileKeys(one.name).get_raster("composite", "composite")) for one in work.tiles]
    return [
        "env", f"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS={threads}", "GDAL_CACHEMAX=128", "otbcli_Mosaic", "-il", *paths,
        "-comp.feather", "large", "-harmo.method", "band", "-nodata", "0",
        "-out", f"{work.config.out}/otb.tif?&gdal:co:TILED=YES&gdal:co:BIGTIFF=YES", "uint8",
    ]  # fmt: skip


Read = Callable[[Tile, slice, slice], UInt8]
"""(4, y, x) levels of a mosaic over rows and columns of a tile's grid."""


def of_s2ops(work: RunContext) -> Read:
    def read(one: Tile, rows: slice, cols: slice) -> UInt8:
        return read_window(work.store.get_gdal_path(layout.TileKeys(one.name).get_raster("mosaic", "mosaic")), rows, cols)

    return read


def of_otb(work: RunContext) -> Read:
    """OTB's one file is larger than the tiles together: its own grid says where they lie."""

    def read(one: Tile, rows: slice, cols: slice) -> UInt8:
        grid = work.geobox(one).transform
        with rasterio.open(f"{work.config.out}/otb.tif") as src:
            left, top = (round(offset) for offset in ~src.transform * (grid.c, grid.f))
            window = Window(left + cols.start, top + rows.start, cols.stop - cols.start, rows.stop - rows.start)
            levels: UInt8 = src.read(window=window)
        return levels

    return read


def seams_of(work: RunContext, read: Read) -> list[SeamMetrics]:
    """The figures of docs/explanation/seams.md for each border of a tile that crosses another."""
    found = []
    for one, other in permutations(work.tiles, 2):
        grid = work.geobox(one)
        points = find_shared_border(grid, work.geobox(other))
        if points is None:
            continue
        line = EdgeLine.from_polyline(points)
        strips = line.allocate_strip()
        for rows in split_rows(grid.height):
            here = line.cols[(line.rows >= rows.start) & (line.rows < rows.stop)]
            if here.size:
                cols = slice(max(int(here.min()), 0), min(int(here.max()) + 1, grid.width))
                EdgeLine(line.rows, line.cols - cols.start).gather(read(one, rows, cols), strips, rows.start)
        seam = measure_seam(strips)
        found += [seam] if seam else []
    return found


def quality(work: RunContext, name: str, read: Read) -> str:
    """A row: seams, gradient energy and spread of one mosaic."""
    seams, energy, errors = seams_of(work, read), [], []
    for one in work.tiles:
        wide = work.geobox(one).width
        reach = 9_800 // work.res
        inside = slice(wide // 2, min(wide // 2 + 512, wide))
        cols = slice(0, reach) if make_inputs.offset(one, work.res)[1] else slice(wide - reach, wide)
        before = read_window(work.store.get_gdal_path(layout.TileKeys(one.name).get_raster("composite", "composite")), inside, cols)
        energy.append(_energy(read(one, inside, cols).astype(np.float64)) / _energy(before.astype(np.float64)))
        errors.append(_error(work, one, read, slice(reach, wide - reach)))
    spread = np.ptp(np.array(errors), axis=0).max()
    worst, mean = (
        [float(way([getattr(seam, figure) for seam in seams])) for figure in ("excess", "coherent")]
        for way in (np.max, np.mean)
    )
    figures = " | ".join(f"{high:.3f} / {middle:.3f}" for high, middle in zip(worst, mean, strict=True))
    return f"| {name} | {figures} | {100 * min(energy):.1f} % | {100 * spread:.2f} % |"


def _energy(levels: Float64) -> float:
    return float((np.diff(levels, axis=1) ** 2).mean() + (np.diff(levels, axis=2) ** 2).mean())


def _error(work: RunContext, one: Tile, read: Read, inner: slice) -> Float64:
    """Mean log brightness of the mosaic over the ground's, per band, over a lattice of 256-row strips inside."""
    top, left = make_inputs.offset(one, work.res)
    x = np.arange(inner.start, inner.stop, dtype=np.float64) + left
    strips = []
    for start in np.linspace(inner.start, inner.stop - 64, 12).astype(int):
        y = np.arange(start, start + 64, dtype=np.float64) + top
        levels = read(one, slice(int(start), int(start) + 64), inner).astype(np.float64)
        strips.append((levels - make_inputs.ground(y, x, work.res)).mean(axis=(1, 2)) / LEVELS_PER_LOG)
    out: Float64 = np.mean(strips, axis=0)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--res", type=int, default=10)
    parser.add_argument("--ramp", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--without-otb", action="store_true")
    parser.add_argument(
        "--only", choices=["inputs", "floor", "s2ops"], help="one method in this process (used by itself)"
    )
    given = parser.parse_args()
    work = make_inputs.job(given.folder, make_inputs.SQUARE, given.res, given.threads)
    if given.only == "inputs":
        make_inputs.square(given.folder, given.res, given.ramp)
        return
    if given.only:
        {"floor": floor, "s2ops": ours}[given.only](work)
        return
    own = [sys.executable, __file__, str(given.folder), "--res", str(given.res), "--threads", str(given.threads)]
    subprocess.run([*own, "--ramp", str(given.ramp), "--only", "inputs"], check=True)
    commands: dict[str, list[str]] = {name: [*own, "--only", name] for name in ("floor", "s2ops")}
    if shutil.which("otbcli_Mosaic") and not given.without_otb:
        commands["OTB"] = otb(work, given.threads)
    rows = alternately(commands, given.runs)
    print(table(rows, "floor"))
    print()
    print("| mosaic | excess, worst / mean | coherent, worst / mean | energy kept, least | spread of the interiors |")
    print("|---|---|---|---|---|")
    print(quality(work, "s2ops", of_s2ops(work)))
    if rows.get("OTB"):
        print(quality(work, "OTB", of_otb(work)))


if __name__ == "__main__":
    main()

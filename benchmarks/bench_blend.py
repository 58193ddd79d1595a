"""Balance and blend of 2 x 2 full tiles: s2ops beside a lower bound (floor) and beside OTB.

    python benchmarks/bench_blend.py FOLDER [--res 10] [--ramp 0.06] [--threads 2] [--runs 1] [--without-otb]

FOLDER is scratch space outside the checkout; missing inputs are made there. Use another folder for each ramp. The
floor reads every composite once and writes it again as a mosaic, with the same code and threads. OTB gets the same
composites if `otbcli_Mosaic` (Debian's otb-bin) is installed; it writes one plain file.

Figures, the same for both mosaics:
- `excess` and `coherent` across the former borders as in docs/explanation/seams.md;
- energy: mean squared step between neighbouring pixels in the overlaps, relative to that of the composites there;
- spread: remaining difference in brightness from the known ground between the interiors of the tiles, in the worst
  band.
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
from process_usage import measure_alternately, render_table
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
from s2ops.runtime.threads import map_ordered
from s2ops.storage import layout


def get_raster_path(ctx: RunContext, tile: Tile, product: str, name: str) -> str:
    """Return GDAL's path of a raster of a tile."""
    return ctx.store.get_gdal_path(layout.TileKeys(tile.name).get_raster(product, name))


def run_floor(ctx: RunContext) -> None:
    """Read every composite and write it again."""
    for tile in ctx.tiles:
        geobox = ctx.build_geobox(tile)
        paths = [get_raster_path(ctx, tile, "composite", name) for name in ("composite", "provenance")]

        def read(rows: slice, paths: list[str] = paths) -> list[UInt8]:
            with open_dataset_cache() as files:
                return [files.read(path, rows) for path in paths]

        with open_raster_writer(ctx.store, geobox) as writer:
            image = writer.create_file("a", BANDS, IMAGERY, build_imagery_tags())
            provenance = writer.create_file("b", ["scene"], CODES)
            for levels, numbers in map_ordered(read, split_rows(geobox.height), ctx.threads):
                image.write(levels)
                provenance.write(numbers)
            writer.put({"floor/mosaic.tif": image, "floor/provenance.tif": provenance}, ctx.threads)


def run_balance_and_blend(ctx: RunContext) -> None:
    """Run the steps balance and blend of s2ops."""
    balance.STEP.bind(ctx).run()
    for tile in ctx.tiles:
        blend.STEP.bind(ctx, tile).run()


def build_otb_command(ctx: RunContext, threads: int) -> list[str]:
    """Build OTB's command, the one that was used for benchmarks/results/peers.md."""
    paths = [get_raster_path(ctx, tile, "composite", "composite") for tile in ctx.tiles]
    return [
        "env", f"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS={threads}", "GDAL_CACHEMAX=128", "otbcli_Mosaic", "-il", *paths,
        "-comp.feather", "large", "-harmo.method", "band", "-nodata", "0",
        "-out", f"{ctx.config.out}/otb.tif?&gdal:co:TILED=YES&gdal:co:BIGTIFF=YES", "uint8",
    ]  # fmt: skip


ReadMosaic = Callable[[Tile, slice, slice], UInt8]
"""Returns levels (4, y, x) of a mosaic for rows and columns of a tile's grid."""


def create_s2ops_reader(ctx: RunContext) -> ReadMosaic:
    """Create a function that reads the mosaic of s2ops."""

    def read(tile: Tile, rows: slice, cols: slice) -> UInt8:
        return read_window(get_raster_path(ctx, tile, "mosaic", "mosaic"), rows, cols)

    return read


def create_otb_reader(ctx: RunContext) -> ReadMosaic:
    """Create a function that reads OTB's mosaic: one file larger than the tiles together, with a grid of its own."""

    def read(tile: Tile, rows: slice, cols: slice) -> UInt8:
        grid = ctx.build_geobox(tile).transform
        with rasterio.open(f"{ctx.config.out}/otb.tif") as src:
            left, top = (round(offset) for offset in ~src.transform * (grid.c, grid.f))
            window = Window(left + cols.start, top + rows.start, cols.stop - cols.start, rows.stop - rows.start)
            levels: UInt8 = src.read(window=window)
        return levels

    return read


def measure_seams(ctx: RunContext, read: ReadMosaic) -> list[SeamMetrics]:
    """Measure the seam metrics of docs/explanation/seams.md at each border of a tile that crosses another tile."""
    found = []
    for tile, other in permutations(ctx.tiles, 2):
        grid = ctx.build_geobox(tile)
        points = find_shared_border(grid, ctx.build_geobox(other))
        if points is None:
            continue
        line = EdgeLine.from_polyline(points)
        strips = line.allocate_strip()
        for rows in split_rows(grid.height):
            here = line.cols[(line.rows >= rows.start) & (line.rows < rows.stop)]
            if here.size:
                cols = slice(max(int(here.min()), 0), min(int(here.max()) + 1, grid.width))
                EdgeLine(line.rows, line.cols - cols.start).gather(read(tile, rows, cols), strips, rows.start)
        seam = measure_seam(strips)
        found += [seam] if seam else []
    return found


def render_quality_row(ctx: RunContext, name: str, read: ReadMosaic) -> str:
    """Return the table row of one mosaic: seams, gradient energy, and spread of the interiors."""
    seams, energy, errors = measure_seams(ctx, read), [], []
    for tile in ctx.tiles:
        wide = ctx.build_geobox(tile).width
        reach = 9_800 // ctx.res
        inside = slice(wide // 2, min(wide // 2 + 512, wide))
        cols = slice(0, reach) if make_inputs.compute_offset(tile, ctx.res)[1] else slice(wide - reach, wide)
        before = read_window(get_raster_path(ctx, tile, "composite", "composite"), inside, cols)
        after = read(tile, inside, cols)
        energy.append(_compute_energy(after.astype(np.float64)) / _compute_energy(before.astype(np.float64)))
        errors.append(_measure_brightness_error(ctx, tile, read, slice(reach, wide - reach)))
    spread = np.ptp(np.array(errors), axis=0).max()
    worst, mean = (
        [float(way([getattr(seam, figure) for seam in seams])) for figure in ("excess", "coherent")]
        for way in (np.max, np.mean)
    )
    figures = " | ".join(f"{high:.3f} / {middle:.3f}" for high, middle in zip(worst, mean, strict=True))
    return f"| {name} | {figures} | {100 * min(energy):.1f} % | {100 * spread:.2f} % |"


def _compute_energy(levels: Float64) -> float:
    return float((np.diff(levels, axis=1) ** 2).mean() + (np.diff(levels, axis=2) ** 2).mean())


def _measure_brightness_error(ctx: RunContext, tile: Tile, read: ReadMosaic, inner: slice) -> Float64:
    """Return the mean log brightness of the mosaic relative to the ground, per band, from twelve strips of 64 rows."""
    top, left = make_inputs.compute_offset(tile, ctx.res)
    x = np.arange(inner.start, inner.stop, dtype=np.float64) + left
    strips = []
    for start in np.linspace(inner.start, inner.stop - 64, 12).astype(int):
        y = np.arange(start, start + 64, dtype=np.float64) + top
        levels = read(tile, slice(int(start), int(start) + 64), inner).astype(np.float64)
        strips.append((levels - make_inputs.sample_ground(y, x, ctx.res)).mean(axis=(1, 2)) / LEVELS_PER_LOG)
    out: Float64 = np.mean(strips, axis=0)
    return out


def main() -> None:
    """Measure the floor, s2ops and OTB in turn; print a table of times and a table of quality."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--res", type=int, default=10)
    parser.add_argument("--ramp", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--without-otb", action="store_true")
    parser.add_argument(
        "--only", choices=["inputs", "floor", "s2ops"], help="run one method in this process (used internally)"
    )
    given = parser.parse_args()
    ctx = make_inputs.create_context(given.folder, make_inputs.SQUARE, given.res, given.threads)
    if given.only == "inputs":
        make_inputs.write_composites(given.folder, given.res, given.ramp)
        return
    if given.only:
        {"floor": run_floor, "s2ops": run_balance_and_blend}[given.only](ctx)
        return
    own = [sys.executable, __file__, str(given.folder), "--res", str(given.res), "--threads", str(given.threads)]
    subprocess.run([*own, "--ramp", str(given.ramp), "--only", "inputs"], check=True)
    commands: dict[str, list[str]] = {name: [*own, "--only", name] for name in ("floor", "s2ops")}
    if shutil.which("otbcli_Mosaic") and not given.without_otb:
        commands["OTB"] = build_otb_command(ctx, given.threads)
    rows = measure_alternately(commands, given.runs)
    print(render_table(rows, "floor"))
    print()
    print("| mosaic | excess, worst / mean | coherent, worst / mean | energy kept, least | spread of the interiors |")
    print("|---|---|---|---|---|")
    print(render_quality_row(ctx, "s2ops", create_s2ops_reader(ctx)))
    if rows.get("OTB"):
        print(render_quality_row(ctx, "OTB", create_otb_reader(ctx)))


if __name__ == "__main__":
    main()

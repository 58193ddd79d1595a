"""Balance and blend of 2 x 2 full tiles: s2ops beside the floor and beside OTB.

    python benchmarks/blend.py FOLDER [--res 10] [--ramp 0.06] [--threads 2] [--runs 1]

FOLDER is scratch space outside the checkout; inputs are made there where missing, another folder for each ramp. The
floor reads every composite once and writes it again as mosaic, with the same code and threads. OTB takes the same
composites, if `otbcli_Mosaic` (Debian's otb-bin) is installed; it writes one plain file.

Figures of s2ops, from its items and from the known ground: `excess` and `coherent` as in docs/seams.md; energy, the
mean squared step between neighbouring pixels in the overlaps over that of the composites there; spread, what
difference of brightness is left between the interiors of the tiles.
"""

import argparse
import shutil
import sys
from pathlib import Path

import inputs
import numpy as np
from measure import Took, table, took

from s2ops import keys
from s2ops.codes import BANDS, Float64, UInt8
from s2ops.cog import CODES, IMAGERY
from s2ops.gains import corrected, gain_tables
from s2ops.grid import Tile
from s2ops.job import Job
from s2ops.marker import read_json
from s2ops.opened import opened
from s2ops.outputs import imagery_tags, publisher
from s2ops.parallel import in_order
from s2ops.radiometry import FULL
from s2ops.raster import read_window, slabs
from s2ops.steps import balance, blend


def floor(work: Job) -> None:
    """Every composite read and written again."""
    for one in work.tiles:
        geobox = work.geobox(one)
        paths = [work.store.gdal(keys.data("composite", one.name, name)) for name in ("composite", "provenance")]

        def read(rows: slice, paths: list[str] = paths) -> list[UInt8]:
            with opened() as files:
                return [files.read(path, rows) for path in paths]

        with publisher(work.store, geobox) as made:
            image, other = made.file("a", BANDS, IMAGERY, imagery_tags()), made.file("b", ["scene"], CODES)
            for levels, numbers in in_order(read, slabs(geobox.height), work.threads):
                image.write(levels)
                other.write(numbers)
            made.put("floor/mosaic.tif", image)
            made.put("floor/provenance.tif", other)


def ours(work: Job) -> None:
    balance.run(work)
    for one in work.tiles:
        blend.run(work, one)


def otb(work: Job, threads: int) -> list[str]:
    """The command, as peers.md had it."""
    paths = [work.store.gdal(keys.data("composite", one.name, "composite")) for one in work.tiles]
    return [
        "env", f"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS={threads}", "GDAL_CACHEMAX=128", "otbcli_Mosaic", "-il", *paths,
        "-comp.feather", "large", "-harmo.method", "band", "-nodata", "0",
        "-out", f"{work.config.out}/otb.tif?&gdal:co:TILED=YES&gdal:co:BIGTIFF=YES", "uint8",
    ]  # fmt: skip


def quality(work: Job) -> str:
    """Seams, gradient energy and spread."""
    seams = [
        seam["after"] for one in work.tiles
        for seam in (read_json(work.store, keys.item("mosaic", one.name)) or {})["properties"]["s2ops:seams"]
        if seam["after"]
    ]  # fmt: skip
    lines = [
        f"{name}: worst {max(seam[name] for seam in seams):.3f}, mean {np.mean([seam[name] for seam in seams]):.3f}"
        for name in ("excess", "coherent")
    ]
    gains, energy, errors = balance.gains_of(work), [], []
    for one in work.tiles:
        wide = work.geobox(one).width
        reach = 9_800 // work.res
        inside = slice(wide // 2, wide // 2 + 512)
        cols = slice(0, reach) if inputs.offset(one, work.res)[1] else slice(wide - reach, wide)
        before, after = (
            read_window(work.store.gdal(keys.data(product, one.name, product)), inside, cols)
            for product in ("composite", "mosaic")
        )
        tables = gain_tables(gains[one.name])
        plain = np.stack([corrected(band, tables[number]) for number, band in enumerate(before)])
        energy.append(_energy(after.astype(np.float64)) / _energy(plain.astype(np.float64)))
        errors.append(_error(work, one, slice(reach, wide - reach)))
    spread = np.ptp(np.array(errors), axis=0).max()
    lines.append(f"energy kept: least {min(energy):.3f}")
    lines.append(f"spread of the interiors, worst band: {100 * spread:.2f} %")
    return "\n".join(lines)


def _energy(levels: Float64) -> float:
    return float((np.diff(levels, axis=1) ** 2).mean() + (np.diff(levels, axis=2) ** 2).mean())


def _error(work: Job, one: Tile, inner: slice) -> Float64:
    """Mean log brightness of the mosaic over the ground's, per band, over a lattice of 256-row strips inside."""
    top, left = inputs.offset(one, work.res)
    x = np.arange(inner.start, inner.stop, dtype=np.float64) + left
    strips = []
    for start in np.linspace(inner.start, inner.stop - 64, 12).astype(int):
        y = np.arange(start, start + 64, dtype=np.float64) + top
        path = work.store.gdal(keys.data("mosaic", one.name, "mosaic"))
        levels = read_window(path, slice(int(start), int(start) + 64), inner).astype(np.float64)
        strips.append((levels - inputs.ground(y, x, work.res)).mean(axis=(1, 2)) / FULL)
    out: Float64 = np.mean(strips, axis=0)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--res", type=int, default=10)
    parser.add_argument("--ramp", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", choices=["floor", "s2ops"], help="one method in this process (used by itself)")
    given = parser.parse_args()
    work = inputs.job(given.folder, inputs.SQUARE, given.res, given.threads)
    if given.only:
        {"floor": floor, "s2ops": ours}[given.only](work)
        return
    inputs.square(given.folder, given.res, given.ramp)
    own = [sys.executable, __file__, str(given.folder), "--res", str(given.res), "--threads", str(given.threads)]
    rows: dict[str, Took | None] = {name: took([*own, "--only", name], given.runs) for name in ("floor", "s2ops")}
    rows["OTB"] = took(otb(work, given.threads), given.runs) if shutil.which("otbcli_Mosaic") else None
    print(table(rows, "floor"))
    print(quality(work))


if __name__ == "__main__":
    main()

"""The composite of 4 full scenes: s2ops beside the floor and beside others.

    python benchmarks/composite.py FOLDER [--res 10] [--threads 2] [--runs 1] [--peers PYTHON]

FOLDER is scratch space outside the checkout; inputs are made there where missing. The floor is the time that the same
threads need to read and decode all scenes and masks, and to write the same two COGs with the same code. `--peers` is
the interpreter of an environment with rasterio, NumPy and rio-tiler; without it those two of this one are used.
"""

import argparse
import sys
from pathlib import Path

import inputs
import numpy as np
from measure import Took, table, took

from s2ops import keys
from s2ops.codes import BANDS
from s2ops.cog import CODES, IMAGERY
from s2ops.grid import tile
from s2ops.opened import opened
from s2ops.outputs import imagery_tags, publisher
from s2ops.parallel import in_order
from s2ops.raster import slabs
from s2ops.steps import composite
from s2ops.steps.acquire import acquired

PEERS = ("numpy-first", "numpy-median", "FirstMethod", "MedianMethod")


def floor(folder: Path, res: int, threads: int) -> None:
    """Read everything, write the first scene as if it were the composite."""
    work, one = inputs.job(folder, (inputs.TILE,), res, threads), tile(inputs.TILE)
    geobox, scenes = work.geobox(one), acquired(work, one).scenes

    def read(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        with opened() as files:
            masks = [files.read(work.store.gdal(keys.mask(one.name, scene.id)), rows) for scene in scenes]
            levels = [files.read(work.store.gdal(keys.image(one.name, scene.id)), rows) for scene in scenes]
        return levels[0], masks[0]

    with publisher(work.store, geobox) as made:
        image, other = made.file("a", BANDS, IMAGERY, imagery_tags()), made.file("b", ["scene"], CODES)
        for levels, mask in in_order(read, slabs(geobox.height), threads):
            image.write(levels)
            other.write(mask)
        made.put("floor/composite.tif", image)
        made.put("floor/provenance.tif", other)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--res", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--peers", default=sys.executable)
    parser.add_argument("--only", choices=["floor", "s2ops"], help="one method in this process (used by itself)")
    given = parser.parse_args()
    if given.only == "floor":
        floor(given.folder, given.res, given.threads)
        return
    if given.only == "s2ops":
        composite.run(inputs.job(given.folder, (inputs.TILE,), given.res, given.threads), tile(inputs.TILE))
        return
    inputs.scenes(given.folder, given.res, 4)
    own = [sys.executable, __file__, str(given.folder), "--res", str(given.res), "--threads", str(given.threads)]
    took([*own, "--only", "s2ops"], 1)  # compiled once a machine, and the files come into the page cache
    rows: dict[str, Took | None] = {name: took([*own, "--only", name], given.runs) for name in ("floor", "s2ops")}
    work = inputs.job(given.folder, (inputs.TILE,), given.res, 1)
    paths = [work.store.gdal(keys.image(inputs.TILE, scene.id)) for scene in acquired(work, work.tiles[0]).scenes]
    for name in PEERS:
        command = [given.peers, str(Path(__file__).with_name("peers.py")), name, str(given.folder / "peer.tif"), *paths]
        rows[name] = took(command, given.runs)
    print(table(rows, "floor"))


if __name__ == "__main__":
    main()

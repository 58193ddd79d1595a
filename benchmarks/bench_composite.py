"""The composite of 4 full scenes: s2ops beside the floor and beside others.

    python benchmarks/bench_composite.py FOLDER [--res 10] [--threads 2] [--runs 1] [--peers PYTHON]
        [--without PEER ...]

FOLDER is scratch space outside the checkout; inputs are made there where missing. The floor is the time that the same
threads need to read and decode all scenes and masks, and to write the same three COGs with the same code. `--peers` is
the interpreter of an environment with the peers (`pip install rio-tiler rioxarray dask odc-stac odc-algo s2mosaic`);
what is missing there is skipped. OTB is Debian's (`scripts/install-otb.sh`); S2Mosaic knows full tiles only, and takes
some 10 GB of memory.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import make_inputs
import numpy as np
from process_usage import alternately, table, took

from s2ops.constants import BANDS
from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.pipeline.steps import composite
from s2ops.pipeline.steps.acquire import read_acquired
from s2ops.raster.cog import CODES, IMAGERY, SHARE
from s2ops.raster.dataset_pool import open_dataset_cache
from s2ops.raster.reader import split_rows
from s2ops.run.raster_writer import build_imagery_tags, open_raster_writer
from s2ops.runtime.threads import ordered_map
from s2ops.storage import layout

PEERS = (
    "numpy-first", "numpy-median", "FirstMethod", "MedianMethod", "odc-stac-median", "geomad", "otb-first",
    "s2mosaic-first",
)  # fmt: skip
RULES = ("recent", "median", "medoid", "geomedian")


def floor(folder: Path, res: int, threads: int) -> None:
    """Read everything, write the first scene as if it were the composite."""
    work, one = make_inputs.job(folder, (make_inputs.TILE,), res, threads), parse_tile(make_inputs.TILE)
    geobox, scenes = work.geobox(one), read_acquired(work, one).scenes

    def read(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        with open_dataset_cache() as files:
            masks = [files.read(work.store.get_gdal_path(layout.SceneKeys(one.name, scene.id).mask), rows) for scene in scenes]
            levels = [files.read(work.store.get_gdal_path(layout.SceneKeys(one.name, scene.id).image), rows) for scene in scenes]
        return levels[0], masks[0]

    with open_raster_writer(work.store, geobox) as made:
        image, other = made.create_file("a", BANDS, IMAGERY, build_imagery_tags()), made.create_file("b", ["scene"], CODES)
        weight = made.create_file("c", ["weight"], SHARE)
        for levels, mask in ordered_map(read, split_rows(geobox.height), threads):
            image.write(levels)
            other.write(mask)
            weight.write(mask)
        made.put({"floor/composite.tif": image, "floor/provenance.tif": other, "floor/weight.tif": weight}, threads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--res", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--peers", default=sys.executable)
    parser.add_argument("--without", nargs="*", default=[], choices=PEERS, help="peers not to run")
    parser.add_argument(
        "--only", choices=["inputs", "floor", *RULES], help="one method in this process (used by itself)"
    )
    parser.add_argument("--rules", nargs="*", default=["recent"], choices=RULES, help="rules of s2ops to run")
    given = parser.parse_args()
    if given.only == "inputs":
        make_inputs.scenes(given.folder, given.res, 4)
        return
    if given.only == "floor":
        floor(given.folder, given.res, given.threads)
        return
    if given.only:
        work = make_inputs.job(given.folder, (make_inputs.TILE,), given.res, given.threads, given.only)
        composite.run(work, parse_tile(make_inputs.TILE))
        return
    own = [sys.executable, __file__, str(given.folder), "--res", str(given.res), "--threads", str(given.threads)]
    subprocess.run([*own, "--only", "inputs"], check=True)
    for rule in given.rules:
        took([*own, "--only", rule])  # compiled once a machine, and the files come into the page cache
    commands = {"floor": [*own, "--only", "floor"]}
    commands |= {f"s2ops {rule}": [*own, "--only", rule] for rule in given.rules}
    work = make_inputs.job(given.folder, (make_inputs.TILE,), given.res, 1)
    paths = [
        work.store.get_gdal_path(layout.SceneKeys(make_inputs.TILE, scene.id).image) for scene in read_acquired(work, work.tiles[0]).scenes
    ]
    if "s2mosaic-first" not in given.without and given.res == 10:
        subprocess.run([given.peers, str(Path(__file__).with_name("peers.py")), "split", "-", *paths], check=False)
    for name in (peer for peer in PEERS if peer not in given.without):
        if name == "s2mosaic-first" and given.res != 10:
            continue
        made = str(given.folder / "peer.tif")
        commands[name] = [given.peers, str(Path(__file__).with_name("peers.py")), name, made, *paths]
    print(table(alternately(commands, given.runs), "floor"))


if __name__ == "__main__":
    main()

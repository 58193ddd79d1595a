"""Composite of 4 full scenes: s2ops beside a lower bound (floor) and beside other libraries.

    python benchmarks/bench_composite.py FOLDER [--res 10] [--threads 2] [--runs 1] [--peers PYTHON]
        [--without PEER ...]

FOLDER is scratch space outside the checkout; missing inputs are made there. The floor is the time that the same
threads need to read and decode all scenes and masks, and to write the same three COGs with the same code. `--peers` is
the interpreter of an environment with the peers (`pip install rio-tiler rioxarray dask odc-stac odc-algo s2mosaic`);
peers that are not installed there are skipped. OTB comes from Debian (`scripts/install-otb.sh`). S2Mosaic supports
full tiles only, and needs some 10 GB of memory.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import make_inputs
import numpy as np
from process_usage import measure_alternately, measure_command, render_table

from s2ops.constants import BANDS
from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.pipeline.steps import composite
from s2ops.pipeline.steps.acquire import read_acquired
from s2ops.raster.cog import CODES, IMAGERY, SHARE
from s2ops.raster.dataset_pool import open_dataset_cache
from s2ops.raster.reader import split_rows
from s2ops.run.raster_writer import build_imagery_tags, open_raster_writer
from s2ops.runtime.threads import map_ordered
from s2ops.storage import layout

PEERS = (
    "numpy-first", "numpy-median", "FirstMethod", "MedianMethod", "odc-stac-median", "geomad", "otb-first",
    "s2mosaic-first",
)  # fmt: skip
METHODS = ("recent", "median", "medoid", "geomedian")
"""Composite methods of s2ops (`composite.rule`)."""
PEER_SCRIPT = Path(__file__).with_name("peer_methods.py")


def run_floor(folder: Path, res: int, threads: int) -> None:
    """Read all scenes and masks, and write the first scene as if it were the composite."""
    ctx, tile = make_inputs.create_context(folder, (make_inputs.TILE,), res, threads), parse_tile(make_inputs.TILE)
    geobox = ctx.build_geobox(tile)
    keys = [layout.SceneKeys(tile.name, scene.id) for scene in read_acquired(ctx, tile).scenes]

    def read(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        with open_dataset_cache() as files:
            masks = [files.read(ctx.store.get_gdal_path(scene.mask), rows) for scene in keys]
            levels = [files.read(ctx.store.get_gdal_path(scene.image), rows) for scene in keys]
        return levels[0], masks[0]

    with open_raster_writer(ctx.store, geobox) as writer:
        image = writer.create_file("a", BANDS, IMAGERY, build_imagery_tags())
        provenance, weight = writer.create_file("b", ["scene"], CODES), writer.create_file("c", ["weight"], SHARE)
        for levels, mask in map_ordered(read, split_rows(geobox.height), threads):
            image.write(levels)
            provenance.write(mask)
            weight.write(mask)
        files = {"floor/composite.tif": image, "floor/provenance.tif": provenance, "floor/weight.tif": weight}
        writer.put(files, threads)


def run_composite_step(folder: Path, res: int, threads: int, method: str) -> None:
    """Run the composite step of s2ops."""
    ctx = make_inputs.create_context(folder, (make_inputs.TILE,), res, threads, method)
    composite.STEP.bind(ctx, ctx.tiles[0]).run()


def main() -> None:
    """Measure the floor, s2ops and the peers in turn; print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--res", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--peers", default=sys.executable, help="Python interpreter of the peers' environment")
    parser.add_argument("--without", nargs="*", default=[], choices=PEERS, help="peers to leave out")
    parser.add_argument(
        "--only", choices=["inputs", "floor", *METHODS], help="run one method in this process (used internally)"
    )
    parser.add_argument("--rules", nargs="*", default=["recent"], choices=METHODS, help="composite methods of s2ops")
    given = parser.parse_args()
    if given.only == "inputs":
        make_inputs.write_scenes(given.folder, given.res, 4)
        return
    if given.only == "floor":
        run_floor(given.folder, given.res, given.threads)
        return
    if given.only:
        run_composite_step(given.folder, given.res, given.threads, given.only)
        return
    own = [sys.executable, __file__, str(given.folder), "--res", str(given.res), "--threads", str(given.threads)]
    subprocess.run([*own, "--only", "inputs"], check=True)
    for method in given.rules:
        measure_command([*own, "--only", method])  # warm-up: compiles once per machine and fills the page cache
    commands = {"floor": [*own, "--only", "floor"]}
    commands |= {f"s2ops {method}": [*own, "--only", method] for method in given.rules}
    ctx = make_inputs.create_context(given.folder, (make_inputs.TILE,), given.res, 1)
    keys = [layout.SceneKeys(make_inputs.TILE, scene.id) for scene in read_acquired(ctx, ctx.tiles[0]).scenes]
    paths = [ctx.store.get_gdal_path(scene.image) for scene in keys]
    if "s2mosaic-first" not in given.without and given.res == 10:
        subprocess.run([given.peers, str(PEER_SCRIPT), "split", "-", *paths], check=False)
    for name in (peer for peer in PEERS if peer not in given.without):
        if name == "s2mosaic-first" and given.res != 10:
            continue
        commands[name] = [given.peers, str(PEER_SCRIPT), name, str(given.folder / "peer.tif"), *paths]
    print(render_table(measure_alternately(commands, given.runs), "floor"))


if __name__ == "__main__":
    main()

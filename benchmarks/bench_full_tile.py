"""Full-size tile (10,980 x 10,980 px, 10 m) through the whole chain: time, memory and bytes of each step.

    S2OPS_REAL_DATA=... python benchmarks/bench_full_tile.py FOLDER [DATES] [--res 20]

The scenes are real ones of 120 m (S2OPS_REAL_DATA), enlarged twelvefold, with added texture: real clouds, swath edges
and colours at production size. The script writes FOLDER/run.yaml, from which `benchmarks/measure_rates.py` derives the
rates that ship with the package.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import rasterio
from rasterio.shutil import copy
from rasterio.windows import Window

from s2ops import config
from s2ops.cli.progress import LineProgress
from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.pipeline import local_engine
from s2ops.run.run_record import RunRecord
from s2ops.runtime.malloc import limit_malloc_arenas

TILE = "33TWM"
FILES = ("B02.tif", "B03.tif", "B04.tif", "B08.tif")
TEXTURE_STRENGTH = 0.06
"""Relative strength of the added texture."""


def write_enlarged_cog(source: Path, target: Path, seed: int, res: int) -> None:
    """Write an enlarged COG of a 120 m raster, with pixel noise that makes it as hard to compress as a scene."""
    grid, times, dice = parse_tile(TILE).build_geobox(res), 120 // res, np.random.default_rng(seed)
    plain = target.with_suffix(".plain.tif")
    profile = {"driver": "GTiff", "dtype": "uint16", "count": 1, "nodata": 0, "tiled": True, "crs": str(grid.crs)}
    with rasterio.open(source) as src, rasterio.open(
        plain, "w", height=grid.height, width=grid.width, transform=grid.transform, **profile
    ) as dst:  # fmt: skip
        small = src.read(1, out_shape=(915, 915))
        for top in range(0, 915, 61):
            rows = np.repeat(np.repeat(small[top : top + 61], times, axis=0), times, axis=1).astype(np.float32)
            rows *= 1 + TEXTURE_STRENGTH * dice.standard_normal(rows.shape, np.float32)
            dst.write(
                rows.clip(0, 65535).astype(np.uint16), 1, window=Window(0, top * times, grid.width, rows.shape[0])
            )
    copy(str(plain), str(target), driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES", NUM_THREADS="ALL_CPUS")
    plain.unlink()


def make_catalog(data: Path, folder: Path, dates: int, res: int) -> Path:
    """Write a static catalog of the tile's clearest scenes with pixels of `res` metres; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    found = [json.loads(path.read_text()) for path in sorted((data / "sentinel-2-l2a").glob(f"*_{TILE}_*/S2*.json"))]
    chosen = sorted(found, key=lambda item: float(item["properties"]["eo:cloud_cover"]))[:dates]
    for number, item in enumerate(chosen):
        target = folder / item["id"]
        target.mkdir(exist_ok=True)
        for file in FILES:
            if not (target / file).exists():
                write_enlarged_cog(data / "sentinel-2-l2a" / item["id"] / file, target / file, number, res)
        item["assets"] = {
            name: asset for name, asset in item["assets"].items() if name in {"red", "green", "blue", "nir"}
        }
        item["links"] = []
        (target / f"{item['id']}.json").write_text(json.dumps(item))
    links = [{"rel": "item", "href": f"./{item['id']}/{item['id']}.json"} for item in chosen]
    root = {"type": "Catalog", "id": "full", "stac_version": "1.0.0", "description": "full size", "links": links}
    (folder / "catalog.json").write_text(json.dumps(root))
    return folder / "catalog.json"


def main() -> None:
    """Make missing scenes, run the chain, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("dates", type=int, nargs="?", default=2)
    parser.add_argument("--res", type=int, choices=(10, 20, 60), default=10)
    given = parser.parse_args()
    limit_malloc_arenas()  # as the s2ops command does
    folder = given.folder.absolute()
    data = Path(os.environ["S2OPS_REAL_DATA"]) / "zagreb-two-tiles"
    catalog = make_catalog(data, folder / "catalog", given.dates, given.res)
    text = (
        f"region: {{tiles: [{TILE}]}}\ndates: {{start: 2023-08-01, end: 2023-08-31}}\ncatalog: {catalog}\n"
        f"resolution: {given.res}\nout: {folder / 'run'}\n"
    )
    (folder / "run.yaml").write_text(text)
    local_engine.run_chain(
        config.parse_config(text, "benchmark"), [parse_tile(TILE)], 1, os.cpu_count() or 1, LineProgress()
    )
    print(f"{'step':<10} {'wall s':>8} {'CPU s':>8} {'networks':>9} {'peak MiB':>9} {'read MB':>8} {'written':>8}")
    for path in sorted((folder / "run/run").glob("*/*.json")):
        record = RunRecord.read(path.read_bytes(), str(path))
        print(
            f"{record.step:<10} {record.wall_s:>8.1f} {record.cpu_s:>8.1f} {record.network_cpu_s:>9.1f} "
            f"{record.peak_rss_mib:>9.0f} {record.read_bytes / 1e6:>8.0f} {record.written_bytes / 1e6:>8.0f}"
        )


if __name__ == "__main__":
    main()
